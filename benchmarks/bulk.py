"""Many states at once, beside a loop over single verbs and beside executemany and COPY."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

from benchmarks.bulk_floor import bulk_floor
from benchmarks.extension import KIND, Extension
from benchmarks.ground import Ground, Store
from benchmarks.rounds import Contestant, Operation, timed
from benchmarks.work import DRIVER, EXTENSION, REGISTER_MANY
from flask_statemanager import Guard, Machine, StateManager, Transition

LOOP = f"{EXTENSION}, one by one"
PLAIN, RULED = "transition_many, no validator", "transition_many, no validator, a guard that is a rule"
CODED, MERGED = "transition_many, a guard in Python", "transition_many, with data"


def guarded(_present: Any, _planned: Any) -> bool:
    """Let everything pass, in Python."""
    return True


TYPES: dict[str, tuple[tuple[Any, ...], bool]] = {
    "plain": ((), False),
    "ruled": ((Guard.where({"data.plan": "pro"}),), False),
    "coded": ((guarded,), True),
    "merged": ((), True),
}
"""The guards of each type of states, and whether it has a validator, for which every state has to be loaded."""


def machine(*guards: Any) -> Machine:
    """Return a machine that goes round in one status.

    :param guards: of its one transition.
    """
    return Machine(initial="next", transitions=[Transition("go", "next", "next", guards=guards)])


class Many:
    """The verbs on states of their own, many at once and one by one.

    :param extension: the application.
    :param number: how many states the bulk verbs move at once.
    :param sample: how many states a loop takes.
    """

    def __init__(self, extension: Extension, number: int, sample: int) -> None:
        self.manager: StateManager = extension.manager
        self.document = extension.document
        self.number, self.sample = number, sample
        for name, (guards, validated) in TYPES.items():
            self.manager.define(name, machine(*guards))
            extension.equip(name, validated=validated)
            with extension.app.app_context():
                self.create(f"{name}_bulk", name, number)
                self.create(f"{name}_loop", name, sample)

    def create(self, prefix: str, type_name: str, number: int) -> None:
        """Register states by the bulk verb.

        :param prefix: what their ids begin with.
        :param type_name: their type.
        :param number: how many.
        """
        items = [{"state_id": f"{prefix}_{i}", "data": self.document} for i in range(number)]
        assert self.manager.register_many(type_name, items).done == number

    def create_singly(self, prefix: str, type_name: str) -> None:
        """Register some states one by one.

        :param prefix: what their ids begin with.
        :param type_name: their type.
        """
        for i in range(self.sample):
            self.manager.register_state(f"{prefix}_{i}", type_name, self.document)

    def move(self, prefix: str, data: dict[str, Any] | None = None) -> tuple[Operation, Operation]:
        """Return a transition of many states at once, and of some one by one.

        :param prefix: which ones.
        :param data: new data, apart from the turn.
        """
        names = [f"{prefix}_bulk_{i}" for i in range(self.number)]

        def bulk(turn: int) -> None:
            given = None if data is None else {**data, "turn": turn}
            assert self.manager.transition_many(names, "go", given).done == self.number

        def loop(turn: int) -> None:
            given = None if data is None else {**data, "turn": turn}
            for i in range(self.sample):
                self.manager.update_state(f"{prefix}_loop_{i}", given, "go")

        return bulk, loop


def contestants(ground: Ground, store: Store, stack: ExitStack) -> Iterator[Contestant]:
    """Yield driver, bulk verb and loop for each piece of work.

    :param ground: says whether to be quick.
    :param store: where.
    :param stack: closes what is opened.
    """
    created, moved, sample = (200, 200, 20) if ground.choice.quick else (100_000, 10_000, 300)
    bare, ours = bulk_floor(store, stack, moved), Extension(store, stack)
    many = Many(ours, moved, sample)

    def every(work: str, number: int, floor: Operation, bulk: Operation, loop: Operation) -> Iterator[Contestant]:
        yield Contestant(store.name, work, DRIVER, timed(floor), number, 1)
        yield Contestant(store.name, work, EXTENSION, ours.timed(bulk), number, 1)
        yield Contestant(store.name, work, LOOP, ours.timed(loop), sample, 1)

    yield from every(
        REGISTER_MANY,
        created,
        lambda number: bare.write_rows(f"floor_{number}", created),
        lambda number: many.create(f"many_{number}", KIND, created),
        lambda number: many.create_singly(f"one_{number}", KIND),
    )
    yield from every(PLAIN, moved, bare.move_rows, *many.move("plain"))
    yield from every(RULED, moved, bare.move_rows, *many.move("ruled"))
    yield from every(CODED, moved, bare.replace_rows, *many.move("coded"))
    yield from every(MERGED, moved, bare.replace_rows, *many.move("merged", {}))
