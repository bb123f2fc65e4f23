"""What scribes have written down, as histories of each key."""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any

from typing_extensions import Self

from tests.linearizability import Operation, assert_linearizable
from tests.processes.child import KILLED, Child, until

SCRIBES = 4


class Chronicle:
    """Several processes that read and write the same keys.

    :param url: the database.
    :param redis_url: the Redis of keys and values, where they do not live in the database.
    :param name: what no other chronicle of this store is called; its keys begin with it.
    """

    def __init__(self, url: str, redis_url: str | None, name: str) -> None:
        self._child = Child("scribe", {"url": url, "redis_url": redis_url})
        self._name = name
        self._numbers = itertools.count()
        self._writing: list[str] = []
        self.notes: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        for _ in range(SCRIBES):
            self.begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._child.close()

    def begin(self) -> None:
        """Let one more write."""
        name = f"{self._name}-{next(self._numbers)}"
        self._writing.append(name)
        self._child.tell({"do": "begin", "name": name})

    def go_on(self, number: int) -> None:
        """Wait until everybody has been answered so many times more.

        :param number: how often.
        """
        before = self._answered()

        def written() -> bool:
            self._listen()
            now = self._answered()
            return all(now[name] - before[name] >= number for name in self._writing)

        until(written, lambda: f"everybody is answered {number} times more than {before}: {self._answered()}")

    def meet(self, number: int) -> None:
        """Wait until so many operations have met another one of the same key.

        :param number: how many.
        """

        def met() -> bool:
            self.go_on(5)
            return meetings(histories(self.notes)) >= number

        until(met, f"{number} operations have met another one")

    def fail(self, number: int) -> None:
        """Wait until so many operations more have failed.

        :param number: how many.
        """
        before = self._count("failed")

        def failed() -> bool:
            self._listen()
            return self._count("failed") - before >= number

        until(failed, f"{number} more operations fail")

    def kill(self) -> None:
        """Kill the one that has written longest, and let another begin."""
        killed = self._count("killed")
        self._writing.pop(0)
        self._child.tell({"do": "kill"})

        def gone() -> bool:
            self._listen()
            return self._count("killed") > killed

        until(gone, "the process is gone")
        self.begin()

    def lose(self, disturb: Callable[[], None], *, least: int) -> None:
        """Disturb those who write until nobody knows of some of their writes whether they were done.

        :param disturb: does it once.
        :param least: how often it is done at least.
        """
        for _ in range(least):
            disturb()

        def lost() -> bool:
            self._listen()
            found = self._lost() > 1
            if not found:
                disturb()
            return found

        until(lost, "nobody knows of some writes whether they were done")

    def finish(self) -> dict[str, list[Operation]]:
        """Let them come to their end.

        :returns: the history of each key.
        """
        self._keep(self._child.rest())
        codes = [note["codes"] for note in self.notes if "codes" in note]
        assert codes == [[0] * SCRIBES], self._child.printed()
        assert {note["killed"] for note in self.notes if "killed" in note} <= {KILLED}, self._child.printed()
        return histories(self.notes)

    def _lost(self) -> int:
        """Return of how many writes nobody knows, those left out that somebody is at."""
        ended = {note["act"] for note in self.notes if "answer" in note or "void" in note}
        failed = {note["act"] for note in self.notes if "failed" in note}
        writes = {note["act"] for note in self.notes if note.get("verb") not in (None, "get", "look")}
        return sum(act in failed or _scribe(act) not in self._writing for act in writes - ended)

    def _answered(self) -> Counter[str]:
        return Counter(_scribe(note["act"]) for note in self.notes if "answer" in note)

    def _count(self, what: str) -> int:
        return sum(what in note for note in self.notes)

    def _listen(self) -> None:
        self._keep(self._child.heard())

    def _keep(self, told: list[dict[str, Any]]) -> None:
        wrong = [each["unexpected"] for each in told if "unexpected" in each]
        assert not wrong, wrong[0]
        self.notes += told


def _scribe(act: str) -> str:
    return act.rpartition(".")[0]


def histories(notes: Iterable[dict[str, Any]]) -> dict[str, list[Operation]]:
    """Return the history of each key.

    What was refused without having done anything is no part of it, nor is a reading that nobody has the answer of.

    :param notes: what scribes have written down.
    """
    begun: dict[str, dict[str, Any]] = {}
    ended: dict[str, dict[str, Any]] = {}
    for note in notes:
        if "act" in note:
            (begun if "verb" in note else ended)[note["act"]] = note
    found: dict[str, list[Operation]] = defaultdict(list)
    for act, note in begun.items():
        end = ended.get(act, {})
        known = "answer" in end
        if "void" in end or (not known and note["verb"] in ("get", "look")):
            continue
        answer = end.get("answer")
        found[note["key"]].append(
            Operation(
                note["verb"],
                tuple(note["given"]),
                note["at"],
                end["at"] if known else None,
                tuple(answer) if isinstance(answer, list) else answer,
                act,
            )
        )
    return dict(found)


def meetings(found: dict[str, list[Operation]]) -> int:
    """Return during how many operations another one of the same key began.

    :param found: the histories.
    """
    met = 0
    for history in found.values():
        began = sorted(each.began for each in history)
        known = [(each.began, each.ended) for each in history if each.ended is not None]
        met += sum(bisect_left(began, end) > bisect_left(began, start) + 1 for start, end in known)
    return met


def assert_all_linearizable(found: dict[str, list[Operation]]) -> None:
    """Fail unless the history of every key is linearizable.

    :param found: the histories.
    :raises AssertionError: when that of one is not.
    """
    for key, history in found.items():
        try:
            assert_linearizable(history)
        except AssertionError as error:
            raise AssertionError(f"{key}: {error}") from error
