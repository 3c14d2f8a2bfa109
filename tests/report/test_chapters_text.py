"""The chapters as text: cells that read like a sentence, constants in one place, no change when JupyterLab saves."""

import ast
import re
import subprocess
from pathlib import Path

import jupytext
import nbformat
import pytest
import yaml
from jupytext.config import load_jupytext_config

from bench.protocol.notebooks import up_to_records

ROOT = Path(__file__).parents[2]
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
LISTED = [TOC["root"]] + [chapter["file"] for part in TOC["parts"] for chapter in part["chapters"]]
PARTS, READS_ONLY = ("The paper's experiments", "Beyond the paper"), {"chapters/calibration_and_cost"}
EXPERIMENTS = [c["file"] for part in TOC["parts"] if part["caption"] in PARTS for c in part["chapters"]]
EXPERIMENTS = [name for name in EXPERIMENTS if name not in READS_ONLY]
PAGES = [path for path in [ROOT / "index.md", *sorted((ROOT / "chapters").glob("*.md"))] if path.exists()]
NOTEBOOKS = [path for path in PAGES if "\nkernelspec:" in path.read_text(encoding="utf-8").partition("\n---\n")[0]]

MAKE_RECORDS = {"run_grid", "describe", "masked_grid"}
HIDDEN_CODE = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
PACKED = (ast.Tuple, ast.List, ast.GeneratorExp, ast.ListComp)

HEADER = """---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3 (ipykernel)
  language: python
  name: python3
---
"""
# writes a chapter the way JupyterLab saves it: keys in alphabetical order, long captions folded
NORMALISE = "jupytext --to ipynb -o - {0}.md | jupytext --from ipynb --to md:myst -o {0}.md -"

# what prose is not: code and directives that hold it, formulas, roles (glue, citations), code in the line, targets
NOT_PROSE = [
    r"\A---\n.*?\n---\n",
    r"^(`{3,})(?:\{(?:code-cell|bibliography|eval-rst)\}|\w*\n).*?^\1$",
    r"\$\$.*?\$\$",
    r"\$(?![\d.,\s]+\$)[^$\n]+\$",  # a number alone is no formula
    r"(?:\{[\w:]+\})?(`+).+?\1",
    r"\]\([^)]*\)",
    r"<?https?://\S+",
    r"^\([^\n]*\)=$",
    r"^:[\w-]+:[^\n]*$",
]
NAMES_WITH_DIGITS = [
    r"\b(?:Supplementary )?(?:Tables?|Figures?) \d+(?:(?:,| and| to) \d+)*",  # titles of the paper
    r"\b[A-Za-z]\w*[-.]?\d[\w.+-]*",  # Zheng68K, F1, L1, gene2vec, CD4, BSD-3
    r"\bPython \d\.\d+",
    r"\b95 % (?:t )?interval",  # the only level of this book
]


def _typed_digits(text):
    """Words with digits that are neither glued nor part of a name, with what stands around them."""
    for pattern in NOT_PROSE:
        text = re.sub(pattern, "·", text, flags=re.MULTILINE | re.DOTALL)
    for pattern in NAMES_WITH_DIGITS:
        text = re.sub(pattern, "·", text)
    return [found[0] for found in re.finditer(r"[^\n]{0,30}\d[^\n]{0,20}", text)]


def _name(path):
    return path.relative_to(ROOT).with_suffix("").as_posix()


def _code_cells(path):
    return [cell for cell in jupytext.read(path).cells if cell.cell_type == "code"]


def _tags(cell):
    return cell.metadata.get("tags", [])


def _hard_to_read(source):
    """What a scientist would have to read twice in a cell, as ``RULE: line``."""
    tree = ast.parse(source)
    lines, statements = source.splitlines(), [node for node in ast.walk(tree) if isinstance(node, ast.stmt)]
    found = [("longer than 100 characters", line) for line in lines if len(line) > 100]
    not_first = [node for node in statements if lines[node.lineno - 1][: node.col_offset].strip()]
    found += [("two statements in a line", node) for node in not_first]
    for node in ast.walk(tree):
        if isinstance(node, HIDDEN_CODE):
            found.append(("belongs into the package", node))
        elif isinstance(node, ast.AugAssign) and isinstance(node.op, ast.BitOr):
            found.append(("an update with |=", node))
        elif isinstance(node, ast.Assign) and _is_tuple(node.targets[0]) and isinstance(node.value, PACKED):
            found.append(("two assignments in one", node))
        elif isinstance(node, ast.For | ast.comprehension) and _is_packed(node.iter):
            found.append(("a loop over packed pairs", node.iter))
    found += [("two loops in a statement", node) for node in statements if _comprehensions(node) > 1]
    return [f"{rule}: {node if isinstance(node, str) else ast.unparse(node)}" for rule, node in found]


def _is_tuple(node):
    return isinstance(node, ast.Tuple | ast.List)


def _is_packed(iterated):
    """Whether a loop goes over pairs written down in its head, or zipped there."""
    if _is_tuple(iterated):
        return any(_is_tuple(item) for item in iterated.elts)
    return isinstance(iterated, ast.Call) and getattr(iterated.func, "id", "") == "zip"


def _comprehensions(statement):
    """Number of ``for`` in the comprehensions of a statement, not counting those of the statements inside it."""
    nodes, count = [statement], 0
    while nodes:
        inner = list(ast.iter_child_nodes(nodes.pop()))
        count += sum(isinstance(node, ast.comprehension) for node in inner)
        nodes += [node for node in inner if not isinstance(node, ast.stmt)]
    return count


notebooks = pytest.mark.parametrize("path", NOTEBOOKS, ids=_name)


def test_contents_and_files_agree():
    assert sorted(LISTED) == sorted(_name(path) for path in PAGES)
    assert set(EXPERIMENTS) <= {_name(path) for path in NOTEBOOKS}


def test_pages_with_code_are_notebooks():
    assert [_name(p) for p in PAGES if "{code-cell}" in p.read_text(encoding="utf-8") and p not in NOTEBOOKS] == []


@notebooks
def test_header_names_no_tool_versions(path):
    assert path.read_text(encoding="utf-8").startswith(HEADER)


@notebooks
def test_saving_in_jupyterlab_changes_nothing(path, tmp_path):
    config = load_jupytext_config(str(path))
    notebook = jupytext.read(path, config=config)
    # what JupyterLab adds before it saves
    notebook.metadata["kernelspec"] = {
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
        "name": "python3",
    }
    notebook.metadata["language_info"] = {"name": "python", "version": "3.11.9", "pygments_lexer": "ipython3"}
    for count, cell in enumerate(cell for cell in notebook.cells if cell.cell_type == "code"):
        cell.execution_count = count + 1
        cell.outputs = [nbformat.v4.new_output("stream", text="42\n")]
        cell.metadata["execution"] = {"iopub.execute_input": "2024-01-01T00:00:00Z"}
    nbformat.write(notebook, tmp_path / "chapter.ipynb")
    again = jupytext.writes(nbformat.read(tmp_path / "chapter.ipynb", 4), fmt="md:myst", config=config)
    assert again == path.read_text(encoding="utf-8"), f"run: {NORMALISE.format(_name(path))}"


@notebooks
def test_no_outputs_in_text(path):
    assert all(not cell.get("outputs") for cell in _code_cells(path))
    assert "data:image" not in path.read_text(encoding="utf-8")


@notebooks
def test_cells_read_like_sentences(path):
    assert [found for cell in _code_cells(path) for found in _hard_to_read(cell.source)] == []


@pytest.mark.parametrize(
    ("code", "rule"),
    [
        ("x = 1  # " + "long " * 20, "longer than 100 characters"),
        ("def mean(values):\n    return sum(values) / len(values)", "belongs into the package"),
        ("class Mine:\n    pass", "belongs into the package"),
        ("best = max(runs, key=lambda run: run.value)", "belongs into the package"),
        ("facts |= {'low': 1}", "an update with |="),
        ("for arm in arms:\n    facts |= {arm: 1}", "an update with |="),
        ("x = 1; y = 2", "two statements in a line"),
        ("for x in xs: print(x)", "two statements in a line"),
        ("x, y = 1, 2", "two assignments in one"),
        ("lr, knn = (mean_of(runs, model=m) for m in ('lr', 'knn'))", "two assignments in one"),
        ("x = [f(a, b) for a in xs for b in ys]", "two loops in a statement"),
        ("x = {n: [f(v) for v in row] for n, row in rows.items()}", "two loops in a statement"),
        ("for n in names:\n    x = {m: [f(v) for v in row] for m, row in rows[n]}", "two loops in a statement"),
        ("for name, x in (('a', 1), ('b', 2)):\n    say(name, x)", "a loop over packed pairs"),
        ("rows = {n: f(x) for n, x in zip(names, xs)}", "a loop over packed pairs"),
    ],
)
def test_code_that_is_hard_to_read_is_found(code, rule):
    assert [found.partition(":")[0] for found in _hard_to_read(code)] == [rule]


@pytest.mark.parametrize(
    "code",
    [
        "figures.ablation(records, published);",
        "names = {'a': 1}\nfor name, value in names.items():\n    say(name, value)",
        "low, high = interval(runs)",
        "rows = [describe(name) for name in names]",
        "both = (runs['tier'] == 'quick') | (runs['tier'] == 'paper')",
    ],
)
def test_plain_code_is_let_through(code):
    assert _hard_to_read(code) == []


@notebooks
def test_parameters_are_plain_constants(path):
    cells = [cell for cell in _code_cells(path) if "parameters" in _tags(cell)]
    assert len(cells) == 1 if _name(path) in EXPERIMENTS else len(cells) <= 1
    for cell in cells:
        statements = ast.parse(cell.source).body
        assert statements, "the parameters cell is empty"
        for statement in statements:
            assert isinstance(statement, ast.Assign | ast.AnnAssign), f"not an assignment: {ast.unparse(statement)}"
            try:
                ast.literal_eval(statement.value)
            except ValueError:
                pytest.fail(f"derived values go stale when a parameter changes: {ast.unparse(statement)}")


def names_called(cells):
    """Return the functions that cells call."""
    parts = [node for cell in cells if cell.cell_type == "code" for node in ast.walk(ast.parse(cell.source))]
    return {node.func.id for node in parts if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_what_makes_records_uses_compute_and_what_follows_only_shows_them(name):
    cells = jupytext.read(ROOT / f"{name}.md").cells
    making = up_to_records(cells)
    assert names_called(making) & MAKE_RECORDS
    assert not names_called(cells[len(making) :]) & MAKE_RECORDS


@notebooks
def test_every_drawn_figure_has_a_name_a_caption_and_a_text_alternative(path):
    for cell in _code_cells(path):
        options = cell.metadata.get("mystnb", {})
        if "figure" in options:
            assert {"caption", "name"} <= set(options["figure"])
        if "image" in options:
            assert options["image"].get("alt", "").strip()


@pytest.mark.parametrize("path", PAGES, ids=_name)
def test_numbers_in_prose_are_glued(path):
    prose = "\n\n".join(cell.source for cell in jupytext.read(path).cells if cell.cell_type != "code")
    settings = [cell.metadata.get("mystnb", {}) for cell in _code_cells(path)]
    said = [part.get(key) for of in settings for part in of.values() for key in ("caption", "alt")]
    assert _typed_digits("\n\n".join([prose, *filter(None, said)])) == [], "glue the number, or say it in words"


@pytest.mark.parametrize(
    "text", ["reaches 0.97 here", "20 % scored", "16,906 genes", "- 3 runs", "see [4](a.md)", "by $0.3$"]
)
def test_a_typed_number_is_found(text):
    assert len(_typed_digits(f"Words.\n\n{text}\n")) == 1


@pytest.mark.parametrize(
    "text",
    [
        "{glue:text}`a-10:.3f` in Table 2, Supplementary Figure 6 and Figures 2 to 5",
        "the 95 % t interval of macro F1 on Zheng68K {cite:p}`zheng2017`, CD4+ and gene2vec",
        "see [there](a2.md#n3), https://example.org/4 and $10^{-4}$, `lr=0.1`, Python 3.11",
        "```bash\nbench run -p seed 1\n```",
    ],
)
def test_names_code_and_formulas_may_have_digits(text):
    assert _typed_digits(text) == []


def test_no_ipynb_in_git():
    done = subprocess.run(["git", "ls-files", "*.ipynb"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout")
    assert done.stdout == ""
