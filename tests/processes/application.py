"""The application that a test and the processes it starts share: one database, and an engine and a manager for each."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from flask_statemanager import Machine, StateManager, Transition

LEASE = 0.5
FLOWS_LEASE = 3.0
Notice = Callable[[str], None]
BEFORE_EFFECT, AFTER_EFFECT = "before the effect", "after the effect"

PAYMENT = Machine(
    initial="pending",
    transitions=[Transition("complete", ["pending"], "completed"), Transition("fail", ["pending"], "failed")],
    final=["completed", "failed"],
)
TICKER = Machine(initial="going", transitions=[Transition("tick", ["going"], "going")])


@dataclass
class Shared:
    """The application in one process.

    :param app: the application.
    :param db: its Flask-SQLAlchemy object, with tables of the application's own.
    :param states: the state manager.
    """

    app: Flask
    db: SQLAlchemy
    states: StateManager

    @property
    def runtime(self) -> Any:
        """The running parts of the app."""
        return self.app.extensions["statemanager"]

    @property
    def note(self) -> Any:
        """A table of the application's: who has written in a joined transaction, or for which change."""
        return self.app.extensions["note"]

    def notes(self) -> list[str]:
        """Return the texts in that table, sorted."""
        found = self.db.session.query(self.note).all()
        texts = sorted(each.text for each in found)
        self.db.session.rollback()
        return texts


def _nothing(_point: str) -> None:
    pass


def build(url: str, *, paper: str | None = None, notice: Notice = _nothing, redis_url: str | None = None) -> Shared:
    """Put the application together.

    :param url: the database.
    :param paper: a file; with it the type ``session`` has two durable effects: ``paper`` appends the change's key to
        the file, and ``note`` writes it into a table through the session that it is given.
    :param notice: told by the effects where they are.
    :param redis_url: the Redis of keys and values; by default they live in the database.
    """
    StateManager.reset_instance()
    app = Flask("shared")
    app.config.update(
        SQLALCHEMY_DATABASE_URI=url,
        SQLALCHEMY_ENGINE_OPTIONS=_patient(url),
        STATEMANAGER_WORKER_LEASE=LEASE,
        STATEMANAGER_WORKER_POLL=0.1,
        STATEMANAGER_CACHE="on" if "SHARED_CACHE_URL" in os.environ else "off",
        STATEMANAGER_CACHE_URL=os.environ.get("SHARED_CACHE_URL"),
        STATEMANAGER_NEAR_CACHE_BYTES=os.environ.get("SHARED_NEAR_BYTES", "0"),
        STATEMANAGER_KV_BACKEND=None if redis_url is None else "redis",
        STATEMANAGER_FLOWS_BACKEND=None if redis_url is None else "redis",
        STATEMANAGER_FLOWS_LEASE=FLOWS_LEASE,
        STATEMANAGER_REDIS_URL=redis_url,
    )
    db = SQLAlchemy()

    class Note(db.Model):  # type: ignore[name-defined,misc]
        id = db.Column(db.Integer, primary_key=True)
        text = db.Column(db.String(200), nullable=False)

    db.init_app(app)
    app.extensions["note"] = Note
    states = StateManager(app, db=db)
    states.define("payment", PAYMENT)
    states.define("ticker", TICKER)
    if paper is not None:
        _add_effects(states, Note, Path(paper), notice)
    return Shared(app, db, states)


def _patient(url: str) -> dict[str, Any]:
    # SQLite's waiting is not fair: on a busy machine one of many may wait longer than the driver's 5 seconds.
    return {"connect_args": {"timeout": 30}} if url.startswith("sqlite") else {}


def _add_effects(states: StateManager, model: Any, paper: Path, notice: Notice) -> None:
    @states.effect("session", name="paper", backoff=0.01)
    def append(state_id: str, old: Any, new: Any, event: str, *, key: str) -> None:
        notice(BEFORE_EFFECT)
        handle = os.open(paper, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(handle, f"{key}\n".encode())
        os.close(handle)
        notice(AFTER_EFFECT)

    @states.effect("session", name="note", backoff=0.01)
    def note(state_id: str, old: Any, new: Any, event: str, *, key: str, session: Any) -> None:
        notice(BEFORE_EFFECT)
        session.add(model(text=key))
        session.flush()
        notice(AFTER_EFFECT)


@contextmanager
def opened(
    url: str, *, paper: str | None = None, notice: Notice = _nothing, redis_url: str | None = None
) -> Iterator[Shared]:
    """Put the application together for a block, inside an app context.

    :param url: as for :func:`build`, like the others.
    :param paper: a file.
    :param notice: told where the effects are.
    :param redis_url: the Redis of keys and values.
    """
    shared = build(url, paper=paper, notice=notice, redis_url=redis_url)
    with shared.app.app_context():
        try:
            yield shared
        finally:
            shared.db.session.remove()
            shared.runtime.shelves.close()
            shared.runtime.backend.close()
            for engine in shared.db.engines.values():
                engine.dispose()
    StateManager.reset_instance()
