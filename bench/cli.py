"""The command ``bench``: list what there is, fetch data, run chapters, look at records."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from bench.core.errors import BenchError
from bench.core.families import families, imported, ours, with_part
from bench.core.interrupts import interrupts_delivered
from bench.training.command import of_cells


class _Commands(click.Group):
    """Commands of this module and of the families; an error of ours is printed as a sentence, without a traceback."""

    def list_commands(self, context: click.Context) -> list[str]:
        added = [name for family in ours().values() for name in family.commands]
        return sorted([*super().list_commands(context), *added])

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        return super().get_command(context, name) or next(_added(name), None)

    def invoke(self, context: click.Context):
        try:
            with interrupts_delivered():
                return super().invoke(context)
        except BenchError as error:
            click.echo(f"bench: {error}", err=True)
            sys.exit(2)
        except KeyboardInterrupt:
            logging.disable()  # what is cut off in the notebook client would print its traceback on the way out
            click.echo("\nbench: interrupted; finished trials are recorded, the same command goes on.", err=True)
            sys.exit(130)


class _PerFamily(click.Command):
    """A command with switches that families add, and their names where its help says FAMILIES."""

    def __init__(self, *args, part: str, **more):
        super().__init__(*args, **more)
        self.part = part

    def get_params(self, context: click.Context) -> list[click.Parameter]:
        options = [
            click.Option([f"--{name.replace('_', '-')}", name], is_flag=True, help=option.help)
            for family in families().values()
            for name, option in getattr(family, f"{self.name}_options").items()
        ]
        return [*super().get_params(context)[:-1], *options, *super().get_params(context)[-1:]]  # help stays last

    def format_help_text(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        named = ", ".join(family.name for family in with_part(self.part))
        click.Command("", help=self.help.replace("FAMILIES", named)).format_help_text(context, formatter)


def _added(name: str) -> Iterator[click.Command]:
    """Yield the commands of that name; families of other packages come last, since looking them up takes time."""
    for of in (ours, families):
        for family in of().values():
            if name in family.commands:
                yield imported(family.commands[name])


def _switched(command: str, given: dict[str, bool]) -> dict[str, Any]:
    """Return the settings that the switches given stand for, by their names in families."""
    options = {n: o for family in families().values() for n, o in getattr(family, f"{command}_options").items()}
    return {k: v for name, chosen in given.items() if chosen for k, v in options[name].settings.items()}


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="scfm-bench")
def main() -> None:
    """Audit single-cell foundation models on cell-type annotation."""


@main.command("list")
def list_() -> None:
    """List data sets, models, chapters and what is recorded."""
    from bench.datasets.load import DATASETS, find
    from bench.models.registry import known
    from bench.protocol.notebooks import chapters
    from bench.protocol.records import read

    click.secho("Data sets", bold=True)
    for name in DATASETS:
        dataset = find(name)
        click.echo(f"  {name:<12}{dataset.title}; split {dataset.split}")
    click.secho("Models", bold=True)
    for name, target in known().items():
        click.echo(f"  {name:<18}{target}")
    click.secho("Chapters, with trials recorded per tier (own + committed)", bold=True)
    trials = read().drop_duplicates(["experiment", "tier", "key"])
    for name in chapters():
        counts = trials[trials["experiment"] == name].groupby("tier").size()
        click.echo(f"  {name:<26}{', '.join(f'{tier} {n}' for tier, n in counts.items()) or '-'}")


@main.command()
@click.argument("name")
@click.option("--path", type=click.Path(path_type=Path), help="File or folder with the original files, if downloaded.")
@click.option("--label", help="Column of obs with the cell type, for an .h5ad file.")
@click.option("--batch", help="Column of obs with donor, study or condition, for an .h5ad file.")
def data(name: str, path: Path | None, label: str | None, batch: str | None) -> None:
    """Fetch, check and describe a data set or an .h5ad file."""
    from bench.datasets import find, load

    dataset = find(name, label, batch)
    adata = load(name, label, batch, path=path)
    click.echo(f"{dataset.title}: {adata.n_obs:,} cells, {adata.n_vars:,} genes, values {dataset.values}")
    click.echo(f"licence {dataset.licence}; labels {dataset.label_origin}; split {dataset.split}")
    for column in adata.obs:
        counts = adata.obs[column].value_counts()
        click.echo(f"{column}: " + ", ".join(f"{value} {n:,}" for value, n in counts.items()))


@main.command(cls=_PerFamily, part="converter")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--path", type=click.Path(path_type=Path), help="File or folder, if downloaded, or of your own.")
@click.option("--genes", type=click.Path(path_type=Path), help="With a file of your own: its gene symbols, one a line.")
@click.option("--data", help="A data set or an .h5ad file: which of its genes the weights know.")
def weights(names: tuple[str, ...], path: Path | None, genes: Path | None, data: str | None, **switches: bool) -> None:
    """Fetch, check and convert pretrained weights, or describe a file of them.

    NAME is a model (FAMILIES), whose published weights are fetched unless --path names a checkpoint of your own; or the
    name of weights, see bench list; or a .safetensors file.  Several are made side by side, one on each core.

    Example: bench weights MODEL --path FOLDER --data my.h5ad
    """
    from bench.weights import describe
    from bench.weights.vocabulary import coverage_of

    options = _switched("weights", switches)
    if len(names) > 1 and (path or genes or options):
        raise BenchError(f"--path, --genes and switches go with one name; {len(names)} are given.")
    for file in _side_by_side(names) if len(names) > 1 else [_weights(names[0], path, genes, options)]:
        click.echo(file)
        for line in describe(file):
            click.echo(line)
        if data:
            click.echo(f"{data}: {coverage_of(file, data)}")


def _weights(name: str, path: Path | None = None, genes: Path | None = None, options: dict | None = None) -> Path:
    """Return the file of one NAME of `weights`."""
    from bench.weights import of_model, published, resolve

    options = options or {}
    if name in {family.name for family in with_part("converter")}:
        return of_model(name, path, genes, **options)
    if genes or options:
        option = "--genes" if genes else f"--{next(iter(options))}"
        raise BenchError(f"{option} goes with a checkpoint of your own: bench weights MODEL --path FILE")
    return published(name, path) if path else resolve(name)


def _side_by_side(names: tuple[str, ...]) -> list[Path]:
    """Return the files of several names, in that order; made in processes that share the cores."""
    from contextlib import closing

    from joblib import cpu_count

    from bench.protocol.workers import answers

    with closing(answers(_weights_or_why, names, min(cpu_count(), len(names)))) as made:
        files = dict(made)
    if errors := [f"{name}: {files[name]}" for name in names if isinstance(files[name], Exception)]:
        raise BenchError("; ".join(errors))
    return [files[name] for name in names]


def _weights_or_why(name: str) -> Path | BenchError:
    """Return the file, or why there is none, so that the others are made all the same."""
    try:
        return _weights(name)
    except BenchError as error:
        return error


@main.command(cls=_PerFamily, part="recipes")
@click.argument("model")
@of_cells
@click.option("--device", help="cpu, cuda or cuda:1; a GPU if there is one.")
def pretrain(
    model: str, recipe: str, device: str | None, settings, data, label: str | None, batch: str | None, **switches: bool
) -> None:
    """Pretrain MODEL by masked expression; what is there is found, and an interrupted run goes on.

    MODEL is one of FAMILIES.  DATA is a data set or an .h5ad file; cells that the SPLITs score are left out, so that
    they can be scored later.

    Example: bench pretrain MODEL --data my.h5ad:random --label cell_type

    For two processes put before it: torchrun --nproc-per-node 2 --no-python
    """
    from bench.training.choice import chosen
    from bench.training.pretrain import best_device, summary
    from bench.training.pretrain import pretrain as train

    settings = dict(settings) | _switched("pretrain", switches)
    name, asked = chosen(model, recipe, settings, data, label, batch)
    try:
        file = train(name, asked, device=device or best_device(name, asked))
    except KeyboardInterrupt:
        click.echo("\nbench: interrupted; what was trained is saved, the same command goes on from there.", err=True)
        sys.exit(130)
    if os.environ.get("RANK", "0") == "0":
        click.echo("\n".join(summary(file)))


@main.command()
@click.argument("model")
@click.option("-p", "settings", nargs=2, multiple=True, metavar="NAME VALUE", help="A hyper-parameter, or weights.")
@click.option("--data", default="hao", show_default=True, help="A data set or an .h5ad file to take a few cells of.")
@click.option("--label", help="Column of obs with the cell type, for an .h5ad file.")
def check(model: str, settings: tuple[tuple[str, str], ...], data: str, label: str | None) -> None:
    """Check on a few cells that MODEL keeps what the protocol relies on; exit with 1 where it does not.

    MODEL is a name, NAME@VARIANT, or an import path.

    Example: bench check my_module:MyModel -p depth 4
    """
    from bench.datasets import load
    from bench.models import sample
    from bench.models.conformance import CHECKS, specified
    from bench.models.conformance import check as checks

    found = dict(checks(specified(model, dict(settings)), *sample.sides(load(data, label))))
    for name, entry in CHECKS.items():
        verdict = "ok" if found.get(name) == "" else "MISS"
        click.echo(f"{name:<15}{verdict:<6}{found.get(name, 'not run') or entry.promise}")
    missed = [name for name in CHECKS if found.get(name) != ""]
    click.echo(f"missed: {', '.join(missed)}" if missed else "all promises kept")
    sys.exit(1 if missed else 0)


@main.command()
@click.argument("chapters", nargs=-1, required=True, metavar="CHAPTER...")
@click.option(
    "-p", "--parameter", "parameters", nargs=2, multiple=True, metavar="NAME VALUE", help="As often as needed."
)
@click.option("--jobs", type=int, help="Trials at a time; -1 for one per core.")
@click.option("--records-only", is_flag=True, help="Leave out the cells that only show what is recorded.")
def run(
    chapters: tuple[str, ...], parameters: tuple[tuple[str, str], ...], jobs: int | None, records_only: bool
) -> None:
    """Run the trials of chapters with papermill; what is recorded already is not run again.

    Example: bench run few_shot_pbmc -p tier standin -p seeds "[0, 1]"
    """
    from bench.core.settings import parse
    from bench.protocol import notebooks
    from bench.report.book.warm_kernels import nursery

    asked = {name: parse(name, value) for name, value in parameters}
    for chapter in chapters:  # all of them before the first one runs
        notebooks.check_parameters(chapter, asked)
    with nursery() if len(chapters) > 1 else nullcontext():  # one alone starts faster without
        for chapter in chapters:
            more = {"jobs": jobs} if jobs is not None and "jobs" in notebooks.known_parameters(chapter) else {}
            output = notebooks.run(chapter, asked | more, records_only=records_only)
            click.echo(f"{chapter}: done; executed notebook in {output}")


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--only", default="", metavar="PREFIX", help="Only cases whose names begin so.")
def verify(folder: Path, only: str) -> None:
    """Compare our implementations with the golden cases of FOLDER; exit with 1 on any miss.

    Each line shows the error of the output that is nearest to its tolerance, and what was allowed: where the output has
    values above 1, an absolute tolerance is multiplied by the largest, and the line says so.
    """
    from bench.verify import verify as verdicts

    missed = 0
    for verdict in verdicts(folder, only):
        missed += not verdict.passed
        found = verdict.reason or f"{verdict.found}, {verdict.output}"
        click.echo(f"{verdict.case:<26}{verdict.backend:<14}{'ok  ' if verdict.passed else 'MISS'}  {found}")
    click.echo(f"{missed} missed" if missed else "all within tolerance")
    sys.exit(1 if missed else 0)


@main.command()
@click.argument("experiment", required=False)
@click.option("--commit", is_flag=True, help="Merge your own records of EXPERIMENT into chapters/results.")
@click.option("--tier", help="With --commit: this tier only.")
def records(experiment: str | None, commit: bool, tier: str | None) -> None:
    """Show what is recorded, and why trials failed."""
    from bench.protocol import records as store

    if commit:
        if not experiment:
            raise BenchError("Say which experiment: bench records EXPERIMENT --commit.")
        click.echo(f"written: {store.commit(experiment, tier)}")
        return
    trials = store.read(experiment).drop_duplicates(["experiment", "tier", "key"])
    if trials.empty:
        raise BenchError(f"Nothing is recorded{f' for {experiment}' if experiment else ''}; see: bench list")
    by = ["experiment", "tier", "dataset", "model", "origin"]
    click.echo(trials.groupby(by, sort=True).size().rename("trials").reset_index().to_string(index=False))
    for trial in trials[trials["status"] != "ok"].itertuples():
        click.echo(f"{trial.experiment} {trial.model} fraction {trial.fraction:g} seed {trial.seed:g}: {trial.status}")
