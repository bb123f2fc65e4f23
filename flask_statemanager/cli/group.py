"""The group of commands: errors become one sentence, never a traceback."""

from __future__ import annotations

import importlib
from typing import Any

import click
from flask.cli import AppGroup

from ..errors import StateManagerError
from .tables import printable

_LATER = {"db": "flask_statemanager.cli.database"}
"""Commands that are imported when they are asked for, because of what their modules import."""


class StateGroup(AppGroup):
    """Lists commands in the order in which they were added, and turns our errors into click's."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands.

        :param ctx: click's context.
        """
        return [*self.commands, *_LATER]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, imported now if need be, or None when there is none.

        :param ctx: click's context.
        :param cmd_name: its name.
        """
        if cmd_name not in _LATER:
            return super().get_command(ctx, cmd_name)
        found: click.Command = getattr(importlib.import_module(_LATER[cmd_name]), cmd_name)
        return found

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command.

        :param ctx: click's context.
        :raises click.ClickException: for any error of this package, with its sentence; exit code 1.
        """
        try:
            return super().invoke(ctx)
        except StateManagerError as error:
            raise click.ClickException(printable(str(error))) from error
