"""Flask-SQLAlchemy by hand: a model with a version counter, and a row of history in the same commit.

As in "Configuring a Version Counter" of the SQLAlchemy documentation and the quick start of Flask-SQLAlchemy's.
"""

from __future__ import annotations

from contextlib import ExitStack
from datetime import datetime, timezone
from typing import Any, ClassVar

from benchmarks.peers.host import Host
from benchmarks.rounds import Batch
from benchmarks.work import GET, HISTORY, PAGE, REGISTER, SEARCH, SEEN, UPDATE, VERSIONS

NAMES = [f"seen_{number}" for number in range(SEEN)]
MOVES = {("active", "suspend"): "suspended", ("suspended", "resume"): "active"}


def declared(db: Any) -> tuple[Any, Any]:
    """Return the models, of the states and of their history.

    :param db: the Flask-SQLAlchemy object.
    """

    class Account(db.Model):
        name = db.Column(db.String(255), primary_key=True)
        status = db.Column(db.String(64), nullable=False)
        data = db.Column(db.JSON, nullable=False)
        version = db.Column(db.Integer, nullable=False)
        created_at = db.Column(db.DateTime(timezone=True), nullable=False)
        updated_at = db.Column(db.DateTime(timezone=True), nullable=False)
        __table_args__ = (db.Index("ix_account_status", "status", "created_at", "name"),)
        __mapper_args__: ClassVar[dict[str, Any]] = {"version_id_col": version}

    class Change(db.Model):
        id = db.Column(db.Integer, primary_key=True)
        name = db.Column(db.String(255), nullable=False)
        version = db.Column(db.Integer, nullable=False)
        event = db.Column(db.String(64), nullable=False)
        status = db.Column(db.String(64), nullable=False)
        data = db.Column(db.JSON, nullable=False)
        at = db.Column(db.DateTime(timezone=True), nullable=False)
        __table_args__ = (db.UniqueConstraint("name", "version"),)

    return Account, Change


class Accounts:
    """What an application would write.

    :param host: the application.
    """

    def __init__(self, host: Host) -> None:
        self.host, self.session = host, host.db.session
        self.account, self.change = declared(host.db)
        self.select = host.db.select

    def keep(self, name: str, status: str) -> Any:
        """Add a state and its first version to the session.

        :param name: its id.
        :param status: its status.
        """
        now = datetime.now(timezone.utc)
        document = self.host.document
        account = self.account(name=name, status=status, data=document, created_at=now, updated_at=now)
        self.session.add(account)
        self.log(account, 1, "create", now)
        return account

    def log(self, account: Any, version: int, event: str, now: datetime) -> None:
        """Add a version to the session.

        :param account: the state.
        :param version: its number.
        :param event: what made it.
        :param now: when.
        """
        status, data = account.status, account.data
        self.session.add(self.change(name=account.name, version=version, event=event, status=status, data=data, at=now))

    def update(self, number: int) -> None:
        """Move a state."""
        account = self.session.get(self.account, f"seen_{number % SEEN}")
        event = "suspend" if account.status == "active" else "resume"
        account.status = MOVES[account.status, event]
        account.data = {**account.data, "turn": number}
        account.updated_at = datetime.now(timezone.utc)
        self.log(account, account.version + 1, event, account.updated_at)
        self.session.commit()

    def register(self, number: int) -> None:
        """Make a state."""
        self.keep(f"new_{number}", "active")
        self.session.commit()

    def get(self, number: int) -> Any:
        """Read a state."""
        account = self.session.get(self.account, f"seen_{number % SEEN}")
        return account.status, account.data

    def search(self, _number: int) -> list[Any]:
        """Read a page."""
        account = self.account
        page = self.select(account).filter_by(status="active").order_by(account.created_at, account.name)
        return [(found.name, found.data) for found in self.session.scalars(page.limit(PAGE + 1))]

    def history(self, _number: int) -> list[Any]:
        """Read the versions of a state."""
        change = self.change
        versions = self.select(change).filter_by(name="long").order_by(change.version.desc())
        return [(found.version, found.data) for found in self.session.scalars(versions)]

    def begin(self) -> None:
        """Make tables and states."""
        self.host.begin(NAMES, self.keep)
        long = self.keep("long", "active")
        for version in range(2, VERSIONS + 1):
            self.log(long, version, "update", long.created_at)
        self.session.commit()


def works(stack: ExitStack, url: str, durable: bool) -> dict[str, Batch]:
    """Return what it can do.

    :param stack: closes the application.
    :param url: its database.
    :param durable: whether a commit waits for the disk.
    """
    host = Host(stack, url, durable)
    accounts = Accounts(host)
    accounts.begin()
    found = {UPDATE: accounts.update, REGISTER: accounts.register, GET: accounts.get}
    found |= {SEARCH: accounts.search, HISTORY: accounts.history}
    return {work: host.timed(operation) for work, operation in found.items()}
