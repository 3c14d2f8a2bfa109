"""Tables of predictions as other tools write them: what is recognised, what is refused with a sentence."""

import gzip

import numpy as np
import pandas as pd
import pytest

from bench.core.errors import BenchError
from bench.models.elsewhere.predictions import Known, read, with_probabilities

CELLS = ["AAAC-1", "AAAG-1", "AACT-1", "007"]
TYPES = ["B cells", "CD8+ T", "NK, bright"]
LABELS = ["B cells", "CD8+ T", "NK, bright", "B cells"]
KNOWN = Known(set(CELLS), TYPES, "cell_type")
SHARES = pd.DataFrame([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.1, 0.3, 0.6], [1, 0, 0]], CELLS, TYPES)
LABELLED = pd.DataFrame({"cell": CELLS, "label": LABELS})


def written(path, content) -> object:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def labelled(path, **options) -> list[str]:
    """Return the label of each cell in the order of ``CELLS``."""
    found = read(path, KNOWN, **options)
    assert sorted(found.cells) == sorted(CELLS)
    return pd.Series(found.labels, found.cells)[CELLS].tolist()


FORMS = {
    "comma.csv": LABELLED.to_csv(index=False),
    "tab.tsv": LABELLED.to_csv(index=False, sep="\t"),
    "semicolon.csv": LABELLED.to_csv(index=False, sep=";"),
    "bom.csv": "\ufeff" + LABELLED.to_csv(index=False),
    "windows.csv": LABELLED.to_csv(index=False, lineterminator="\r\n"),
    "excel.txt": LABELLED.to_csv(index=False, sep="\t").encode("utf-16"),
    "latin.csv": LABELLED.assign(note="naïve").to_csv(index=False).encode("latin-1"),
    "blanks.csv": "cell, label\n" + "".join(f'{c}, "{t}"\n' for c, t in zip(CELLS, LABELS, strict=True)),
    "row_names.csv": LABELLED.set_index("cell").rename_axis(None).to_csv(),
    "r_table.txt": '"x"\n' + "".join(f'"{c}" "{t}"\n' for c, t in zip(CELLS, LABELS, strict=True)),
    "no_header.csv": LABELLED.to_csv(index=False, header=False),
    "numbered.csv": LABELLED.to_csv(),
    "trailing.csv": "".join(f'{c},"{t}",\n' for c, t in [("cell", "label"), *zip(CELLS, LABELS, strict=True)]),
    "score.csv": LABELLED.assign(score=0.5).to_csv(index=False),
    "zipped.csv.gz": gzip.compress(LABELLED.to_csv(index=False).encode()),
    "celltypist.csv": pd.DataFrame(
        {"predicted_labels": LABELS, "over_clustering": "3", "majority_voting": "B cells"}, CELLS
    ).to_csv(),
    "singler.csv": SHARES.rename(columns=lambda t: f"scores.{t}")
    .sub(0.3)
    .assign(labels=LABELS)
    .to_csv(),  # correlations
    "ours.csv": LABELLED.rename(columns={"label": "predicted"}).assign(confidence=1, truth="B cells").to_csv(),
}


@pytest.mark.parametrize("name", FORMS)
def test_labels_are_found_in_every_form(name, tmp_path):
    path = written(tmp_path / name, FORMS[name])
    assert labelled(path) == LABELS and read(path, KNOWN).probabilities is None


WIDE = {
    "wide.csv": SHARES.to_csv(),
    "mangled.csv": SHARES.rename(
        columns={"B cells": "B.cells", "CD8+ T": "CD8..T", "NK, bright": "NK..bright"}
    ).to_csv(),
    "seurat.csv": SHARES.rename(columns=lambda t: f"prediction.score.{t}")
    .assign(**{"predicted.id": LABELS, "prediction.score.max": SHARES.max(axis=1)})
    .to_csv(),
    "ours.csv": SHARES.rename(columns=lambda t: f"probability of {t}")
    .assign(predicted=LABELS, truth="B cells")
    .to_csv(),
    "european.csv": SHARES.to_csv(sep=";", decimal=","),
    "sigmoid.csv": (2.5 * SHARES).to_csv(),
    "more.csv": SHARES.assign(n_genes=[500, 600, 700, 800], batch="one").to_csv(),
    "long.csv": SHARES.rename_axis("cell")
    .reset_index()
    .melt("cell", var_name="type", value_name="p")
    .to_csv(index=False),
}


@pytest.mark.parametrize("name", WIDE)
def test_probabilities_are_found_in_every_form(name, tmp_path):
    found = read(written(tmp_path / name, WIDE[name]), KNOWN)
    shares = found.probabilities.set_axis(found.cells).loc[CELLS, TYPES]
    np.testing.assert_allclose(shares, SHARES)
    assert found.labels is None or found.labels.tolist() == LABELS
    assert any("do not sum to one" in note for note in found.notes) == (name == "sigmoid.csv")


def test_a_type_that_no_cell_has_stays_in_a_matrix_whose_rows_need_it(tmp_path):
    found = read(written(tmp_path / "m.csv", (SHARES / 2).assign(Erythroid=0.5).to_csv()), KNOWN)
    assert list(found.probabilities) == [*TYPES, "Erythroid"] and "1 columns are of types" in found.notes[0]


def test_rows_without_any_probability_are_no_zeros(tmp_path):
    shares = SHARES.copy()
    shares.iloc[0], shares.iloc[1] = 0.0, np.nan
    found = read(written(tmp_path / "m.csv", shares.to_csv(na_rep="NA")), KNOWN)
    assert np.isnan(found.probabilities.to_numpy()).all(axis=1).tolist() == [True, True, False, False]


def test_labels_of_one_file_are_joined_with_probabilities_of_another(tmp_path):
    labels = read(written(tmp_path / "predicted_labels.csv", FORMS["celltypist.csv"]), KNOWN)
    path = written(tmp_path / "probability_matrix.csv", SHARES[::-1].to_csv())
    found = with_probabilities(labels, read(path, KNOWN), path)
    np.testing.assert_allclose(found.probabilities, SHARES)
    with pytest.raises(BenchError, match="lacks 1 of 4 cells that have a label, such as 'AAAC-1'"):
        with_probabilities(labels, read(written(path, SHARES[1:].to_csv()), KNOWN), path)
    with pytest.raises(BenchError, match="should have a column of numbers for each type"):
        with_probabilities(labels, labels, path)


def test_a_column_that_is_named_is_taken(tmp_path):
    path = written(
        tmp_path / "p.csv", LABELLED.assign(other="CD8+ T", barcode=["x", "y", "z", "w"]).to_csv(index=False)
    )
    assert labelled(path, label_column="other") == ["CD8+ T"] * 4
    assert read(path, KNOWN, cell_column="barcode", label_column="label").cells.tolist() == ["x", "y", "z", "w"]


REFUSED = {
    "": "is empty",
    "cell,label\n": "has one line",
    "cell\nAAAC-1\nAAAG-1\n": "has one column",
    "cell,label\na,b\na,b,c,d\n": "row 3 has 4 fields and the header 2",
    'cell,label\n"a,b\nc,d\n': "is a quotation mark left open|has one column|fields and the header",
    "cell,a,a\nx,1,2\n": "column 'a' stands twice",
    b"PK\x03\x04rest": "it is an Excel file",
    b"\x89HDF\r\n": "it is HDF5",
    b"a\0b": "is no text",
    b"PAR1": "needs a package to be read|cannot be read as parquet",
    gzip.compress(b"cell,label\n" * 50, mtime=0)[:25]: "is compressed and cut short",
    gzip.compress(b"RDX3\n", mtime=0): "it is R's",
    LABELLED.assign(pruned=LABELS).to_csv(
        index=False
    ): "columns 'label', 'pruned' hold types; say which, such as --label",
    LABELLED.rename(columns={"label": "cell_type"}).assign(x="a").to_csv(index=False): "the true ones of the data have",
    LABELLED.assign(label="alpha", x="b").to_csv(index=False): "no column holds types such as 'B cells'",
    (-SHARES).to_csv(): "The lowest probability is -1; expected numbers from 0 on",
    SHARES.replace(0.7, np.nan).to_csv(na_rep="NA"): "1 cells have probabilities of which some are missing",
    SHARES.assign(**{"b cells": 0}).to_csv(): "Several columns are of type 'B cells'",
}


@pytest.mark.parametrize("content", REFUSED)
def test_what_cannot_be_read_in_one_way_is_refused_with_a_sentence(content, tmp_path):
    with pytest.raises(BenchError, match=REFUSED[content]):
        read(written(tmp_path / "p.csv", content), KNOWN)


def test_paths_that_are_no_file_are_refused(tmp_path):
    written(tmp_path / "predicted.csv", "cell,label\na,b\n")
    for path, said in ((tmp_path, "is a folder.*it holds predicted.csv"), (tmp_path / "predicted.cvs", "Did you mean")):
        with pytest.raises(BenchError, match=said):
            read(path, KNOWN)
