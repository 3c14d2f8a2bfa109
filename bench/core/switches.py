"""Switches that families add to a command (`bench.core.families.Option`)."""

from typing import Any

import click

from bench.core.families import families, with_part


class PerFamily(click.Command):
    """A command with switches that families add, and their names where its help says FAMILIES."""

    def __init__(self, *args, part: str, **more):
        super().__init__(*args, **more)
        self.part = part

    def get_params(self, context: click.Context) -> list[click.Parameter]:
        """Return its own options and those of the families; help stays last."""
        options = [
            click.Option([f"--{name.replace('_', '-')}", name], is_flag=True, help=option.help)
            for family in families().values()
            for name, option in getattr(family, f"{self.name}_options").items()
        ]
        return [*super().get_params(context)[:-1], *options, *super().get_params(context)[-1:]]

    def format_help_text(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the help with the families' names in it."""
        named = ", ".join(family.name for family in with_part(self.part))
        click.Command("", help=self.help.replace("FAMILIES", named)).format_help_text(context, formatter)


def switched(command: str, given: dict[str, bool]) -> dict[str, Any]:
    """Return the settings that the switches given stand for, by their names in families."""
    options = {n: o for family in families().values() for n, o in getattr(family, f"{command}_options").items()}
    return {k: v for name, chosen in given.items() if chosen for k, v in options[name].settings.items()}
