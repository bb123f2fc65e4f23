"""What becomes of a write: what was written, or what the application refused it with."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import click

from ..errors import StateManagerError
from ..lifecycle.state import State
from .tables import printable, say

logger = logging.getLogger("flask_statemanager.cli")


@contextmanager
def vetoable() -> Iterator[None]:
    """Show what a guard or callback of the application raised to refuse a write, which can be any exception.

    :raises click.ClickException: in place of such an exception.
    """
    try:
        yield
    except (StateManagerError, click.ClickException):
        raise
    except Exception as error:
        logger.debug("The write was refused.", exc_info=True)
        said = printable(f"{type(error).__name__}: {error}".rstrip(": "))
        raise click.ClickException(f"The application refused the write ({said}); nothing was written.") from error


def tell(written: State) -> None:
    """Say what a state is now.

    :param written: the state.
    """
    say(printable(f"{written.state_id}: {written.status}, version {written.version}"))
