"""The memory backend's unit of work, which its powers share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..core.ports import Act, Unit


class MemoryUnit(Unit):
    """Remembers how to undo and what to announce.

    :param undo: takes the writes back, the last one first.
    :param acts: what to do after the commit.
    """

    def __init__(self) -> None:
        self.undo: list[Callable[[], Any]] = []
        self.acts: list[Act] = []

    def after_commit(self, act: Act) -> None:
        """Remember what to do after the commit.

        :param act: called in the order of registration.
        """
        self.acts.append(act)

    def in_doubt(self, act: Callable[[], None]) -> None:
        """Do nothing: what is in memory is known, and nothing else keeps it.

        :param act: never called.
        """

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Undo the block's writes when it raises."""
        writes, acts = len(self.undo), len(self.acts)
        try:
            yield
        except BaseException:
            self.rollback(writes)
            del self.acts[acts:]
            raise

    def rollback(self, kept: int = 0) -> None:
        """Undo writes, the last one first.

        :param kept: how many to leave.
        """
        while len(self.undo) > kept:
            self.undo.pop()()
