"""Transitions by one thread and by eight, with and without a durable effect; every thread has states of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from contextlib import ExitStack as Stack
from functools import partial
from itertools import count
from typing import Any

from benchmarks.extension import Extension
from benchmarks.floor import floor_in, with_tables
from benchmarks.ground import Ground, Store
from benchmarks.rounds import Contestant, Operation, timed
from benchmarks.work import DRIVER, EXTENSION, SEEN
from flask_statemanager import Machine, Transition

THREADS = (1, 8)
LANES = max(THREADS)
"""How many groups of states there are, one for each thread."""

KINDS = {"": "plain", ", one effect": "effective"}
"""What is added to the name of the work, and the type of the states."""

Lane = Callable[[int], object]
"""Makes one transition in one group of states, given a number that goes up."""


class Team:
    """Threads that begin together.

    :param number: how many.
    :param each: how many transitions each thread makes.
    :param stack: ends the threads.
    """

    def __init__(self, number: int, each: int, stack: Stack) -> None:
        self._pool = stack.enter_context(ThreadPoolExecutor(number))
        self._barrier = threading.Barrier(number)
        self._number = number
        self._each = each

    def operation(self, lanes: list[Lane], context: Callable[[], AbstractContextManager[object]]) -> Operation:
        """Return a run in which every thread makes its transitions.

        :param lanes: what each thread does.
        :param context: entered by each thread.
        """

        def work(lane: Lane, turn: int) -> None:
            self._barrier.wait(60)
            with context():
                for number in range(turn * self._each, (turn + 1) * self._each):
                    lane(number)

        def run(turn: int) -> None:
            found = [self._pool.submit(work, lane, turn) for lane in lanes[: self._number]]
            for each in found:
                each.result()

        return run


def verbs(ours: Extension) -> dict[str, list[Lane]]:
    """Return the lanes of each type of states, which are made here.

    :param ours: the application, in whose context it is.
    """
    manager, document = ours.manager, ours.document
    there_and_back = [Transition("go", ["here"], "there"), Transition("come", ["there"], "here")]
    for kind in KINDS.values():
        manager.define(kind, Machine(initial="here", transitions=there_and_back))
        ours.equip(kind)
    manager.effect("effective", name="bench")(_nothing)
    for kind in KINDS.values():
        items = [{"state_id": f"{kind}_{lane}_{i}", "data": document} for lane in range(LANES) for i in range(SEEN)]
        assert manager.register_many(kind, items).ok

    def move(kind: str, lane: int, done: Iterator[int], _number: int) -> None:
        # Teams of both sizes work on the first lane, so it counts for itself how often its states went there and back.
        turn, state = divmod(next(done), SEEN)
        manager.update_state(f"{kind}_{lane}_{state}", {"turn": turn}, "come" if turn % 2 else "go")

    return {kind: [partial(move, kind, lane, count()) for lane in range(LANES)] for kind in KINDS.values()}


def _nothing(_state_id: str, _old: dict[str, Any], _new: dict[str, Any], _transition: str) -> None:
    """Stand for an effect, which nobody carries out here."""


def contestants(ground: Ground, store: Store, stack: Stack) -> Iterator[Contestant]:
    """Yield driver and extension for each number of threads, with and without an effect.

    :param ground: says whether to be quick.
    :param store: where.
    :param stack: closes what is opened.
    """
    each = 5 if ground.choice.quick else 150
    url = with_tables(store)
    floors = [floor_in(store, url, stack, f"floor_{lane}") for lane in range(LANES)]
    for floor in floors:
        floor.seen()
    # Eight threads wait for one file longer than the driver's five seconds now and then.
    waiting = "" if store.short == "postgresql" else "?timeout=60"
    ours = Extension(store, stack, url=f"{store.fresh()}{waiting}")
    with ours.app.app_context():
        found = verbs(ours)
    for threads in THREADS:
        team = Team(threads, each, stack)
        for addition, kind in KINDS.items():
            work = f"update_state, {threads} thread{'s' * (threads > 1)}{addition}"
            bare: list[Lane] = [partial(floor.update, effect=bool(addition)) for floor in floors]
            for way, lanes, context in ((DRIVER, bare, nullcontext), (EXTENSION, found[kind], ours.app.app_context)):
                yield Contestant(store.name, work, way, timed(team.operation(lanes, context)), threads * each, 1)
