"""The power Tells: whatever anybody can read has been told to whoever asked behind it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import ClassVar

import pytest

from ...core.hearing import Changed, Hearing, Tells
from ...core.ports import Backend
from ...core.powers import require
from ..clock import START
from .store import BUCKET, PATIENCE, Store, change_of, fail, new_record, patiently


class TellContract:
    """Hearing which records have changed. That one is told without need, or twice, is allowed."""

    power: ClassVar[str] = "Tells"

    @pytest.fixture
    def hearing(self, backend: Backend) -> Iterator[Hearing]:
        """What is heard with, for which nothing before now counts."""
        tells = require(backend, Tells, "The tell contract")  # type: ignore[type-abstract]
        with tells.hearing() as hearing:
            hearing.asked()
            yield hearing

    def test_nothing_is_told_where_nothing_happens(self, hearing: Hearing) -> None:
        """Neither when asked nor by waiting."""
        assert not told(hearing.asked())
        assert not told(hearing.waited(0.01))
        assert not told(hearing.asked())

    def test_every_kind_of_change_is_told(self, hearing: Hearing, store: Store) -> None:
        """In whichever bucket."""
        store.create("a")
        store.create("b", bucket="another")
        assert told(hearing.asked()) >= {f"{BUCKET}:a", "another:b"}
        store.update("a")
        assert f"{BUCKET}:a" in told(hearing.asked())
        store.delete("a")
        assert f"{BUCKET}:a" in told(hearing.asked())
        store.recreate("a", at=START)
        assert f"{BUCKET}:a" in told(hearing.asked())

    def test_names_are_told_as_they_are(self, hearing: Hearing, store: Store) -> None:
        """Whatever is in them."""
        names = ["a:b", "ä\U0001f600", "with space", "%", "\\", "'"]
        for name in names:
            store.create(name)
        assert told(hearing.asked()) >= {f"{BUCKET}:{name}" for name in names}

    def test_what_was_rolled_back_does_no_harm(self, hearing: Hearing, store: Store, backend: Backend) -> None:
        """What comes after it is told."""
        with suppress(ZeroDivisionError), backend.writing() as unit:
            backend.apply(unit, change_of(None, new_record("gone"), "create"))
            fail()
        store.create("a")
        assert f"{BUCKET}:a" in told(hearing.asked())
        for number in range(3):
            store.create(f"later{number}")
            assert f"{BUCKET}:later{number}" in told(hearing.asked())

    def test_one_who_comes_later_hears_from_then_on(self, store: Store, backend: Backend) -> None:
        """What was before is no news, as nobody can have kept anything of it."""
        store.create("a")
        tells = require(backend, Tells, "The tell contract")  # type: ignore[type-abstract]
        with tells.hearing() as late:
            assert late.asked() is None
            assert not told(late.asked())
            store.update("a")
            assert f"{BUCKET}:a" in told(late.asked())

    def test_whoever_reads_a_version_after_asking_has_been_told_of_it(self, hearing: Hearing, store: Store) -> None:
        """With several writers at a time: each version is readable only before it is told, or was told."""
        writers, versions = 3, 8
        for number in range(writers):
            store.create(f"n{number}")
        barrier = threading.Barrier(writers + 1)

        def write(name: str) -> None:
            barrier.wait(PATIENCE)
            for _ in range(versions):
                patiently(lambda: store.update(name))

        copies: dict[str, int] = {}
        with ThreadPoolExecutor(writers) as pool:
            done = [pool.submit(write, f"n{number}") for number in range(writers)]
            hearing.asked()
            barrier.wait(PATIENCE)
            ended = False
            while not ended:
                ended = all(each.done() for each in done)
                for path in told(hearing.asked(), set(copies)):
                    copies.pop(path, None)
                for number in range(writers):
                    copies.setdefault(f"{BUCKET}:n{number}", store.found(f"n{number}").version)
            for each in done:
                each.result()
        for path in told(hearing.asked(), set(copies)):
            copies.pop(path, None)
        assert set(copies.values()) <= {versions + 1}


def told(changed: Changed, everything: set[str] | None = None) -> set[str]:
    """Return what was told.

    :param changed: the answer.
    :param everything: what stands for everything; without it that must not be the answer.
    """
    assert changed is not None or everything is not None, "nobody knows what has changed"
    return set(everything or ()) if changed is None else set(changed)
