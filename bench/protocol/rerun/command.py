"""The command ``bench rerun``."""

import sys
from pathlib import Path

import click

from bench.core.errors import BenchError


@click.command()
@click.argument("what", required=False, metavar="[KEY | EXPERIMENT]")
@click.option("--sample", "n_trials", type=click.IntRange(min=1), help="So many committed trials at random.")
@click.option("--tier", help="With --sample: of this tier only.")
@click.option("--longest", type=float, metavar="SECONDS", help="With --sample: only trials that took no longer.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="With --sample: of the draw.")
@click.option("--jobs", type=int, default=1, show_default=True, help="Trials at a time; -1 for one per core.")
@click.option("--out", metavar="FILE", help="Write a row per trial and metric as CSV, with who made what.")
@click.option("--overwrite", is_flag=True, help="Write FILE also where it is there already.")
def rerun(what: str | None, n_trials: int | None, tier, longest, seed: int, jobs: int, out, overwrite: bool) -> None:
    """Repeat committed trials and say whether the values come out again; nothing is recorded.

    KEY is a trial's key or its first digits; with --sample, EXPERIMENT is the chapter to take trials of.  Values are
    equal where they are so in the digits that records have. Exit code 1 says that some are not, with what was different
    when they were made (weights, processor, threads, versions): training amplifies rounding.

    Example: bench rerun --sample 10 few_shot_pbmc --tier quick --out again.csv
    """
    from bench.protocol import labels
    from bench.protocol.engine import check_jobs
    from bench.protocol.rerun.repeating import said, table_of, verdicts

    check_jobs(jobs)
    path = Path(out).expanduser() if out else None
    if path:
        labels.check_free(path, overwrite=overwrite)
    trials = _trials(what, n_trials, seed, tier=tier, longest=longest)
    found = []
    for verdict in verdicts(trials, jobs):
        click.echo("\n".join(said(verdict, in_full=n_trials is None)))
        found.append(verdict)
    if path:
        labels.write(labels.as_csv(table_of(found)), path, overwrite=overwrite)
        click.echo(f"written: {path}")
    n_equal = sum(verdict.is_equal for verdict in found)
    click.echo(f"{n_equal} of {len(found)} trials equal to their records")
    sys.exit(0 if n_equal == len(found) else 1)


def _trials(what: str | None, n_trials: int | None, seed: int, *, tier: str | None, longest: float | None):
    """Return the trials that are asked for, a row each."""
    from bench.protocol.rerun import finding

    if n_trials is not None:
        return finding.sample(finding.committed(what, tier), n_trials, seed, longest)
    if what is None:
        raise BenchError("Say which trial: bench rerun KEY; or how many at random: bench rerun --sample 10.")
    if tier or longest is not None:
        raise BenchError("--tier and --longest go with --sample; a KEY says which trial.")
    return finding.of_key(what)
