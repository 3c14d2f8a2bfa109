"""The command ``bench verify``."""

import sys
from pathlib import Path

import click


@click.command()
@click.argument("folders", metavar="FOLDER...", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option("--only", default="", metavar="PREFIX", help="Only cases whose names begin so.")
def verify(folders: tuple[Path, ...], only: str) -> None:
    """Compare our implementations with the golden cases of every FOLDER; exit with 1 on any miss.

    Each line shows the error of the output that is nearest to its tolerance, and what was allowed: where the output has
    values above 1, an absolute tolerance is multiplied by the largest, and the line says so.
    """
    from bench.verify import verify as verdicts

    missed = 0
    for verdict in (verdict for folder in folders for verdict in verdicts(folder, only)):
        missed += not verdict.passed
        found = verdict.reason or f"{verdict.found}, {verdict.output}"
        click.echo(f"{verdict.case:<32}{verdict.backend:<14}{'ok  ' if verdict.passed else 'MISS'}  {found}")
    click.echo(f"{missed} missed" if missed else "all within tolerance")
    sys.exit(1 if missed else 0)
