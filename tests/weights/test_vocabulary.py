"""Genes that a model does not know are counted and named; a data set whose names are of another kind is told how."""

import json
import re
import subprocess
import sys

import pytest
import torch
from anndata import AnnData
from click.testing import CliRunner

from bench.cli import main
from bench.core.errors import BenchError
from bench.weights import save
from bench.weights.vocabulary import coverage, coverage_of

TOKENS = ["<pad>", "CD3E", "C1orf112", "GAPDH", "ACTB", "<cls>", "<eoc>"]


def weights_file(tmp_path, genes):
    save(tmp_path / "w.safetensors", {"a": torch.ones(1)}, {"genes": json.dumps(genes), "library": "bins"})
    return tmp_path / "w.safetensors"


def test_used_and_dropped_genes_keep_their_order_and_are_counted():
    found = coverage(["ACTB", "X2", "CD3E", "X1"], TOKENS)
    assert (found.used, found.dropped, found.hint) == (["ACTB", "CD3E"], ["X2", "X1"], "")
    assert str(found) == "2 of 4 genes are in the vocabulary; dropped 2: X2, X1"
    assert str(coverage(["ACTB"], TOKENS)) == "1 of 1 genes are in the vocabulary"


def test_many_dropped_genes_are_named_as_far_as_a_line_goes_and_counted():
    known, strange = [f"K{i}" for i in range(18_412)], [f"S{i}" for i in range(1_713)]
    said = str(coverage(strange + known, ["<pad>", *known]))
    assert said.startswith("18,412 of 20,125 genes are in the vocabulary; dropped 1,713: S0, S1, S2, ")
    assert said.endswith(", S19 and 1,693 more")


def test_special_tokens_are_no_genes():
    assert coverage(["<cls>", "ACTB"], TOKENS).dropped == ["<cls>"]


@pytest.mark.parametrize(
    ("genes", "hint"),
    [
        (["Actb", "Cd3e", "Xist"], r"2 of those \(Actb, Cd3e\) would be known if .* mouse symbols; map them to"),
        (["actb", "cd3e", "c1orf112"], r"3 of those \(actb, cd3e, c1orf112\) would .*: write the symbols as the model"),
        (["C1ORF112", "X1"], r"1 of those \(C1ORF112\) would be known .*: write the symbols as the model does"),
        (["ENSG00000075624.17", "ENSMUSG00000029580"], r"2 of those are Ensembl identifiers: give gene symbols as var"),
    ],
)
def test_names_of_another_kind_get_a_hint_and_alone_are_refused(genes, hint):
    with pytest.raises(
        BenchError, match=rf"^None of the {len(genes)} genes \({genes[0]}, .*that the model knows.*{hint}"
    ):
        coverage(genes, TOKENS)
    found = coverage(["GAPDH", *genes], TOKENS)
    assert found.used == ["GAPDH"]
    assert re.search(hint, str(found))


@pytest.mark.parametrize("genes", [[], ["X1"], ["<pad>"]])
def test_without_any_known_gene_the_names_that_are_known_are_shown(genes):
    with pytest.raises(BenchError, match=r"among the 4 that the model knows, such as ACTB, C1orf112, CD3E\. Name"):
        coverage(genes, TOKENS)


def test_a_data_set_is_compared_by_name_and_by_path(tmp_path, hao):
    genes = hao.var_names[:11_000].tolist()
    file = weights_file(tmp_path, ["<pad>", *genes])
    found = coverage_of(file, "hao")
    assert found.used == genes
    assert found.dropped == hao.var_names[11_000:].tolist()
    path = tmp_path / "mine.h5ad"  # without a column of labels: names are all that counts
    AnnData(hao.X[:3], var=hao.var[[]].rename(index=str.lower)).write_h5ad(path)
    with pytest.raises(BenchError, match=r"None of the 11,180 genes .*would be known if upper and lower case"):
        coverage_of(file, str(path))
    AnnData(hao.X[:3], var=hao.var[[]]).write_h5ad(path)
    assert coverage_of(file, str(path)) == found


def test_command_names_the_dropped_genes_of_a_data_set(tmp_path, hao):
    file = weights_file(tmp_path, hao.var_names[:-30].tolist())
    result = CliRunner().invoke(main, ["weights", str(file), "--data", "hao"])
    dropped = ", ".join(hao.var_names[-30:-10])
    said = f"hao: 11,150 of 11,180 genes are in the vocabulary; dropped 30: {dropped} and 10 more"
    assert said in result.output.splitlines()[-1]


def test_weights_without_genes_cannot_be_compared(tmp_path):
    save(tmp_path / "w", {"a": torch.ones(1)}, {})
    with pytest.raises(BenchError, match=r"w does not name its genes, so they cannot be compared with those of hao"):
        coverage_of(tmp_path / "w", "hao")


@pytest.mark.slow
def test_comparing_genes_costs_no_torch():
    code = "import sys\nfrom bench.weights.vocabulary import coverage\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
