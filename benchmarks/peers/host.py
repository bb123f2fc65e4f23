"""A Flask application with Flask-SQLAlchemy, for the packages that work on its models."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import event

from benchmarks.rounds import Batch, Operation, timed
from benchmarks.work import DOCUMENT, LISTED

Keep = Callable[[str, str], object]
"""Adds a state with a name and a status to the session."""


class Host:
    """The application.

    :param stack: closes it.
    :param url: its database.
    :param durable: whether a commit waits for the disk.
    """

    def __init__(self, stack: ExitStack, url: str, durable: bool) -> None:
        self.app = Flask("peer")
        self.app.config["SQLALCHEMY_DATABASE_URI"] = url
        self.db = SQLAlchemy()
        self.document = json.loads(DOCUMENT)
        self.db.init_app(self.app)
        stack.enter_context(self.app.app_context())
        stack.callback(self.db.engine.dispose)
        synchronous = "FULL" if durable else "NORMAL"

        @event.listens_for(self.db.engine, "connect")
        def tune(connection: Any, _record: object) -> None:
            if isinstance(connection, sqlite3.Connection):
                connection.execute(f"PRAGMA synchronous={synchronous}")

    def begin(self, names: list[str], keep: Keep) -> None:
        """Make the tables and the states that are there from the beginning.

        :param names: of the states that are read and moved, all active.
        :param keep: adds one to the session.
        """
        self.db.create_all()
        for name in names:
            keep(name, "active")
        for number in range(LISTED):
            keep(f"listed_{number}", ("active", "suspended")[number % 2])
        self.db.session.commit()
        self.db.session.remove()

    def timed(self, operation: Operation) -> Batch:
        """Return what runs an operation with a session of its own, as every request has one.

        :param operation: what is measured.
        """

        def run(number: int) -> None:
            operation(number)
            self.db.session.remove()

        return timed(run)
