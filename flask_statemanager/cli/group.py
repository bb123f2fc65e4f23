"""The group of commands: found when they are asked for, and errors become one sentence, never a traceback."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import click
from flask.cli import AppGroup

from ..errors import StateManagerError
from .exits import EXITS
from .registry import Section
from .tables import printable


class StateGroup(AppGroup):
    """Lists commands section by section, imports each when it is asked for, and turns our errors into click's.

    :param name: the name of the group.
    :param sections: the commands.
    :param settings: what click's groups take.
    """

    def __init__(self, name: str, sections: Sequence[Section], **settings: Any) -> None:
        super().__init__(name, **settings)
        self.sections = tuple(sections)
        self._places = {name: place for section in sections for name, place in section.commands.items()}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands.

        :param ctx: click's context.
        """
        return [*self._places, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, imported now if need be, or None when there is none.

        :param ctx: click's context.
        :param cmd_name: its name.
        """
        place = self._places.get(cmd_name)
        if place is None:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = place.partition(":")
        found: click.Command = getattr(importlib.import_module(f".{module}", __package__), attribute)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands, each section under its heading.

        :param ctx: click's context.
        :param formatter: what writes.
        """
        room = formatter.width - 6 - max(map(len, self._places))
        for section in self.sections:
            with formatter.section(section.title):
                formatter.write_dl([(name, self._told(ctx, name, room)) for name in section.commands])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the exit codes.

        :param ctx: click's context.
        :param formatter: what writes.
        """
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), meaning) for code, meaning in EXITS])

    def _told(self, ctx: click.Context, name: str, room: int) -> str:
        command = self.get_command(ctx, name)
        assert command is not None, "what is listed is there"
        return command.get_short_help_str(room)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command.

        :param ctx: click's context.
        :raises click.ClickException: for any error of this package, with its sentence; exit code 1.
        """
        try:
            return super().invoke(ctx)
        except StateManagerError as error:
            raise click.ClickException(printable(str(error))) from error
