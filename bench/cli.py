"""The command ``bench``: list what there is, fetch data, run chapters, look at records."""

import errno
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import click
from click.utils import make_default_short_help

from bench.core.errors import BenchError, Faults
from bench.core.families import Family, families, imported, ours
from bench.core.glance import docstring
from bench.core.home import settle
from bench.core.interrupts import Terminated, interrupts_delivered, termination_raised
from bench.core.told import told

ELSEWHERE = {
    "cache": "bench.datasets.command:cache",
    "check": "bench.models.command:check",
    "data": "bench.datasets.command:data",
    "fetch": "bench.protocol.command:fetch",
    "predictions": "bench.protocol.command:predictions",
    "pretrain": "bench.training.command:pretrain",
    "records": "bench.protocol.command:records",
    "rerun": "bench.protocol.rerun.command:rerun",
    "score": "bench.protocol.elsewhere.command:score",
    "split": "bench.protocol.elsewhere.command:split",
    "standin": "bench.protocol.command:standin",
    "verify": "bench.verify.command:verify",
    "weights": "bench.weights.command:weights",
}

CACHE = "or name another folder in BENCH_CACHE or BENCH_RESULTS, whichever it lies in."
REFUSED = {  # by the system, where no room has said more
    errno.EACCES: f"Make it readable and writable for you, {CACHE}",
    errno.EROFS: f"It is on a read-only disk: make that writable, {CACHE}",
    errno.ENOSPC: f"Free some space on its disk, {CACHE}",
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

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands with their first sentences, without importing what those of other rooms import."""
        names = self.list_commands(context)
        limit = formatter.width - 6 - max(map(len, names))
        with formatter.section("Commands"):
            formatter.write_dl([(name, self._sentence(context, name, limit)) for name in names])

    def _sentence(self, context: click.Context, name: str, limit: int) -> str:
        paths = [paths[name] for paths in _added(ours) if name in paths]
        if paths and (said := docstring(paths[0])):
            return make_default_short_help(said, limit)
        return self.get_command(context, name).get_short_help_str(limit)

    def invoke(self, context: click.Context):
        try:
            with interrupts_delivered(), termination_raised():
                return super().invoke(context)
        except BenchError as error:
            click.echo(f"bench: {error}", err=True)
            sys.exit(2)
        except OSError as error:
            if error.errno not in REFUSED:
                raise
            click.echo(f"bench: {error.filename or 'A file'}: {error.strerror}. {REFUSED[error.errno]}", err=True)
            sys.exit(2)
        except KeyboardInterrupt as error:
            logging.disable()  # what is cut off in the notebook client would print its traceback on the way out
            by_signal = isinstance(error, Terminated)
            why = "ended by SIGTERM, as where the time of a job is up" if by_signal else "interrupted"
            click.echo(f"\nbench: {why}; what was finished is kept, the same command goes on from there.", err=True)
            sys.exit(143 if by_signal else 130)


def _added(of: Callable[[], dict[str, Family]]) -> Iterator[Mapping[str, str]]:
    """Yield the paths of commands by name: of other rooms, then of each family."""
    yield ELSEWHERE
    for family in of().values():
        yield family.commands


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="scfm-bench")
def main() -> None:
    """Audit single-cell foundation models on cell-type annotation."""
    settle()


@main.command("list")
def list_() -> None:
    """List data sets, models, chapters and what is recorded."""
    from bench.core import catalogue
    from bench.core.places import is_checkout, needs_a_clone
    from bench.models.registry import by_kind
    from bench.protocol import place
    from bench.protocol.counting import n_recorded
    from bench.protocol.notebooks import chapters

    place.tell()
    click.secho("Data sets", bold=True)
    for name in catalogue.DATASETS:
        dataset = catalogue.told(name)
        click.echo(f"  {name:<12}{dataset['title']}; split {dataset.get('split', 'random')}")
    for kind, models in by_kind().items():
        click.secho(f"Models: {kind}", bold=True)
        for name, target in models.items():
            click.echo(f"  {name:<20}{target}")
    click.secho("Chapters, with trials recorded per tier (own + committed)", bold=True)
    if not is_checkout():
        click.echo(f"  none: {needs_a_clone('chapters need')}")
    counts = n_recorded()
    for name in dict.fromkeys([*chapters(), *counts]):  # of your own: some have no chapter here
        of_tiers = [f"{tier} {n}" for tier, n in counts.get(name, {}).items()]
        click.echo(f"  {name:<26}{', '.join(of_tiers) or '-'}")


@main.command()
@click.argument("chapters", nargs=-1, required=True, metavar="CHAPTER...")
@click.option(
    "-p", "--parameter", "parameters", nargs=2, multiple=True, metavar="NAME VALUE", help="As often as needed."
)
@click.option("--jobs", type=int, help="Trials at a time; -1 for one per core.")
@click.option("--device", help="Where networks are computed, whatever chapters say: cpu, cuda, cuda:1 or auto.")
@click.option("--records-only", is_flag=True, help="Leave out the cells that only show what is recorded.")
@click.option("--share", metavar="N/OF", help="Only this share of the trials, such as 3/16; implies --records-only.")
@click.option(
    "--cluster",
    metavar="WHERE",
    help="Address of a dask scheduler that runs the trials; local:N or slurm:FILE start one.",
)
def run(
    chapters: tuple[str, ...],
    parameters: tuple[tuple[str, str], ...],
    jobs: int | None,
    device: str | None,
    records_only: bool,
    share: str | None,
    cluster: str | None,
) -> None:
    """Run the trials of chapters with papermill; what is recorded already is not run again.

    What cannot be run is said first and at the end, the rest runs; the exit code is then 1, and 2 where nothing runs.

    Example: bench run few_shot_pbmc -p tier standin -p models "[knn]"
    """
    from bench.protocol import cluster as clusters
    from bench.protocol import gpus, notebooks, place
    from bench.protocol import share as shares
    from bench.report.book.warm_kernels import nursery

    asked = _asked(chapters, parameters, jobs)  # all of it before the first chapter runs
    part = None if share is None else str(shares.share_of(share))
    missed = []
    place.tell()
    with ExitStack() as stack:
        stack.enter_context(told(gpus.VARIABLE, device))
        stack.enter_context(told(shares.VARIABLE, part))
        stack.enter_context(told(clusters.VARIABLE, stack.enter_context(clusters.started(cluster))))
        if len(chapters) > 1:  # one alone starts faster without
            stack.enter_context(nursery())
        for chapter in chapters:
            own = {name: value for name, value in asked.items() if name in notebooks.known_parameters(chapter)}
            output = notebooks.run(chapter, own, records_only=records_only or part is not None)
            click.echo(f"{chapter}: done; executed notebook in {output}")
            missed += notebooks.left_out(output)
    for sentence in dict.fromkeys(missed):
        click.echo(f"bench: left out: {sentence}", err=True)
    sys.exit(1 if missed else 0)


def _asked(chapters: tuple[str, ...], parameters: tuple[tuple[str, str], ...], jobs: int | None) -> dict[str, Any]:
    """Return the parameters of chapters, or say all that is wrong with them and with the chapters' names."""
    from bench.protocol import notebooks
    from bench.protocol.parameters import given

    faults, asked = Faults(), {}
    names = [name for name, _ in parameters]
    for name in sorted({name for name in names if names.count(name) > 1}):
        faults.add(f"Parameter {name} is given {names.count(name)} times; several values are one list, in quotes.")
    with faults.noted():
        asked = given(dict(parameters) | ({} if jobs is None else {"jobs": jobs}))
    for chapter in chapters:
        with faults.noted():
            notebooks.check_parameters(chapter, names)
    faults.raised()
    return asked
