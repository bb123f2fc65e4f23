"""An operator at a terminal of 80 columns: types commands on an application whose states live in memory."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from flask import Flask

from flask_statemanager import Guard, Machine, StateManager, Transition
from flask_statemanager.cli import state
from flask_statemanager.cli.tables import breadth
from flask_statemanager.testing.clock import FakeClock

# Before click 8.2 the runner mixes standard error into the output unless it is told not to.
APART = {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}


class Operator:
    """Somebody who types commands.

    :param app: the application.
    """

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.states = StateManager(app)
        self.clock = FakeClock()
        self.states.use_clock(self.clock)

    @property
    def runtime(self) -> Any:
        """The running parts of the app."""
        return self.app.extensions["statemanager"]

    def run(self, *words: str, code: int = 0, stdin: str | None = None) -> Result:
        """Type a command.

        :param words: behind ``flask state``.
        :param code: the exit code that it must have.
        :param stdin: what is typed then.
        """
        ended = self.app.test_cli_runner(**APART).invoke(cli=state, args=list(words), input=stdin, prog_name="state")
        assert ended.exit_code == code, ended.output + repr(ended.exception)
        assert ended.exception is None or isinstance(ended.exception, SystemExit), ended.exception
        return ended

    def said(self, *words: str, code: int = 0, stdin: str | None = None) -> list[str]:
        """Type a command, and return the lines that it prints, none of which is too long.

        :param words: as for :meth:`run`.
        :param code: as for :meth:`run`.
        :param stdin: as for :meth:`run`.
        """
        lines = self.run(*words, code=code, stdin=stdin).stdout.splitlines()
        assert max(map(breadth, lines), default=0) <= 80
        return lines

    def loaded(self, *words: str, code: int = 0) -> Any:
        """Type a command, and return the JSON document that it prints.

        :param words: as for :meth:`run`.
        :param code: as for :meth:`run`.
        """
        return json.loads(self.run(*words, code=code).stdout)

    def refused(self, *words: str, code: int = 1) -> str:
        """Type a command that is refused, and return the sentence on standard error.

        :param words: as for :meth:`run`.
        :param code: as for :meth:`run`.
        """
        ended = self.run(*words, code=code)
        assert ended.stdout == ""
        last = ended.stderr.strip().split("\n")[-1]
        assert last.startswith("Error: ")
        return last.removeprefix("Error: ")


def application(**config: Any) -> Flask:
    """Return an app without states.

    :param config: its config.
    """
    app = Flask("shop")
    app.config.update(STATEMANAGER_BACKEND="memory", TESTING=True)
    app.config.update(config)
    return app


def hired(app: Flask) -> Operator:
    """Return an operator of an app with one more type.

    :param app: the app.
    """
    StateManager.reset_instance()
    made = Operator(app)
    made.states.define(
        "payment",
        Machine(
            initial="pending",
            transitions=[
                Transition("pay", ["pending"], "paid", guards=Guard.where({"data.amount__gt": 0})),
                Transition("lapse", ["pending"], "lapsed"),
            ],
        ),
    )
    return made


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of 80 columns, and who sits before it."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LOGNAME", "operator")
    monkeypatch.delenv("NO_COLOR", raising=False)


@pytest.fixture
def operator(terminal: None) -> Iterator[Operator]:
    """An operator, whose app keeps everything in memory."""
    made = hired(application())
    yield made
    made.runtime.close()
    StateManager.reset_instance()


@pytest.fixture
def keeper(terminal: None, tmp_path: Path) -> Iterator[Operator]:
    """An operator, whose app keeps everything in an SQLite file, with its tables."""
    made = hired(
        application(
            STATEMANAGER_BACKEND="sql",
            STATEMANAGER_DATABASE_URI=f"sqlite:///{tmp_path / 'states.db'}",
            STATEMANAGER_SNAPSHOTS=str(tmp_path / "snapshots"),
        )
    )
    made.runtime.backend.create_tables()
    yield made
    made.runtime.close()
    StateManager.reset_instance()
