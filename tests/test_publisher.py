"""Telling subscribers of committed changes."""

from __future__ import annotations

import logging
import threading

import pytest
from msgspec.structs import replace

from flask_statemanager.core.publisher import MAX_CASCADE, Publisher
from flask_statemanager.core.record import Change
from flask_statemanager.errors import StateManagerError
from flask_statemanager.testing.contract.store import change_of, new_record


def change(number: int) -> Change:
    return replace(change_of(None, new_record(f"state_{number}"), "create"), revision=number)


@pytest.fixture
def publisher() -> Publisher:
    return Publisher()


def test_subscribers_are_told_in_the_order_of_their_subscription(publisher: Publisher) -> None:
    told: list[tuple[str, int]] = []
    for name in ("cache", "metrics", "signals"):
        publisher.subscribe(name, lambda change, name=name: told.append((name, change.revision)))
    publisher.publish(change(1))
    publisher.publish(change(2))
    assert told == [(name, number) for number in (1, 2) for name in ("cache", "metrics", "signals")]


def test_a_failing_subscriber_is_logged_by_name_and_the_others_are_told(
    publisher: Publisher, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[int] = []

    def fail(change: Change) -> None:
        raise RuntimeError("broken")

    publisher.subscribe("first", fail)
    publisher.subscribe("second", lambda change: told.append(change.revision))
    with caplog.at_level(logging.ERROR, "flask_statemanager"):
        publisher.publish(change(1))
        publisher.publish(change(2))
    assert told == [1, 2]
    assert "The subscriber first failed on contract:state_1 version 1." in caplog.messages
    assert caplog.records[0].exc_info is not None


def test_a_change_that_a_subscriber_causes_waits_until_everybody_was_told(publisher: Publisher) -> None:
    told: list[tuple[str, int]] = []

    def first(change_: Change) -> None:
        told.append(("first", change_.revision))
        if change_.revision < 4:
            publisher.publish(change(change_.revision * 2))
            publisher.publish(change(change_.revision * 2 + 1))

    publisher.subscribe("first", first)
    publisher.subscribe("second", lambda change: told.append(("second", change.revision)))
    publisher.publish(change(1))
    assert told == [(name, number) for number in range(1, 8) for name in ("first", "second")]


def test_an_interrupt_goes_through_and_the_next_change_is_told(publisher: Publisher) -> None:
    told: list[int] = []

    def interrupt(change_: Change) -> None:
        told.append(change_.revision)
        if change_.revision == 1:
            publisher.publish(change(2))
            raise KeyboardInterrupt

    publisher.subscribe("interrupt", interrupt)
    with pytest.raises(KeyboardInterrupt):
        publisher.publish(change(1))
    publisher.publish(change(3))
    assert told == [1, 3]


def test_an_endless_cascade_is_refused_with_a_hint(publisher: Publisher) -> None:
    told: list[int] = []
    refused: list[str] = []

    def again(change_: Change) -> None:
        told.append(change_.revision)
        try:
            publisher.check_cascade()
        except StateManagerError as error:
            refused.append(str(error))
        else:
            publisher.publish(change(change_.revision + 1))

    publisher.subscribe("again", again)
    publisher.publish(change(1))
    assert len(told) == MAX_CASCADE + 1
    assert len(refused) == 1
    assert "keep triggering each other" in refused[0]
    publisher.check_cascade()


def test_a_long_series_of_changes_is_no_cascade(publisher: Publisher) -> None:
    publisher.subscribe("check", lambda change: publisher.check_cascade())
    for number in range(MAX_CASCADE + 5):
        publisher.publish(change(number))
    publisher.check_cascade()


def test_one_threads_changes_do_not_wait_for_anothers(publisher: Publisher) -> None:
    told: list[int] = []
    entered, leave = threading.Event(), threading.Event()

    def slow(change_: Change) -> None:
        if change_.revision == 1:
            entered.set()
            leave.wait(30)
        told.append(change_.revision)

    publisher.subscribe("slow", slow)
    thread = threading.Thread(target=publisher.publish, args=(change(1),))
    thread.start()
    assert entered.wait(30)
    publisher.publish(change(2))
    leave.set()
    thread.join(30)
    assert told == [2, 1]
