"""The command ``bench``: list what there is, fetch data, run chapters, look at records."""

import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path

import click

from bench.core.errors import BenchError
from bench.core.families import Family, families, imported, ours
from bench.core.interrupts import interrupts_delivered

ELSEWHERE = {
    "cache": "bench.datasets.command:cache",
    "pretrain": "bench.training.command:pretrain",
    "standin": "bench.protocol.command:standin",
    "weights": "bench.weights.command:weights",
}


class _Commands(click.Group):
    """Commands of all rooms and of families; an error of ours is printed as a sentence, without a traceback."""

    def list_commands(self, context: click.Context) -> list[str]:
        added = [name for paths in _added(ours) for name in paths]
        return sorted([*super().list_commands(context), *added])

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if command := super().get_command(context, name):
            return command
        for of in (ours, families):  # those of other packages last, since looking them up takes time
            for paths in _added(of):
                if name in paths:
                    return imported(paths[name])
        return None

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


def _added(of: Callable[[], dict[str, Family]]) -> Iterator[Mapping[str, str]]:
    """Yield the paths of commands by name: of other rooms, then of each family."""
    yield ELSEWHERE
    for family in of().values():
        yield family.commands


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
    from bench.models.examination import examine

    missed = []
    for line in examine(model, dict(settings), {"name": data, "label": label}):
        click.echo(f"{line.name:<15}{line.verdict:<6}{line.text}")
        missed += [line.name] * (line.verdict == "MISS")
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

    Example: bench run few_shot_pbmc -p tier standin -p models "[knn]"
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
        what = f"{trial.experiment} {trial.model} on {trial.dataset}, fraction {trial.fraction:g}, seed {trial.seed:g}"
        click.echo(f"{what}: {trial.status}")
