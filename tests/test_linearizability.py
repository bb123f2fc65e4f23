"""The checker of linearizability tells histories that could have happened from those that could not."""

from __future__ import annotations

import random
import time
from itertools import pairwise
from typing import Any

import pytest

from tests.linearizability import (
    CONFLICT,
    EXISTS,
    NO_NUMBER,
    VERBS,
    Cell,
    Checker,
    Operation,
    Undecided,
    assert_linearizable,
)

UNKNOWN = object()


def op(began: int, ended: int, answer: Any, verb: str, *given: Any) -> Operation:
    """Return an operation; without a known answer it has no end."""
    if answer is UNKNOWN:
        return Operation(verb, given, began)
    return Operation(verb, given, began, ended, answer)


POSSIBLE: dict[str, list[Operation]] = {
    "nothing": [],
    "one after another": [
        op(0, 1, None, "get"),
        op(2, 3, 1, "set", 5),
        op(4, 5, 5, "get"),
        op(6, 7, (1, 5), "look"),
        op(8, 9, True, "swap", 5, 6),
        op(10, 11, EXISTS, "create", 7),
        op(12, 13, 8, "increment", 2),
        op(14, 15, CONFLICT, "set", 9, 2),
        op(16, 17, True, "remove"),
        op(18, 19, False, "remove"),
        op(20, 21, True, "swap", None, None),
        op(22, 23, 5, "create", "text"),
        op(24, 25, NO_NUMBER, "increment", 1),
    ],
    "a read during a write sees what was before": [op(0, 9, 1, "set", 5), op(1, 2, None, "get"), op(3, 4, 5, "get")],
    "overlapping writes are ordered by what a later read sees": [
        op(0, 9, 2, "set", 5),
        op(1, 8, 1, "set", 6),
        op(10, 11, 5, "get"),
    ],
    "a chain of overlapping operations in an order unlike that of their beginnings": [
        op(0, 30, 3, "increment", 1),
        op(1, 20, 2, "increment", 1),
        op(2, 10, 1, "increment", 1),
    ],
    "an end and a beginning at one moment overlap": [op(0, 5, 1, "set", 1), op(5, 9, None, "get")],
    "an unknown write that happened": [op(0, 0, UNKNOWN, "set", 5), op(10, 11, 5, "get")],
    "an unknown write that never happened": [op(0, 0, UNKNOWN, "set", 5), op(10, 11, None, "get")],
    "an unknown write that happened long after": [
        op(0, 0, UNKNOWN, "set", 5),
        op(10, 11, 1, "set", 6),
        op(12, 13, 6, "get"),
        op(14, 15, (2, 5), "look"),
    ],
    "an unknown write that must have happened": [
        op(0, 0, UNKNOWN, "increment", 1),
        op(10, 11, 2, "increment", 1),
    ],
    "of two unknown writes the second": [
        op(0, 0, UNKNOWN, "set", 5),
        op(1, 1, UNKNOWN, "set", 6),
        op(10, 11, (1, 6), "look"),
    ],
    "an unknown read": [op(0, 0, UNKNOWN, "get"), op(1, 2, 1, "set", 5)],
}

IMPOSSIBLE: dict[str, list[Operation]] = {
    "a stale read": [op(0, 1, 1, "set", 5), op(2, 3, None, "get")],
    "a read of what is yet to be written": [op(0, 1, 5, "get"), op(2, 3, 1, "set", 5)],
    "a read of what nobody wrote": [op(0, 1, 1, "set", 5), op(2, 3, 6, "get")],
    "a read that goes back": [op(0, 9, 1, "set", 5), op(1, 2, 5, "get"), op(3, 4, None, "get")],
    "a lost update": [op(0, 9, 1, "increment", 1), op(1, 8, 1, "increment", 1)],
    "a lost update of which the sums do not tell": [
        op(0, 1, 1, "set", 0),
        op(2, 9, True, "swap", 0, 1),
        op(3, 8, True, "swap", 0, 1),
    ],
    "a write that is gone": [
        op(0, 1, 1, "set", 5),
        op(2, 3, 2, "set", 6),
        op(4, 5, (2, 5), "look"),
    ],
    "two who created it": [op(0, 9, 1, "create", 5), op(1, 8, 1, "create", 6)],
    "two who removed it": [op(0, 1, 1, "set", 5), op(2, 9, True, "remove"), op(3, 8, True, "remove")],
    "there and back, and the version from before is still taken": [
        op(0, 1, 1, "set", 5),
        op(2, 3, True, "remove"),
        op(4, 5, 3, "create", 5),
        op(6, 7, 4, "set", 6, 1),
    ],
    "a version that starts again": [op(0, 1, 1, "set", 5), op(2, 3, True, "remove"), op(4, 5, 1, "create", 5)],
    "a swap of what is not there": [op(0, 1, 1, "set", 5), op(2, 3, True, "swap", 6, 7)],
    "a swap that is refused although it is there": [op(0, 1, 1, "set", 5), op(2, 3, False, "swap", 5, 7)],
    "a write that happened twice": [op(0, 1, 1, "increment", 1), op(2, 3, 2, "get")],
    "an unknown write that happened, and then not": [
        op(0, 0, UNKNOWN, "set", 5),
        op(10, 11, 5, "get"),
        op(12, 13, None, "get"),
    ],
    "an unknown write that happened twice": [
        op(0, 0, UNKNOWN, "set", 5),
        op(2, 3, 5, "get"),
        op(4, 5, 2, "set", 6),
        op(6, 7, (3, 5), "look"),
    ],
    "an unknown write before it began": [op(0, 1, 5, "get"), op(2, 2, UNKNOWN, "set", 5)],
    "a version that only two unknown writes could make": [op(0, 0, UNKNOWN, "set", 5), op(2, 3, 3, "set", 6)],
    "an unknown swap whose condition never held": [op(0, 0, UNKNOWN, "swap", 1, 2), op(2, 3, 2, "get")],
    "true is not 1": [op(0, 1, True, "set", 5)],
}


@pytest.mark.parametrize("name", POSSIBLE)
def test_what_could_have_happened_is_linearizable(name: str) -> None:
    assert_linearizable(POSSIBLE[name])
    assert_linearizable(reversed(POSSIBLE[name]))


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_what_could_not_have_happened_is_not_linearizable(name: str) -> None:
    assert Checker(IMPOSSIBLE[name]).run() is not None
    assert Checker(reversed(IMPOSSIBLE[name])).run() is not None


def test_what_is_wrong_is_named_with_what_the_key_could_have_been() -> None:
    with pytest.raises(AssertionError) as caught:
        assert_linearizable([op(0, 1, 1, "set", 5), op(2, 3, None, "get"), op(9, 10, 5, "get")])
    assert "not linearizable: : get() -> None [2, 3]" in str(caught.value)
    assert "[(1, '5')]" in str(caught.value)
    assert "[9, 10]" not in str(caught.value)


def made_up(chance: random.Random, number: int, at_once: int, lost: float = 0.02) -> list[Operation]:
    """Return a history that did happen: each operation at a moment of its own, which its times include."""
    cell, found = Cell(), []
    for moment in range(number):
        verb = chance.choice(("get", "look", "set", "create", "swap", "remove", "increment"))
        some = chance.randrange(3)
        given = {"set": (some,), "create": (some,), "swap": (some, chance.randrange(3)), "increment": (1,)}.get(
            verb, ()
        )
        cell, answer = VERBS[verb](cell, *given)
        began, ended = moment - chance.randrange(at_once), moment + chance.randrange(at_once)
        found.append(Operation(verb, given, began, None if chance.random() < lost else ended, answer))
    return found


def test_whatever_happened_one_by_one_is_linearizable() -> None:
    chance = random.Random(5)
    for _ in range(200):
        assert_linearizable(made_up(chance, 60, 4))


def test_a_wrong_answer_among_many_is_found() -> None:
    """One answer of a version is made wrong in histories whose operations follow one another."""
    chance = random.Random(6)
    for _ in range(100):
        history = made_up(chance, 60, 1, lost=0)
        assert_linearizable(history)
        writes = [number for number, each in enumerate(history) if each.verb == "set"]
        spoilt = chance.choice(writes)
        told = history[spoilt]
        history[spoilt] = Operation(told.verb, told.given, told.began, told.ended, told.answer + 1)
        assert Checker(history).run() is not None


def test_eight_at_once_and_six_of_which_nobody_knows_are_decided_soon() -> None:
    began = time.process_time()
    unknown = [Operation("set", (f"lost{number}",), number) for number in range(6)]
    rounds = [
        Operation("increment", (1,), 100 * turn + number, 100 * turn + 50 + number, 8 * turn + 8 - number)
        for turn in range(20)
        for number in range(8)
    ]
    assert_linearizable([*unknown, *rounds])
    assert time.process_time() - began < 60


def test_what_takes_too_long_is_undecided_and_not_passed() -> None:
    history = [Operation("increment", (1,), 0, 10, 1) for _ in range(2)]
    history += [Operation("set", (number,), 0) for number in range(30)]
    with pytest.raises(Undecided, match="too many"):
        assert_linearizable(history, budget=1000)


def test_the_times_of_a_made_up_history_overlap() -> None:
    history = made_up(random.Random(7), 60, 4)
    assert any(first.ended is not None and second.began < first.ended for first, second in pairwise(history))
