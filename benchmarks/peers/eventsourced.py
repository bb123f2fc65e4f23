"""eventsourcing with its aggregate cache, which is its fastest way to write.

As in "Applications" of its documentation, where it speaks of repositories and their cache: with
``AGGREGATE_CACHE_MAXSIZE``, without fast-forwarding, which leaves races to its optimistic concurrency control.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from eventsourcing import sqlite
from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from sqlalchemy import make_url

from benchmarks.rounds import Batch, timed
from benchmarks.work import DOCUMENT, REGISTER, SEEN, UPDATE


class Account(Aggregate):
    """A state."""

    @event("Registered")
    def __init__(self, name: str, data: dict[str, Any]) -> None:
        self.name = name
        self.data = data
        self.status = "active"

    @staticmethod
    def create_id(name: str) -> UUID:
        """Return the id that belongs to a name.

        :param name: the name.
        """
        return uuid5(NAMESPACE_URL, f"/accounts/{name}")

    @event("Moved")
    def move(self, status: str, data: dict[str, Any]) -> None:
        """Move, and take other data.

        :param status: where to.
        :param data: the data.
        """
        self.status = status
        self.data = data


class Accounts(Application[UUID]):
    """What an application would write."""

    def register(self, name: str, data: dict[str, Any]) -> None:
        """Make a state.

        :param name: its id.
        :param data: its data.
        """
        self.save(Account(name, data))

    def update(self, number: int) -> None:
        """Move a state.

        :param number: says which.
        """
        account: Account = self.repository.get(Account.create_id(f"seen_{number % SEEN}"))
        account.move("suspended" if account.status == "active" else "active", {**account.data, "turn": number})
        self.save(account)


class RelaxedPool(sqlite.SQLiteConnectionPool):
    """Connections whose commits do not wait for the disk; the package has no setting for that."""

    def _create_connection(self) -> sqlite.SQLiteConnection:
        made = super()._create_connection()
        made.cursor().execute("PRAGMA synchronous=NORMAL")
        return made


def environment(url: str) -> dict[str, str]:
    """Return the settings.

    :param url: the database.
    """
    where = make_url(url)
    found = {"AGGREGATE_CACHE_MAXSIZE": "100000", "AGGREGATE_CACHE_FASTFORWARD": "n"}
    if where.get_backend_name() == "sqlite":
        return found | {"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": str(where.database)}
    found |= {"PERSISTENCE_MODULE": "eventsourcing.postgres", "POSTGRES_DBNAME": str(where.database)}
    found |= {"POSTGRES_HOST": str(where.host), "POSTGRES_PORT": str(where.port)}
    return found | {"POSTGRES_USER": str(where.username), "POSTGRES_PASSWORD": where.password or "none"}


def works(stack: ExitStack, url: str, durable: bool) -> dict[str, Batch]:
    """Return what it can do.

    :param stack: closes the application.
    :param url: its database.
    :param durable: whether a commit waits for the disk.
    """
    if not durable:
        sqlite.SQLiteConnectionPool = RelaxedPool  # type: ignore[misc]
    accounts = Accounts(env=environment(url))
    stack.callback(accounts.close)
    document = json.loads(DOCUMENT)
    for number in range(SEEN):
        accounts.register(f"seen_{number}", document)
    register = timed(lambda number: accounts.register(f"new_{number}", document))
    return {UPDATE: timed(accounts.update), REGISTER: register}
