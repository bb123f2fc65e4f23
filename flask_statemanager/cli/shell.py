"""``flask state shell``: Python with the manager, the database and the app at hand."""

from __future__ import annotations

import code
import sys
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import click
from flask import current_app
from flask.cli import with_appcontext

from ..globals import current_runtime


@click.command()
@click.option("--command", "-c", "line", metavar="CODE", help="Run this, print what it comes to, and end.")
@click.option("--plain", is_flag=True, help="Python's own shell, also where IPython is installed.")
@with_appcontext
def shell(line: str | None, plain: bool) -> None:
    """Open a Python shell inside the app's context.

    At hand are 'state_manager', 'app', 'db' where there is one, 'kv', and what
    the app's shell context processors add. What is written is committed at
    once, and the history names you and this command. Without a terminal it
    runs what comes on standard input.
    """
    names = _names()
    if line is not None:
        exec(compile(line, "<command>", "single"), names)  # noqa: S102 - that is what it is for
    elif not _typed():
        exec(compile(sys.stdin.read(), "<stdin>", "exec"), names)  # noqa: S102 - likewise
    elif not plain and find_spec("IPython") is not None:
        import_module("IPython").start_ipython(argv=[], user_ns=names)
    else:
        _complete(names)
        code.interact(_banner(names), local=names, exitmsg="")


def _typed() -> bool:
    """Tell whether somebody sits at a terminal."""
    return sys.stdin.isatty()


def _names() -> dict[str, Any]:
    app: Any = current_app._get_current_object()  # type: ignore[attr-defined]
    # The layer above, at hand for whoever types; nothing here depends on it.
    manager = import_module("..extension", __package__).StateManager()
    current_runtime.completed  # noqa: B018 - an app without the extension is told so now
    names = {"app": app, "state_manager": manager, "manager": manager, "kv": manager.kv}
    if "sqlalchemy" in app.extensions:
        names["db"] = app.extensions["sqlalchemy"]
    return {"__name__": "__main__", **app.make_shell_context(), **names}


def _banner(names: dict[str, Any]) -> str:
    at_hand = ", ".join(sorted(name for name in names if not name.startswith("__")))
    return f"Python {sys.version.split()[0]}, app {names['app'].name!r}\nAt hand: {at_hand}"


def _complete(names: dict[str, Any]) -> None:
    """Have the tab key complete names, where Python has readline."""
    with suppress(ImportError):
        readline, completer = import_module("readline"), import_module("rlcompleter").Completer
        readline.set_completer(completer(names).complete)
        readline.parse_and_bind("tab: complete")
