"""One state that eight processes want to change: with the row locked, by the verb, and by the ORM's version counter."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack

import psycopg
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm.exc import StaleDataError

from benchmarks.children import Child
from benchmarks.extension import KIND, Extension
from benchmarks.floor import PostgresFloor, floor_in, with_tables
from benchmarks.ground import Ground, Store
from benchmarks.peers.host import Host
from benchmarks.peers.orm import Accounts
from benchmarks.rounds import Batch, Contestant, timed
from benchmarks.work import DRIVER, EXTENSION, HOT, ORM

PROCESSES = 8
ATTEMPTS = 1000


class Crowd:
    """Processes that all do the same.

    :param stack: ends them.
    :param urls: the database of each way.
    """

    def __init__(self, stack: ExitStack, urls: dict[str, str]) -> None:
        self._children = [Child("benchmarks.hot", urls) for _ in range(PROCESSES)]
        self.done = dict.fromkeys(urls, 0)
        """How often the state has been changed, for each way."""
        for child in self._children:
            stack.callback(child.close)

    def batch(self, way: str) -> Batch:
        """Return a batch that every process does at the same time.

        :param way: what they do.
        """

        def run(numbers: range) -> float:
            self.done[way] += len(numbers) * PROCESSES
            begin = time.perf_counter()
            for child in self._children:
                child.ask(way, numbers)
            for child in self._children:
                child.answer()
            return time.perf_counter() - begin

        return run


class Hot(Accounts):
    """The state of an application that was written by hand.

    :param host: the application.
    """

    def update_hot(self, number: int) -> None:
        """Change it, again and again until nobody was faster.

        :raises RuntimeError: when that takes too long.
        """
        for _ in range(ATTEMPTS):
            account = self.session.get(self.account, "hot")
            # The ORM writes nothing where nothing is changed, and another process has the same number.
            account.data = {**account.data, "turn": [os.getpid(), number]}
            self.log(account, account.version + 1, "update", account.updated_at)
            try:
                self.session.commit()
            except (StaleDataError, IntegrityError):
                self.session.rollback()
            else:
                return
        raise RuntimeError("The ORM's version counter has lost every race.")


def works(stack: ExitStack, urls: dict[str, str]) -> dict[str, Batch]:
    """Return what each process does.

    :param stack: closes what is opened.
    :param urls: the database of each way.
    """
    store = Store("postgresql", "", str)
    bare = floor_in(store, urls[DRIVER], stack)
    assert isinstance(bare, PostgresFloor)
    ours = Extension(store, stack, url=urls[EXTENSION], tables=False)
    host = Host(stack, urls[ORM], durable=True)
    return {
        DRIVER: timed(bare.update_hot),
        EXTENSION: ours.timed(ours.update_hot),
        ORM: host.timed(Hot(host).update_hot),
    }


def contestants(_ground: Ground, store: Store, stack: ExitStack) -> Iterator[Contestant]:
    """Yield the ways to change one state.

    :param store: where.
    :param stack: closes what is opened.
    :raises AssertionError: at the end, when a change was lost.
    """
    urls = {DRIVER: with_tables(store), EXTENSION: store.fresh(), ORM: store.fresh()}
    with ExitStack() as first:
        bare = floor_in(store, urls[DRIVER], first)
        bare.register(0, "hot")
        ours = Extension(store, first, url=urls[EXTENSION])
        with ours.app.app_context():
            ours.manager.register_state("hot", KIND, ours.document)
        host = Host(first, urls[ORM], durable=True)
        accounts = Hot(host)
        host.begin(["hot"], accounts.keep)
    crowd = Crowd(stack, urls)
    stack.push(lambda kind, _error, _trace: _check(urls, crowd.done) if kind is None else None)
    for way in urls:
        # The version counter of the ORM is so slow that fewer runs take as long.
        yield Contestant(store.name, HOT, way, crowd.batch(way), PROCESSES, runs=5 if way == ORM else None)


def _check(urls: dict[str, str], done: dict[str, int]) -> None:
    """Make sure that every change is there, in the state and in the history."""
    state, history = "statemanager_state", "statemanager_history"
    for way, url in urls.items():
        names = ("account", "change") if way == ORM else (state, history)
        with psycopg.connect(url.replace("+psycopg", "", 1)) as connection:
            found = [
                connection.execute(f"SELECT {what} FROM {table} WHERE name = 'hot'").fetchone()[0]
                for what, table in zip(("version", "count(*)"), names, strict=True)
            ]
        assert found == [1 + done[way]] * 2, f"{way}: {found} versions after {done[way]} changes"
