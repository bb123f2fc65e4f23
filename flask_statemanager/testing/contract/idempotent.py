"""The power Idempotent: outcomes are remembered with the write that they belong to, and others wait for it."""

from __future__ import annotations

import threading
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, ClassVar

import pytest
from msgspec.structs import replace

from ...core.idempotency import Remembered, Request
from ...core.ports import Backend
from ...core.powers import Idempotent, require
from ..clock import START
from .store import fail

REQUEST = Request("somebody", "update_state", "once-1", "f" * 64, timedelta(hours=1))
FOUND = Remembered(REQUEST.fingerprint, "done")
PATIENCE = 60
"""Seconds after which a thread that should have gone on has not."""
A_WHILE = 0.2
"""Seconds in which a thread that does not wait would have come back."""


class IdempotencyContract:
    """Taking a scope, remembering what came of it, forgetting it."""

    power: ClassVar[str] = "Idempotent"

    @pytest.fixture
    def memory(self, backend: Backend) -> Memory:
        """The backend's memory with short verbs."""
        return Memory(backend)

    def test_a_request_is_answered_with_the_outcome_of_the_first(self, memory: Memory) -> None:
        """Which itself was told that there was none."""
        assert memory.answer(REQUEST, "done") is None
        assert memory.answer(REQUEST, "again") == FOUND
        assert memory.answer(REQUEST, "again") == FOUND

    @pytest.mark.parametrize("outcome", ["", "null", "ü\U0001f600'%s:x?", "x" * 99_999])
    def test_any_text_is_an_outcome(self, memory: Memory, outcome: str) -> None:
        """Empty, long, with signs that mean something elsewhere."""
        memory.answer(REQUEST, outcome)
        assert memory.answer(REQUEST, "again") == Remembered(REQUEST.fingerprint, outcome)

    def test_another_request_in_the_scope_finds_the_fingerprint_of_the_first(self, memory: Memory) -> None:
        """So that its caller can tell that they are not the same."""
        memory.answer(REQUEST, "done")
        assert memory.answer(replace(REQUEST, fingerprint="0" * 64), "other") == FOUND
        assert memory.answer(REQUEST, "again") == FOUND

    @pytest.mark.parametrize("mark", ["actor", "verb", "key"])
    def test_nobody_is_answered_out_of_another_scope(self, memory: Memory, mark: str) -> None:
        """Actor, verb and key are the scope, and upper case is another one."""
        memory.answer(REQUEST, "done")
        own: str = getattr(REQUEST, mark)
        for value in (f"{own} ", own.upper(), own[:-1], "ü"):
            scope: dict[str, Any] = {mark: value}
            other = replace(REQUEST, **scope)
            assert memory.answer(other, value) is None
            assert memory.answer(other, "again") == Remembered(REQUEST.fingerprint, value)
        assert memory.answer(REQUEST, "again") == FOUND

    def test_what_is_older_than_its_ttl_counts_as_none(self, memory: Memory) -> None:
        """From the very moment on; the new one has its own ttl and fingerprint."""
        memory.answer(REQUEST, "done")
        end = START + REQUEST.ttl
        assert memory.answer(REQUEST, "early", now=end - timedelta(microseconds=1)) == FOUND
        later = replace(REQUEST, fingerprint="0" * 64, ttl=timedelta(hours=2))
        assert memory.answer(later, "late", now=end) is None
        assert memory.answer(later, "x", now=end + timedelta(hours=1)) == Remembered("0" * 64, "late")

    def test_a_unit_that_fails_leaves_the_scope_free(self, memory: Memory) -> None:
        """Nothing is remembered of what was rolled back."""
        with pytest.raises(ZeroDivisionError):
            memory.answer(REQUEST, "failed", failing=True)
        assert memory.answer(REQUEST, "done") is None
        assert memory.answer(REQUEST, "again") == FOUND

    def test_a_unit_that_fails_leaves_what_had_expired_taken_by_nobody(self, memory: Memory) -> None:
        """Taking a scope over is undone too."""
        memory.answer(REQUEST, "done")
        with pytest.raises(ZeroDivisionError):
            memory.answer(REQUEST, "failed", now=START + REQUEST.ttl, failing=True)
        assert memory.answer(REQUEST, "again") == FOUND

    def test_a_savepoint_that_is_rolled_back_leaves_the_scope_free(self, backend: Backend, memory: Memory) -> None:
        """In the same unit and afterwards."""
        with backend.writing() as unit:
            with suppress(ZeroDivisionError), unit.savepoint():
                memory.within(unit, REQUEST, "failed")
                fail()
            assert memory.within(unit, REQUEST, "done") is None
            assert memory.within(unit, REQUEST, "again") == FOUND
        assert memory.answer(REQUEST, "again") == FOUND

    def test_a_scope_that_nothing_came_of_is_still_free(self, backend: Backend, memory: Memory) -> None:
        """In the unit that took it, and after a commit without an outcome."""
        with backend.writing() as unit:
            assert memory.power.recall(unit, REQUEST, START) is None
            assert memory.power.recall(unit, REQUEST, START) is None
        assert memory.answer(REQUEST, "done") is None
        assert memory.answer(REQUEST, "again") == FOUND

    @pytest.mark.parametrize("failing", [False, True], ids=["committed", "rolled-back"])
    def test_a_second_unit_waits_for_the_first(self, backend: Backend, memory: Memory, failing: bool) -> None:
        """It sees the outcome of a commit, and takes the scope after a rollback."""
        second = Second(memory)
        with suppress(ZeroDivisionError), backend.writing() as unit:
            assert memory.power.recall(unit, REQUEST, START) is None
            second.start()
            assert not second.answered.wait(A_WHILE)
            memory.power.remember(unit, REQUEST, "done")
            if failing:
                fail()
        second.join(PATIENCE)
        assert second.answers == ([None] if failing else [FOUND])
        assert memory.answer(REQUEST, "again") == Remembered(REQUEST.fingerprint, "second" if failing else "done")

    def test_of_many_at_once_one_does_the_work(self, memory: Memory) -> None:
        """The others are all answered with what came of it, also when the scope had been taken long ago."""
        memory.answer(replace(REQUEST, ttl=-timedelta(hours=1)), "expired")
        start = threading.Barrier(4)
        racers = [Second(memory, f"racer {number}", start) for number in range(4)]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join(PATIENCE)
        found = [answer for racer in racers for answer in racer.answers]
        winners = [racer.outcome for racer in racers if racer.answers == [None]]
        assert len(winners) == 1
        assert [answer for answer in found if answer is not None] == [Remembered(REQUEST.fingerprint, winners[0])] * 3

    def test_what_is_older_than_its_ttl_is_forgotten(self, backend: Backend, memory: Memory) -> None:
        """As many as asked for, and nothing else."""
        for number in range(5):
            memory.answer(replace(REQUEST, key=str(number), ttl=timedelta(hours=1 + number // 3)), str(number))

        def forget(now: datetime, limit: int = 99) -> int:
            with backend.writing() as unit:
                return memory.power.forget_requests(unit, now, limit)

        assert forget(START + timedelta(minutes=59)) == 0
        assert forget(START + timedelta(hours=1), 2) == 2
        assert forget(START + timedelta(hours=1), 2) == 1
        assert forget(START + timedelta(hours=1)) == 0
        assert memory.answer(replace(REQUEST, key="3"), "again") == Remembered(REQUEST.fingerprint, "3")
        assert memory.answer(replace(REQUEST, key="0"), "again") is None

    def test_a_rollback_brings_back_what_was_forgotten(self, backend: Backend, memory: Memory) -> None:
        """Forgetting is a write like any other."""
        memory.answer(REQUEST, "done")

        def forget() -> None:
            with backend.writing() as unit:
                assert memory.power.forget_requests(unit, START + REQUEST.ttl, 9) == 1
                fail()

        with pytest.raises(ZeroDivisionError):
            forget()
        assert memory.answer(REQUEST, "again") == FOUND


class Memory:
    """What a backend remembers, with short verbs.

    :param backend: one that remembers outcomes.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.power = require(backend, Idempotent, "The idempotency contract")  # type: ignore[type-abstract]

    def within(self, unit: Any, request: Request, outcome: str, now: datetime = START) -> Remembered | None:
        """Ask for what is known of a request, and remember an outcome where nothing is.

        :param unit: an open writing unit.
        :param request: the request.
        :param outcome: what came of it.
        :param now: the moment.
        :returns: what was known.
        """
        found = self.power.recall(unit, request, now)
        if found is None:
            self.power.remember(unit, request, outcome)
        return found

    def answer(
        self, request: Request, outcome: str, *, now: datetime = START, failing: bool = False
    ) -> Remembered | None:
        """Do the same in a unit of its own.

        :param request: the request.
        :param outcome: what came of it.
        :param now: the moment.
        :param failing: whether the unit fails afterwards.
        :raises ZeroDivisionError: then.
        """
        with self.backend.writing() as unit:
            found = self.within(unit, request, outcome, now)
            if failing:
                fail()
        return found


class Second(threading.Thread):
    """Somebody who makes the same request in a unit of its own.

    :param memory: the backend's memory.
    :param outcome: what comes of it.
    :param start: where it waits for others.
    """

    def __init__(self, memory: Memory, outcome: str = "second", start: threading.Barrier | None = None) -> None:
        super().__init__(daemon=True)
        self.memory = memory
        self.outcome = outcome
        self.begin = start
        self.answers: list[Remembered | None] = []
        self.answered = threading.Event()

    def run(self) -> None:
        """Make the request, and note what is known of it."""
        if self.begin is not None:
            self.begin.wait(PATIENCE)
        self.answers.append(self.memory.answer(REQUEST, self.outcome))
        self.answered.set()
