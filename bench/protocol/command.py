"""The command ``bench standin``."""

import math

import click


@click.command()
@click.option("--plan", "only_plan", is_flag=True, help="Say what is still to do and how long that takes here.")
@click.option("--hours", type=click.FloatRange(min=0, min_open=True), help="End after so long, with nothing half done.")
def standin(only_plan: bool, hours: float | None) -> None:
    """Run the stand-in tier in order of worth, as chapters/standin.yml says; on a GPU if there is one.

    What is recorded already, here or in the committed records, is not run again.  Whatever ends it, the same command
    goes on: a pretraining from its last checkpoint, a fine-tuning from its last epoch.

    Example: bench standin --hours 2.5
    """
    from bench.protocol.standin import Times, ending_in, plan, recorded, run

    if not only_plan:
        with ending_in(hours, click.echo):
            run(click.echo)
        return
    from bench.training.pretrain import seconds_left

    to_do, times = plan(), Times(recorded())
    names = dict.fromkeys(name for left in to_do for name in left.weights)
    pretraining = {name: seconds_left(name) for name in names}
    for name, seconds in pretraining.items():
        click.echo(f"   {name}: {f'to be pretrained, {_told([seconds])}' if seconds else 'pretrained'}")
    for number, left in enumerate(to_do, start=1):
        took = [times.of(task) for task, _ in left.missing]
        said = f"{len(left.missing)} of {left.n_trials} trials to run, {_told(took)}" if took else "done"
        click.echo(f"{number:>2}. {left.step.title}: {said}")


def _told(seconds: list[float]) -> str:
    """Return a sum of times in words; some may not be known."""
    known = [s for s in seconds if not math.isnan(s)]
    unknown = f"{len(seconds) - len(known)} of unknown length" if len(known) < len(seconds) else ""
    hours = f"about {sum(known) / 3600:.1f} h" if known else ""
    return " and ".join(filter(None, (hours, unknown)))
