"""What five models are given of a cell: by their own code, as kept, as drawn."""

import runpy
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from bench.core.errors import BenchError
from bench.core.families import families
from bench.datasets.names import cell_ids, hidden_names
from bench.datasets.splits import split
from bench.models.scgpt.binning import SPECIAL, binned
from bench.protocol import records
from bench.report import figures
from bench.report.inputs import Inputs, counted, kept, middle_cell, other_tokens, write
from bench.weights import identity_of

CHAPTERS = Path(__file__).parents[2] / "chapters"
COMMITTED = CHAPTERS / "results" / "five_models" / "inputs.csv"
FIVE = ["scbert", "scgpt", "geneformer", "scfoundation", "cellplm"]


@pytest.fixture
def script(hao, tiny_scbert, tiny_scgpt, tiny_geneformer, tiny_scfoundation, tiny_cellplm, monkeypatch, tmp_path):
    """What the script keeps, were the quick weights tiny ones that know few genes."""
    written = [tiny_scbert(), tiny_scgpt(), tiny_geneformer(), tiny_scfoundation(), tiny_cellplm()]
    quick = {f"{model}_quick": file for model, file in zip(FIVE, written, strict=True)}
    monkeypatch.setattr("bench.training.pretrain.pretrained", quick.__getitem__)
    monkeypatch.setattr("bench.protocol.place.committed_folder", lambda: tmp_path)
    runpy.run_path(str(CHAPTERS / "inputs.py"))
    return kept()


def column(given: Inputs, model: str) -> pd.DataFrame:
    """Return the genes that a model is given, tokens that are none left out."""
    genes = given.genes[given.genes[model].notna() & given.genes["count"].notna()]
    return genes.assign(value=genes[model])


def assert_follows_the_counts(given: Inputs):
    """Compare what is given with the counts of the cell: the formula of each model, where one says it."""
    scbert, scfoundation, cellplm = (column(given, model) for model in ("scbert", "scfoundation", "cellplm"))
    scgpt, geneformer = column(given, "scgpt"), column(given, "geneformer")
    assert (scbert["value"] == np.minimum(np.floor(np.log2(1 + scbert["cp10k"])), 5)).all()
    total = scfoundation["count"].sum()
    np.testing.assert_allclose(scfoundation["value"], np.log1p(1e4 * scfoundation["count"] / total), rtol=1e-5)
    tokens = other_tokens(given, "scfoundation")
    assert tokens == pytest.approx({"T": 4, "S": np.log10(total)}, rel=1e-5)
    np.testing.assert_allclose(cellplm["value"], np.log1p(cellplm["count"]), rtol=1e-5)
    by_value = scgpt.sort_values("value", kind="stable").groupby("value")["count"].agg(["min", "max"])
    assert (by_value["min"].to_numpy()[1:] >= by_value["max"].to_numpy()[:-1]).all() and scgpt["value"].min() >= 1
    assert sorted(geneformer["value"]) == list(range(1, len(geneformer) + 1))


def test_the_script_keeps_what_each_model_is_given_of_the_cell(script, hao, tmp_path):
    assert script.models == FIVE and script.about["cell"] == middle_cell(hao, "Monocytes")
    numbers = counted(script)
    assert (numbers.loc["scbert", ["given", "unexpressed"]].sum() == 60) and numbers.loc["scbert", "unexpressed"] > 0
    assert (numbers.loc[FIVE[1:], "unexpressed"] == 0).all()
    assert (numbers["expressed"] == (script.genes["count"] > 0).sum()).all()
    assert_follows_the_counts(script)


def test_ranks_and_bins_are_those_of_the_annotators(script, hao, tiny_geneformer, tiny_scgpt):
    from bench.models.geneformer.annotator import vocabulary_of
    from bench.models.scgpt.annotator import vocabulary_of as tokens_of
    from bench.weights import read

    vocabulary, ranks = vocabulary_of(read(tiny_geneformer())), column(script, "geneformer")
    median = dict(zip(vocabulary.tokens, vocabulary.medians, strict=True))
    over = ranks.sort_values("value")["count"] / ranks.sort_values("value")["gene"].map(median)
    assert (np.diff(over) <= 1e-12).all() and len(ranks) <= 64
    cell = hao[[script.about["cell"]]]
    ids = cell_ids("", hidden_names(cell.obs_names))
    tokens = tokens_of(read(tiny_scgpt()))
    bins = binned(cell.X, cell.var_names.tolist(), tokens, ids=ids, seed=0, max_genes=128)
    expected = {tokens[i]: bin for i, bin in zip(bins.indices, bins.data, strict=True)}
    found = column(script, "scgpt")
    assert dict(zip(found["gene"], found["value"], strict=True)) == expected and not set(expected) & set(SPECIAL)


def test_seen_of_several_cells_is_that_of_each(sides, tiny_geneformer, tiny_cellplm, tiny_scbert):
    from bench.models.spec import create, describe

    train, _ = sides
    for model, file in {"geneformer": tiny_geneformer(), "cellplm": tiny_cellplm(), "scbert": tiny_scbert()}.items():
        annotator = create(describe(f"{model}@probe", {"weights": str(file)}))
        annotator.begin(train, seed=0)
        several = annotator.seen(train[:3].copy())
        for row in range(3):
            alone = annotator.seen(train[[row]].copy())[["gene", "value"]]
            of_row = several[several["cell"] == row][["gene", "value"]].reset_index(drop=True)
            pd.testing.assert_frame_equal(
                of_row.sort_values("gene", ignore_index=True), alone.sort_values("gene", ignore_index=True)
            )


def test_begin_and_end_of_a_cell_have_no_rank(sides, tiny_geneformer):
    from bench.models.geneformer.annotator import Geneformer

    annotator = Geneformer(weights=str(tiny_geneformer(version="V2")), variant="probe")
    annotator.begin(sides[0], seed=0)
    found = annotator.seen(sides[0][:2].copy())
    assert not found["gene"].str.startswith("<").any() and (found.groupby("cell")["value"].min() == 1).all()


def test_the_middle_cell_is_trained_on_and_has_the_median_of_expressed_genes(hao):
    trained = hao[split(hao, "random").train]
    of_type = trained[trained.obs["cell_type"].astype(str) == "Monocytes"]
    expressed = pd.Series((of_type.X > 0).sum(axis=1).A1, of_type.obs_names)
    found = expressed[middle_cell(hao, "Monocytes")]
    assert (expressed < found).mean() <= 0.5 <= (expressed <= found).mean()
    with pytest.raises(BenchError, match="of type 'Astrocytes'"):
        middle_cell(hao, "Astrocytes")


def test_what_is_committed_is_whole_and_follows_the_counts_of_the_cell(hao):
    given = kept(COMMITTED)
    assert given.models == FIVE and given.about["cell"] == middle_cell(hao, "Monocytes")
    assert given.about["hash of the data set"] == hao.uns["bench"]["hash"] and "torch" in given.about["versions"]
    for model in FIVE:
        assert given.about[f"weights of {model}"].startswith(f"{model}_quick, identity {identity_of(f'{model}_quick')}")
    counts = pd.Series(hao[given.about["cell"]].X.toarray()[0], hao.var_names)
    genes = given.genes[given.genes["count"].notna()].set_index("gene")
    assert (counts[genes.index] == genes["count"]).all() and (counts[~counts.index.isin(genes.index)] == 0).all()
    assert genes["cp10k"].to_numpy() == pytest.approx(1e4 * genes["count"] / counts.sum(), rel=1e-5)
    assert int(given.about["expressed genes"]) == (counts > 0).sum() and "-dirty" not in given.about["commit"]
    assert_follows_the_counts(given)


def test_what_is_committed_is_no_record_and_small():
    assert COMMITTED.stat().st_size < 100_000
    assert "five_models/inputs" not in set(records.read(own=False)["experiment"])
    assert set(families()) >= set(FIVE)


def test_what_is_written_is_read_again_and_another_file_is_refused(made_up, tmp_path):
    file = write(made_up, tmp_path / "inputs.csv")
    again = kept(file)
    assert again.about.items() > made_up.about.items()
    assert set(again.about) - set(made_up.about) == {"processor", "commit", "versions"}
    pd.testing.assert_frame_equal(again.genes, made_up.genes)
    for text in ("", "a,b\n1,2\n", "# cell\n"):
        file.write_text(text)
        with pytest.raises(BenchError, match=r"make it with: python chapters/inputs\.py"):
            kept(file)
    with pytest.raises(BenchError, match="make it with"):
        kept(tmp_path / "nothing.csv")


@pytest.fixture
def made_up() -> Inputs:
    """Six genes, one of them called NA, and two models; nothing of it is a result."""
    nan = np.nan
    genes = pd.DataFrame(
        {
            "gene": ["A", "B", "C", "D", "NA", "<T>"],
            "count": [1.0, 1.0, 5.0, 0.0, 3.0, nan],
            "cp10k": [1000.0, 1000.0, 5000.0, 0.0, 3000.0, nan],
            "scbert": [5.0, 5.0, 5.0, 0.0, nan, nan],
            "geneformer": [3.0, 2.0, 1.0, nan, nan, nan],
            "my_model": [0.5, 0.5, nan, nan, 2.0, 4.0],
        }
    )
    about = {"cell": "c: 1", "cell type": "Monocytes", "data set": "hao", "expressed genes": "4"}
    return Inputs(genes, about | {"genes measured": "9", "counts": "10"})


def test_numbers_below_the_titles_are_counted(made_up):
    numbers = counted(made_up)
    assert numbers.loc["scbert"].to_dict() == {"expressed": 4, "given": 3, "unexpressed": 1, "counts": 2, "values": 2}
    assert numbers.loc["my_model"].to_dict() == {"expressed": 4, "given": 3, "unexpressed": 0, "counts": 2, "values": 2}
    assert other_tokens(made_up, "my_model") == {"T": 4.0}


def test_a_panel_per_model_on_one_axis_of_counts(made_up):
    figure = figures.inputs(made_up)
    scbert, geneformer, mine, key = figure.axes[:4]
    titles = [axis.get_title(loc="left") for axis in (scbert, geneformer, mine)]
    assert titles == ["scBERT", "Geneformer", "my_model"]
    assert len({axis.get_xlim() for axis in (scbert, geneformer, mine)}) == 1
    top, bottom = geneformer.get_ylim()[::-1]
    assert top < 1 < 3 < bottom  # the first rank is on top
    dots = scbert.collections[0]
    sizes = dict(zip(map(tuple, dots.get_offsets().tolist()), dots.get_sizes(), strict=True))
    assert sizes[1000.0, 5.0] == 2 * sizes[5000.0, 5.0] and min(x for x, _ in sizes) < 1000  # two genes; none
    assert "3 of 4 expressed genes, 1 silent" in scbert.texts[0].get_text()
    assert scbert.lines[0].get_xdata().tolist() == [3000.0]  # expressed, and not given
    assert "4 of 9 genes" in key.texts[0].get_text().replace("\n", " ")
    plt.close(figure)


def test_the_committed_picture_fits_its_page():
    figure = figures.inputs(kept(COMMITTED))
    figure.canvas.draw()
    starts = sorted({axis.bbox.x0 for axis in figure.axes})
    for axis in figure.axes:
        ends = min((start for start in starts if start > axis.bbox.x1), default=figure.bbox.x1)
        for text in axis.texts:
            assert text.get_window_extent().x1 < ends, text.get_text()
    titles = [axis.title.get_text() or axis.get_title(loc="left") for axis in figure.axes[:5]]
    assert titles == ["scBERT", "scGPT", "Geneformer", "scFoundation", "CellPLM"]
    plt.close(figure)
