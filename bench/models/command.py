"""The command ``bench check``."""

import sys

import click

from bench.core.file_options import of_a_file


@click.command()
@click.argument("model")
@click.option("-p", "settings", nargs=2, multiple=True, metavar="NAME VALUE", help="A hyper-parameter, or weights.")
@click.option("--data", default="hao", show_default=True, help="A data set or an .h5ad file to take a few cells of.")
@of_a_file
def check(model: str, settings: tuple[tuple[str, str], ...], data: str, **columns) -> None:
    """Check on a few cells that MODEL keeps what the protocol relies on; exit with 1 where it does not.

    MODEL is a name, NAME@VARIANT, or an import path.

    Example: bench check my_module:MyModel -p depth 4
    """
    from bench.models.conformance import specified
    from bench.models.examination import examine
    from bench.models.origin import is_ours, origin_of, said
    from bench.models.origin.settings import settings_of

    missed = []
    for line in examine(model, dict(settings), {"name": data, **columns}):
        click.echo(f"{line.name:<15}{line.verdict:<6}{line.text}")
        missed += [line.name] * (line.verdict == "MISS")
    spec = None if missed else specified(model, dict(settings))
    click.echo(f"missed: {', '.join(missed)}" if missed else "all promises kept")
    for sentence in [] if spec is None or is_ours(spec) else said(spec, origin_of(spec), settings_of(spec)):
        click.echo(sentence, err=True)
    sys.exit(1 if missed else 0)
