"""Who asks for a change: as the caller says, else from the request, else the CLI user, else ``system``."""

from __future__ import annotations

import getpass
import re
from collections.abc import Callable
from typing import Any

import click
from flask import has_request_context, request

from ..core.names import check_text
from ..core.record import Origin

ActorLoader = Callable[[], Any]
"""Returns the present user's id, or None; called during a request."""

SYSTEM = "system"
MAX_TEXT = 255
MAX_REASON = 10_000

_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,200}")


class ActorSource:
    """Fills in the origin of a write.

    :param loader: returns the present user's id during a request.
    """

    def __init__(self, loader: ActorLoader | None = None) -> None:
        self.loader = loader

    def __call__(self, *, actor: str | None, source: str | None, reason: str | None) -> Origin:
        """Return the origin of a write.

        :param actor: as the caller said.
        :param source: as the caller said.
        :param reason: as the caller said.
        :raises StateValidationError: when one of them is no text.
        :raises LimitExceeded: when one of them is too long.
        """
        requested = has_request_context()
        # Looked for once: to find none costs what raising an error does.
        command = None if requested else click.get_current_context(silent=True)
        found = self._actor(requested, command) if actor is None else actor
        return Origin(
            SYSTEM if found is SYSTEM else check_text(found, "actor", MAX_TEXT),
            _source(requested, command) if source is None else check_text(source, "source", MAX_TEXT),
            None if reason is None else check_text(reason, "reason", MAX_REASON),
            _request_id() if requested else None,
        )

    def _actor(self, requested: bool, command: click.Context | None) -> str:
        if requested:
            found = None if self.loader is None else self.loader()
            return SYSTEM if found is None else str(found)
        return SYSTEM if command is None else _cli_user()


def _cli_user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no name for this uid, as in a container
        return "cli"


def _source(requested: bool, command: click.Context | None) -> str | None:
    if requested:
        return request.endpoint[:MAX_TEXT] if request.endpoint else None
    return None if command is None else command.command_path[:MAX_TEXT] or None


def _request_id() -> str | None:
    """Return the correlation id that a proxy or client sent, unless it is no plain token: it goes into logs."""
    sent = request.headers.get("X-Request-ID", "")
    return sent if _REQUEST_ID.fullmatch(sent) else None
