"""The commands ``bench fetch``, ``records``, ``predictions`` and ``standin``."""

import sys
from pathlib import Path

import click

from bench.core.errors import BenchError
from bench.core.places import is_checkout, to_run

ONE_FILE = "Copy the file from one machine's cache to the other's and run those trials again."


@click.command()
@click.argument("experiment", required=False)
@click.option("--commit", is_flag=True, help="Merge your own records of EXPERIMENT into chapters/results.")
@click.option("--tier", help="With --commit: this tier only.")
@click.option("--gather", is_flag=True, help="Move your own results from _build, where they lay before, to results.")
@click.option(
    "--merge", metavar="FOLDER", type=click.Path(path_type=Path), help="Take over results of another machine."
)
def records(experiment: str | None, commit: bool, tier: str | None, gather: bool, merge: Path | None) -> None:
    """Show what is recorded, why trials failed, and where their logs lie.

    With --merge, trials of another results folder become your own; one that both have stays as it is here, and where
    its values are others there that is said, with exit code 1.  That trials of one experiment then come from different
    files of the same weights is said, too.

    Example: bench records --merge /mnt/node7/results
    """
    from bench.protocol import place
    from bench.protocol import records as store
    from bench.protocol.beside import own_log
    from bench.protocol.columns import called

    if gather:
        click.echo(f"{place.gather()} files moved to {place.own_folder()}")
        return
    if merge:
        return _merge(merge)
    place.tell()

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
        click.echo(f"{trial.experiment} {called(trial)}: {trial.status}")
        if log := own_log(trial.experiment, trial.tier, trial.key):
            click.echo(f"  what it printed: {log}")
    committed = "; committed ones: chapters/results" if is_checkout() else ""
    click.echo(f"own records: {place.own_folder()}, or where BENCH_RESULTS says{committed}")


def _merge(folder: Path) -> None:
    from bench.protocol.merging import merge

    merged = merge(folder)
    for sentence in merged.odd:
        click.echo(f"bench: left out: {sentence}", err=True)
    for sentence in merged.contradictions:
        click.echo(f"bench: kept as it is here: {sentence}", err=True)
    for sentence in merged.mixed:
        click.echo(f"bench: do not take their mean: {sentence} {ONE_FILE}", err=True)
    click.echo(f"{merged.n_taken} trials taken from {folder}, {merged.n_known} were here already")
    sys.exit(1 if merged.contradictions else 0)


@click.command()
@click.argument("key", required=False)
@click.option("--out", default="-", metavar="FILE", help="Where to write, such as labels.csv; - is standard output.")
@click.option("--probabilities", is_flag=True, help="Add the probability of every type.")
@click.option("--overwrite", is_flag=True, help="Write FILE also where it is there already.")
def predictions(key: str | None, out: str, probabilities: bool, overwrite: bool) -> None:
    """Write the labels of a trial as CSV: cell, predicted, confidence, and the truth where it is known.

    KEY is a trial's key or its first digits. Without one, your own trials that have predictions are listed,
    or the committed ones.

    Example: bench predictions 3f2a --out labels.csv
    """
    from bench.protocol import labels

    if key is None:
        return _list_predictions()
    trial = labels.trial_of(key)
    table = labels.labels_of(trial, probabilities=probabilities)
    if out == "-":
        click.echo(labels.as_csv(table), nl=False)
    else:
        labels.write(labels.as_csv(table), Path(out).expanduser(), overwrite=overwrite)
    scored = trial["query"] or f"{trial['dataset']}, split {trial['split']}"
    by = f"{trial['variant']}, made elsewhere" if trial["predictions_hash"] else trial["model"]
    kept = "probabilities are good to three digits, for they are kept in half precision"
    kept = kept if "confidence" in table else "labels alone were given, without probabilities"
    click.echo(
        f"{len(table):,} cells of {scored}, labelled by {by} trained on {trial['dataset']} "
        f"(trial {trial['key']}); {kept}",
        err=True,
    )
    if "unique_cell" in table:
        click.echo("some names of cells repeat in the file: unique_cell tells them apart", err=True)


def _list_predictions() -> None:
    from bench.protocol import labels

    found = labels.trials()
    if found.empty:
        run = to_run("few_shot_pbmc")
        raise BenchError(f"No trial has predictions yet; record those of a tool with bench score, or run: {run}")
    if (own := found["origin"] == "own").any():  # hundreds of committed ones would hide them
        if is_checkout():
            click.echo(f"{(~own).sum()} committed trials have predictions, too; yours:", err=True)
        found = found[own]
    shown = found[labels.SHOWN].assign(accuracy=found["accuracy"].map("{:.3f}".format).replace("nan", "–"))
    click.echo(shown.replace("", "–").to_string(index=False))


@click.command()
@click.argument("chapter")
@click.option("-p", "--parameter", "parameters", nargs=2, multiple=True, metavar="NAME VALUE", help="As for bench run.")
def fetch(chapter: str, parameters: tuple[tuple[str, str], ...]) -> None:
    """Bring the data, weights and lists of genes that the trials of CHAPTER need into the cache, and run nothing.

    For nodes without network that see the same BENCH_CACHE.  Weights of this project are pretrained.  What cannot be
    had is said at the end, with exit code 2; the rest is brought all the same.

    Example: bench fetch few_shot_pbmc -p tier standin
    """
    from bench.datasets.sources import cache_folder
    from bench.protocol.fetching import brought
    from bench.protocol.parameters import given

    failures = []
    for one in brought(chapter, given(dict(parameters))):
        click.echo(one)
        failures += [one.failure] if one.failure else []
    click.echo(f"in {cache_folder()}, or what BENCH_CACHE names")
    for failure in failures:
        click.echo(f"bench: not there: {failure}", err=True)
    sys.exit(2 if failures else 0)


@click.command()
@click.option("--plan", "only_plan", is_flag=True, help="Say what is still to do and how long that takes here.")
@click.option("--hours", type=click.FloatRange(min=0, min_open=True), help="End after so long, with nothing half done.")
def standin(only_plan: bool, hours: float | None) -> None:
    """Run the stand-in tier in order of worth, as chapters/standin.yml says; on a GPU if there is one.

    What is recorded already, here or in the committed records, is not run again.  Whatever ends it, the same command
    goes on: a pretraining from its last checkpoint, a fine-tuning from its last epoch.

    Example: bench standin --hours 2.5
    """
    from bench.core.forked import nursery
    from bench.protocol.engine import WARM
    from bench.protocol.place import tell
    from bench.protocol.standin import ending_in, run, steps

    tell()
    steps()  # says now if there are none, before a process has imported what trials need
    if only_plan:
        return _show_plan()
    with nursery(WARM), ending_in(hours, click.echo):  # a process for each trial, which imports nothing again
        run(click.echo)


def _show_plan() -> None:
    from bench.protocol.durations import Durations, in_words
    from bench.protocol.standin import plan, recorded
    from bench.training.pace import pace_of

    to_do = plan()
    paces = {name: pace_of(name) for name in dict.fromkeys(name for left in to_do for name in left.weights)}
    durations = Durations(recorded(), paces)
    for name, pace in paces.items():
        click.echo(f"   {name}: {f'to be pretrained, {in_words([pace.left_s])}' if pace.n_left else 'pretrained'}")
    for number, left in enumerate(to_do, start=1):
        took = [durations.of(task) for task, _ in left.missing]
        said = f"{len(left.missing)} of {left.n_trials} trials to run, {in_words(took)}" if took else "done"
        said = f"cannot be planned. {left.reason}" if left.reason else said
        click.echo(f"{number:>2}. {left.step.title}: {said}")
