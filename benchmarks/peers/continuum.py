"""SQLAlchemy-Continuum on a model of Flask-SQLAlchemy, which keeps the versions by itself.

As in "QuickStart" of its documentation.
"""

from __future__ import annotations

from contextlib import ExitStack
from datetime import datetime, timezone
from typing import Any, ClassVar

from sqlalchemy.orm import configure_mappers
from sqlalchemy_continuum import make_versioned

from benchmarks.peers.host import Host
from benchmarks.peers.orm import MOVES, NAMES
from benchmarks.rounds import Batch
from benchmarks.work import GET, HISTORY, REGISTER, SEEN, UPDATE, VERSIONS

make_versioned(user_cls=None)


class Versioned:
    """What an application would write.

    :param host: the application.
    """

    def __init__(self, host: Host) -> None:
        self.host, self.session, db = host, host.db.session, host.db

        class Account(db.Model):  # type: ignore[name-defined,misc]
            __versioned__: ClassVar[dict[str, Any]] = {}
            name = db.Column(db.String(255), primary_key=True)
            status = db.Column(db.String(64), nullable=False)
            data = db.Column(db.JSON, nullable=False)
            updated_at = db.Column(db.DateTime(timezone=True), nullable=False)

        configure_mappers()
        self.account = Account
        host.begin([*NAMES, "long"], self.keep)
        for turn in range(VERSIONS - 1):
            self.move("long", turn)

    def keep(self, name: str, status: str) -> None:
        """Add a state to the session.

        :param name: its id.
        :param status: its status.
        """
        now = datetime.now(timezone.utc)
        self.session.add(self.account(name=name, status=status, data=self.host.document, updated_at=now))

    def move(self, name: str, number: int) -> None:
        """Move a state.

        :param name: its id.
        :param number: new data.
        """
        account = self.session.get(self.account, name)
        account.status = MOVES[account.status, "suspend" if account.status == "active" else "resume"]
        account.data = {**account.data, "turn": number}
        account.updated_at = datetime.now(timezone.utc)
        self.session.commit()

    def update(self, number: int) -> None:
        """Move a state."""
        self.move(f"seen_{number % SEEN}", number)

    def register(self, number: int) -> None:
        """Make a state."""
        self.keep(f"new_{number}", "active")
        self.session.commit()

    def get(self, number: int) -> Any:
        """Read a state."""
        account = self.session.get(self.account, f"seen_{number % SEEN}")
        return account.status, account.data

    def history(self, _number: int) -> list[Any]:
        """Read the versions of a state."""
        return [(found.status, found.data) for found in self.session.get(self.account, "long").versions]


def works(stack: ExitStack, url: str, durable: bool) -> dict[str, Batch]:
    """Return what it can do.

    :param stack: closes the application.
    :param url: its database.
    :param durable: whether a commit waits for the disk.
    """
    host = Host(stack, url, durable)
    accounts = Versioned(host)
    found = {UPDATE: accounts.update, REGISTER: accounts.register, GET: accounts.get, HISTORY: accounts.history}
    return {work: host.timed(operation) for work, operation in found.items()}
