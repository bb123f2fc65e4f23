"""Trying again after a lost race."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from flask_statemanager.core.retry import ATTEMPTS, retried
from flask_statemanager.errors import StateConflict, StorageTimeout

LOST = StateConflict("key", None, 2)


def losing(times: int, error: Exception = LOST) -> tuple[Callable[[], str], list[int]]:
    calls: list[int] = []

    def work() -> str:
        calls.append(1)
        if len(calls) <= times:
            raise error
        return "won"

    return work, calls


def test_work_that_wins_runs_once_without_a_pause() -> None:
    work, calls = losing(0)
    pauses: list[float] = []
    assert retried(work, sleep=pauses.append) == "won"
    assert (len(calls), pauses) == (1, [])


def test_work_that_loses_is_run_again_after_pauses_within_growing_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flask_statemanager.core.retry.random.uniform", lambda low, high: high)
    work, calls = losing(ATTEMPTS - 1)
    pauses: list[float] = []
    assert retried(work, sleep=pauses.append) == "won"
    assert len(calls) == ATTEMPTS
    assert pauses == sorted(pauses)
    assert pauses[:3] == [0.004, 0.008, 0.016]
    assert max(pauses) == 0.25


def test_a_pause_is_anything_from_nothing_to_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    bounds: list[tuple[float, float]] = []
    monkeypatch.setattr(
        "flask_statemanager.core.retry.random.uniform", lambda low, high: bounds.append((low, high)) or 0.0
    )
    work, _ = losing(2)
    retried(work, sleep=lambda seconds: None)
    assert [low for low, _ in bounds] == [0, 0]


def test_who_loses_every_attempt_gets_the_conflict() -> None:
    work, calls = losing(ATTEMPTS)
    with pytest.raises(StateConflict) as lost:
        retried(work, sleep=lambda seconds: None)
    assert lost.value is LOST
    assert len(calls) == ATTEMPTS


def test_one_attempt_is_one_attempt() -> None:
    work, calls = losing(1)
    with pytest.raises(StateConflict):
        retried(work, attempts=1, sleep=pytest.fail)
    assert len(calls) == 1


def test_any_other_error_goes_through_at_once() -> None:
    work, calls = losing(1, StorageTimeout("locked"))
    with pytest.raises(StorageTimeout):
        retried(work, sleep=pytest.fail)
    assert len(calls) == 1


def test_an_expectation_that_failed_is_not_tried_again() -> None:
    calls: list[int] = []

    def work() -> None:
        calls.append(1)
        raise StateConflict("key", 1, 2)

    with pytest.raises(StateConflict):
        retried(work, sleep=calls.append)
    assert calls == [1]
