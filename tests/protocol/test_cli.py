"""The command line: every command explains itself, starts fast, and says a mistake in one sentence with exit code 2."""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version

import click
import pytest
from click.testing import CliRunner
from nbclient.exceptions import DeadKernelError

from bench.cli import main
from bench.core.places import ROOT
from bench.datasets import DATASETS, find
from bench.models import MODELS
from bench.models.registry import KINDS
from bench.protocol import counting, records
from bench.protocol.notebooks import chapters
from bench.protocol.runner import run
from bench.protocol.trials import Grid

pytestmark = pytest.mark.usefixtures("warm")

COMMANDS = ("list", "data", "weights", "pretrain", "gene2vec", "check", "run", "standin", "verify", "records", "cache")
COMMANDS += ("fetch", "predictions", "rerun", "score", "split")


@pytest.fixture(autouse=True)
def no_committed_records(monkeypatch, tmp_path):
    monkeypatch.setattr("bench.protocol.place.committed_folder", lambda: tmp_path / "committed")


def bench(*arguments: str):
    return CliRunner().invoke(main, list(arguments))


def record(*models: str) -> None:
    run(Grid("few_shot", "quick", "hao", list(models), [0.1], [0, 1]))


def command_of(name: str) -> click.Command:
    return main.get_command(click.Context(main), name)


def test_help_names_every_command_with_a_sentence():
    assert sorted(COMMANDS) == main.list_commands(click.Context(main))
    width = max(map(len, COMMANDS))
    for arguments in ((), ("-h",), ("--help",)):
        said = bench(*arguments).output
        for command in COMMANDS:
            first_words = command_of(command).help.split()[:4]
            assert f"  {command:<{width}}  {' '.join(first_words)}" in said


def shown(text: str) -> Iterator[list[str]]:
    """Yield the arguments of each `bench` command in the shell blocks of a page."""
    for block in re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        line = ""
        for more in block.replace("\\\n", " ").splitlines():
            line += f"{more} "
            try:
                words = shlex.split(line, comments=True)
            except ValueError:  # a quotation goes on in the next line
                continue
            line = ""
            if words[:1] == ["bench"]:
                yield words[1:]
        assert not line, line


def parse(arguments: list[str]) -> None:
    """Parse as the command does, below `bench` itself: a command keeps its first context's names of help."""
    above = click.Context(main, **main.context_settings)
    _, command, rest = main.resolve_command(above, arguments)
    command.make_parser(click.Context(command, parent=above)).parse_args(list(rest))


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted((ROOT / "chapters").glob("*.md"))], ids=lambda p: p.stem)
def test_commands_that_pages_show_have_these_names_and_options(page):
    for arguments in shown(page.read_text(encoding="utf-8")):
        parse(arguments)


def test_an_option_that_a_command_lacks_is_found_on_a_page():
    (arguments,) = shown("```bash\n# one\nbench data my.h5ad \\\n    --cells '[a,\n b]'\n```\n")
    assert arguments == ["data", "my.h5ad", "--cells", "[a,  b]"]
    with pytest.raises(click.NoSuchOption):
        parse(arguments)


def test_help_is_what_click_makes_of_the_commands_themselves():
    context = click.Context(main, terminal_width=80)
    theirs, ours = (context.make_formatter() for _ in range(2))
    click.Group.format_commands(main, context, theirs)
    main.format_commands(context, ours)
    assert ours.getvalue() == theirs.getvalue()


def test_help_imports_nothing_heavy():
    heavy = ("torch", "anndata", "sklearn", "pandas", "scipy", "numpy")
    code = f"import sys\nfrom bench.cli import main\nfor names in ([], *([name] for name in {COMMANDS})):\n"
    code += "    main([*names, '--help'], standalone_mode=False)\n"
    code += f"    print('heavy:', [name for name in {heavy} if name in sys.modules], *names)"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    found = [line.strip() for line in process.stdout.splitlines() if line.startswith("heavy:")]
    assert found == [f"heavy: [] {name}".strip() for name in ("", *COMMANDS)], process.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_describes_each_option(command):
    result = bench(command, "--help")
    assert result.exit_code == 0
    for option in command_of(command).params:
        assert option.param_type_name == "argument" or (option.help and option.opts[0] in result.output)


def test_version_is_that_of_the_package():
    assert bench("--version").output == f"main, version {version('scfm-bench')}\n"


def test_list_names_data_sets_models_chapters_and_records():
    record("majority")
    result = bench("list")
    assert result.exit_code == 0
    for name in (*DATASETS, *MODELS, *chapters()):
        assert f"  {name} " in result.output


def test_list_has_a_heading_for_each_kind_of_model():
    lines = bench("list").output.splitlines()
    kinds = {line.removeprefix("Models: "): number for number, line in enumerate(lines) if line.startswith("Models: ")}
    expected = {kind: models for kind, models in KINDS.items() if models}
    assert list(kinds)[: len(expected)] == list(expected)
    for kind, models in expected.items():
        below = lines[kinds[kind] + 1 :][: len(models)]
        assert [line.split()[0] for line in below] == list(models)


@pytest.mark.slow
def test_list_imports_nothing_heavy(own_results):
    record("majority")  # with records of one's own, too
    assert list(own_results.glob("few_shot/quick/*.csv"))
    heavy = ("torch", "anndata", "sklearn", "pandas", "scipy", "numpy", "scanpy", "papermill", "matplotlib", "jupytext")
    code = "import sys\nfrom bench.cli import main\nmain(['list'], standalone_mode=False)\n"
    code += f"print('heavy:', [name for name in {heavy} if name in sys.modules])"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert process.stdout.splitlines()[-1] == "heavy: []", process.stderr
    assert re.search(r"^  few_shot +quick 2$", process.stdout, re.MULTILINE)


def test_list_says_of_data_sets_what_they_say_of_themselves():
    lines = bench("list").output.splitlines()
    for dataset in map(find, DATASETS):
        assert f"  {dataset.name:<12}{dataset.title}; split {dataset.split}" in lines


@pytest.mark.slow
def test_list_counts_trials_as_records_do(monkeypatch):
    monkeypatch.undo()  # the committed ones
    trials = records.read(own=False).drop_duplicates(["experiment", "tier", "key"])
    expected = trials.groupby(["experiment", "tier"]).size().to_dict()
    counts = counting.n_recorded()
    assert {(name, tier): n for name, tiers in counts.items() for tier, n in tiers.items()} == expected


def test_data_describes_a_data_set():
    result = bench("data", "hao")
    assert result.exit_code == 0
    assert "1,336 cells, 11,180 genes, values counts" in result.output
    assert "cell_type: " in result.output
    assert "B cells 150" in result.output


def test_records_shows_trials_and_why_some_failed():
    record("majority", "random")
    path = next(records.own_folder().rglob("*.csv"))
    path.write_text(
        "\n".join(path.read_text().replace(",ok", ",failed: ValueError: too few cells").splitlines()[:2]) + "\n"
    )
    result = bench("records", "few_shot")
    assert result.exit_code == 0
    assert "few_shot quick     hao majority    own       2" in result.output
    assert "seed" in result.output
    assert "failed: ValueError: too few cells" in result.output


def test_records_commit_merges_and_names_the_file(tmp_path):
    record("majority")
    result = bench("records", "few_shot", "--commit")
    assert result.exit_code == 0
    assert result.output == f"written: {tmp_path / 'committed' / 'few_shot.csv'}\n"
    assert records.read("few_shot", own=False)["key"].nunique() == 2


MISTAKES = {
    ("data", "haoo"): "Unknown data set 'haoo'. Did you mean 'hao'",
    ("data", "no_such.h5ad"): "no_such.h5ad",
    ("data", "hao", "--path", "no_such_file"): "no_such_file",
    ("run", "few_shot_pmbc"): "Unknown chapter 'few_shot_pmbc'. Did you mean 'few_shot_pbmc'",
    (
        "run",
        "few_shot_pbmc",
        "-p",
        "sedes",
        "[0]",
    ): "Unknown parameter of few_shot_pbmc.md 'sedes'. Did you mean 'seeds'",
    ("run", "few_shot_pbmc", "-p", "seeds", "[0"): "Parameter seeds='[0' cannot be read",
    ("check", "no_such_module:Model"): "Model 'no_such_module:Model' cannot be imported",
    ("check", "knn", "-p", "n_neighbours", "3"): "of knn 'n_neighbours'. Did you mean 'n_neighbors'",
    ("verify", "no_such_folder"): "no_such_folder is not a folder; it should hold golden cases",
    ("records",): "Nothing is recorded; see: bench list",
    ("records", "few_shot"): "Nothing is recorded for few_shot; see: bench list",
    ("records", "--commit"): "Say which experiment",
    ("records", "few_shot", "--commit"): "No own records of few_shot to commit",
}


@pytest.mark.parametrize("arguments", MISTAKES, ids=" ".join)
def test_a_mistake_is_one_sentence_with_exit_code_2(arguments, warm):
    result = bench(*arguments)
    assert result.exit_code == 2
    assert isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    assert result.stderr.startswith("bench: ")
    assert result.stderr.count("\n") == 1
    assert MISTAKES[arguments] in result.stderr


def test_a_chapter_whose_process_dies_is_a_sentence(monkeypatch):
    def dies(*_, **more):
        raise DeadKernelError("Kernel died")

    monkeypatch.setattr("papermill.execute_notebook", dies)
    result = bench("run", "few_shot_pbmc")
    assert result.exit_code == 2
    assert result.stderr.startswith("bench: few_shot_pbmc.md stopped: its process died outside a trial")


@pytest.mark.parametrize(
    "arguments",
    [("nothing",), ("run",), ("data",), ("verify",), ("check",), ("weights",), ("run", "x", "--jobs", "two")],
    ids=" ".join,
)
def test_wrong_usage_is_explained_with_exit_code_2(arguments):
    result = bench(*arguments)
    assert result.exit_code == 2
    assert "Usage: " in result.stderr
    assert "Error: " in result.stderr


@pytest.mark.slow
def test_a_damaged_record_is_left_out_and_named_by_every_command_that_reads_records(caplog):
    record("majority")
    record("random")
    path = next(records.own_folder().rglob("*.csv"))
    path.write_text("half a rec")
    for command in ("list", "records"):
        result = bench(command)
        assert result.exit_code == 0
        assert "few_shot" in result.output
    assert caplog.text.count(f"Left out: {path} is not a record") == 1  # by a process that is asked twice


@pytest.mark.slow
def test_the_installed_command_prints_a_sentence_and_no_traceback():
    installed = shutil.which("bench", path=str(sys.prefix) + "/bin") or shutil.which("bench")
    if not installed:
        pytest.skip("the package is not installed: pip install -e .")
    process = subprocess.run([installed, "data", "haoo"], capture_output=True, text=True)
    assert process.returncode == 2
    assert process.stderr.startswith("bench: Unknown data set 'haoo'")
    assert "Traceback" not in process.stderr


def test_the_package_is_the_command_too():
    done = subprocess.run([sys.executable, "-m", "bench", "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.startswith("Usage: bench ")
