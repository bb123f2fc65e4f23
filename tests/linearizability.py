"""Whether what several processes saw of one key could have happened one operation after another.

A history is linearizable if each operation can be given a moment between its beginning and its end such that, done one
by one at these moments, all of them answer as they did (M. P. Herlihy, J. M. Wing, "Linearizability", 1990). Such an
order is looked for as J. M. Wing and C. Gong did ("Testing and verifying concurrent objects", 1993), only as far as the
next operation that ends and each configuration once, after G. Lowe ("Testing for linearizability", 2017).

An operation whose outcome nobody knows, because its process was killed or its storage was out of reach, may have
happened at any time after its beginning, also after everything else, or never.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

BUDGET = 1_000_000
"""The most configurations that are looked at; a few seconds."""


class Undecided(AssertionError):
    """There are too many ways in which it could have happened to look at all of them."""


@dataclass(frozen=True)
class Operation:
    """What was asked of a key, and the answer.

    :param verb: ``get``, ``look``, ``set``, ``create``, ``swap``, ``remove`` or ``increment``.
    :param given: its arguments: values are numbers and texts, None stands for an absent key.
    :param began: when it was asked, in nanoseconds that all processes count alike.
    :param ended: when it was answered; None if nobody knows what came of it.
    :param answer: what a key that is alone in the world would answer, see :data:`VERBS`.
    :param who: who asked.
    """

    verb: str
    given: tuple[Any, ...]
    began: int
    ended: int | None = None
    answer: Any = None
    who: str = ""

    def __str__(self) -> str:
        told = "nobody knows" if self.ended is None else repr(self.answer)
        return f"{self.who}: {self.verb}{self.given} -> {told} [{self.began}, {self.ended}]"


@dataclass(frozen=True)
class Cell:
    """A key at a moment.

    :param version: how often it was changed.
    :param value: a number or a text; None where it is absent.
    """

    version: int = 0
    value: int | str | None = None

    def changed(self, value: int | str | None) -> Cell:
        """Return what the next change makes of it.

        :param value: as above.
        """
        return replace(self, version=self.version + 1, value=value)

    def expected(self, version: int | None) -> bool:
        """Tell whether a version is the one that is there.

        :param version: the version; None for any, and for an absent key.
        """
        return version is None or (self.value is not None and self.version == version)


CONFLICT, EXISTS, NO_NUMBER = "conflict", "exists", "no number"
Done = tuple[Cell, Any]


def _get(cell: Cell) -> Done:
    return cell, cell.value


def _look(cell: Cell) -> Done:
    return cell, None if cell.value is None else (cell.version, cell.value)


def _set(cell: Cell, value: int | str, expect: int | None = None) -> Done:
    if not cell.expected(expect):
        return cell, CONFLICT
    return cell.changed(value), cell.version + 1


def _create(cell: Cell, value: int | str) -> Done:
    return (cell.changed(value), cell.version + 1) if cell.value is None else (cell, EXISTS)


def _swap(cell: Cell, expected: int | str | None, value: int | str | None) -> Done:
    if cell.value != expected:
        return cell, False
    return cell if expected is value is None else cell.changed(value), True


def _remove(cell: Cell, expect: int | None = None) -> Done:
    if not cell.expected(expect):
        return cell, CONFLICT
    return (cell, False) if cell.value is None else (cell.changed(None), True)


def _increment(cell: Cell, by: int) -> Done:
    present = 0 if cell.value is None else cell.value
    if isinstance(present, str):
        return cell, NO_NUMBER
    return cell.changed(present + by), present + by


VERBS: dict[str, Callable[..., Done]] = {
    "get": _get,
    "look": _look,
    "set": _set,
    "create": _create,
    "swap": _swap,
    "remove": _remove,
    "increment": _increment,
}
"""What a key becomes, and what it answers: the value, version and value, the version, whether it was, the sum."""


@dataclass(frozen=True)
class Configuration:
    """One way in which it could have gone so far.

    :param cell: what the key has become.
    :param done: which of the operations have happened that are not answered yet.
    """

    cell: Cell
    done: frozenset[int] = frozenset()


class Checker:
    """Goes through one key's history in time, with all the ways in which it could have gone.

    :param history: the operations, in any order.
    :param budget: the most configurations that are looked at.
    :ivar ways: the ways in which it could have gone until now; none if it could not.
    """

    def __init__(self, history: Iterable[Operation], *, budget: int = BUDGET) -> None:
        self.history = list(history)
        self.ways = {Configuration(Cell())}
        self._left = budget
        self._open: set[int] = set()

    def run(self) -> Operation | None:
        """Return the first operation that cannot have been answered as it was, or None if the history is linearizable.

        :raises Undecided: when the budget is spent.
        """
        for _time, ends, number in sorted(self._events()):
            if not ends:
                self._open.add(number)
                continue
            before, self.ways = self.ways, self._through(number)
            if not self.ways:
                self.ways = before
                return self.history[number]
            self._open.remove(number)
        return None

    def _events(self) -> Iterable[tuple[int, bool, int]]:
        # At the same moment beginnings come before ends: what touches counts as overlapping.
        for number, each in enumerate(self.history):
            yield each.began, False, number
            if each.ended is not None:
                yield each.ended, True, number

    def _through(self, number: int) -> set[Configuration]:
        """Let operations happen until this one has, in every possible order, and return what that can come to."""
        found, known, waiting = set(), set(self.ways), list(self.ways)
        while waiting:
            way = waiting.pop()
            if number in way.done:
                found.add(Configuration(way.cell, way.done - {number}))
                continue
            for further in self._further(way):
                if further not in known:
                    known.add(further)
                    waiting.append(further)
        return found

    def _further(self, way: Configuration) -> Iterable[Configuration]:
        self._left -= 1
        if self._left < 0:
            raise Undecided("the history has too many operations at once, or too many of which nobody knows")
        for number in self._open - way.done:
            operation = self.history[number]
            cell, answer = VERBS[operation.verb](way.cell, *operation.given)
            if operation.ended is None:
                # One that changes nothing here might as well not have happened here.
                possible = cell != way.cell
            else:
                possible = answer == operation.answer and isinstance(answer, bool) is isinstance(operation.answer, bool)
            if possible:
                yield Configuration(cell, way.done | {number})


def assert_linearizable(history: Iterable[Operation], *, budget: int = BUDGET) -> None:
    """Fail unless a history of one key is linearizable, and show where it is not.

    :param history: the operations, in any order.
    :param budget: the most configurations that are looked at.
    :raises AssertionError: when it is not, and when that cannot be told within the budget.
    """
    checker = Checker(history, budget=budget)
    wrong = checker.run()
    if wrong is None:
        return
    assert wrong.ended is not None
    around = [each for each in checker.history if each.ended is None or each.ended >= wrong.began]
    nearby = sorted((each for each in around if each.began <= wrong.ended), key=lambda each: each.began)
    cells = sorted({(way.cell.version, str(way.cell.value)) for way in checker.ways})
    told = "\n".join(map(str, nearby))
    raise AssertionError(f"not linearizable: {wrong}\nthe key could have been (version, value) {cells}\namong\n{told}")
