"""The admin pages of timers and deadlines."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flask_statemanager import Deadline, Machine, Transition
from flask_statemanager.admin import jobs
from flask_statemanager.admin import timers as pages
from tests.admin_client import ADMIN, Operator, text_of, with_logins
from tests.worlds import World, build, entered, uri_for


class Shop:
    """An application with admin pages, a timer, and a deadline.

    :param world: the application.
    """

    def __init__(self, world: World) -> None:
        self.world, self.states = world, world.states
        machine = Machine(
            initial="pending",
            transitions=[Transition("pay", "pending", "paid"), Transition("expire", "pending", "expired")],
            deadlines=Deadline("pending", 7200, "expire"),
        )
        self.states.define("order", machine)
        self.states.register_state("o1", "order", {"note": "<b>bold</b>"})
        (self.deadline,) = self.states.list_timers()
        self.timer = self.states.schedule_transition(
            "o1", "pay", after=60, data={"password": "hunter2", "via": "<i>bank</i>"}, actor="eve", reason="agreed"
        )
        self.ada = Operator(world)


@pytest.fixture(params=["sqlite", "postgresql"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    """A timer and a deadline on each database."""
    world = with_logins(build(request.param, uri_for(request.param, tmp_path, request), **ADMIN))
    for ready in entered(world):
        yield Shop(ready)


@pytest.fixture
def memory() -> Iterator[Shop]:
    """The same in memory, for what is the same on every store."""
    for ready in entered(with_logins(build("memory", "sqlite://", **ADMIN))):
        yield Shop(ready)


def listed(answer: Any) -> list[int]:
    """The timers on a page, in order."""
    return [int(number) for number in re.findall(r'/timers/(\d+)">', answer.text)]


def test_what_waits_is_listed_with_how_long_it_has(shop: Shop) -> None:
    answer = shop.ada.get("/timers")
    assert listed(answer) == [shop.timer.id, shop.deadline.id]
    words = text_of(answer)
    assert re.search(r"o1 pay timer pending 2026-01-01 12:01:00 in 1 min", words)
    assert re.search(r"o1 expire deadline of pending pending 2026-01-01 14:00:00 in 2 h", words)


def test_what_is_late_says_by_how_much(memory: Shop) -> None:
    memory.world.clock.advance(150)
    words = text_of(memory.ada.get("/timers?due=now"))
    assert "1 min 30 s late" in words
    assert "Due now 1" in words
    assert listed(memory.ada.get("/timers?due=now")) == [memory.timer.id]


def test_the_note_of_a_timer_tells_no_secret_that_it_was_to_put_into_the_state(memory: Shop) -> None:
    memory.states.cancel_scheduled("o1", timer_id=memory.timer.id, reason="hunter2 is no password")
    for path in ("/timers?status=cancelled", f"/timers/{memory.timer.id}"):
        page = memory.ada.get(path)
        assert "[redacted] is no password" in text_of(page)
        assert "hunter2" not in page.text


def test_timers_are_found_by_status_state_and_due(shop: Shop) -> None:
    shop.states.register_state("o2", "order")
    shop.states.cancel_scheduled("o1", timer_id=shop.timer.id)
    assert listed(shop.ada.get("/timers?status=cancelled")) == [shop.timer.id]
    assert listed(shop.ada.get("/timers?state=o1")) == [shop.deadline.id]
    assert len(listed(shop.ada.get("/timers?status=all"))) == 3
    assert listed(shop.ada.get("/timers?due=hour")) == []
    assert len(listed(shop.ada.get("/timers?due=day"))) == 2
    assert "There are none like that" in text_of(shop.ada.get("/timers?due=hour"))


def test_many_timers_come_in_pages(memory: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (jobs, pages):
        monkeypatch.setattr(module, "PAGE", 1)
    first = memory.ada.get("/timers?state=o1")
    following = html.unescape(re.search(r'rel="next" href="([^"]*)"', first.text)[1])  # type: ignore[index]
    assert listed(first) + listed(memory.ada.client.get(following)) == [memory.timer.id, memory.deadline.id]


@pytest.mark.parametrize("query", ["after=x", "state=%20", "status=odd", "due=tomorrow"])
def test_what_cannot_be_asked_for_is_said_on_the_page(memory: Shop, query: str) -> None:
    answer = memory.ada.get(f"/timers?{query}")
    assert (answer.status_code, 'role="alert"' in answer.text) == (422, True)


def test_one_timer_is_shown_with_what_it_is_going_to_do(memory: Shop) -> None:
    answer = memory.ada.get(f"/timers/{memory.timer.id}")
    words = text_of(answer)
    assert "Due 2026-01-01 12:01:00 , in 1 min" in words
    assert "by eve Reason agreed" in words
    assert "hunter2" not in answer.text
    assert "<i>" not in answer.text
    assert "&lt;i&gt;bank" in answer.text


def test_a_timer_is_cancelled_after_a_question_with_who_and_why(shop: Shop) -> None:
    path = f"/timers/{shop.timer.id}"
    asked = shop.ada.post(f"{path}/cancel", {"reason": "not now"}, at=path)
    assert "Are you sure?" in text_of(asked)
    assert shop.states.get_timer(shop.timer.id).status == "pending"
    done = shop.ada.post(f"{path}/cancel", {"reason": "not now", "confirmed": "yes"}, at=path)
    assert "pay of o1, is cancelled" in text_of(shop.ada.follow(done))
    found = shop.states.get_timer(shop.timer.id)
    assert (found.status, found.error) == ("cancelled", "cancelled by ada (admin): not now")
    assert shop.states.get_timer(shop.deadline.id).status == "pending"
    assert "Cancel it" not in text_of(shop.ada.get(path))


def test_of_two_operators_the_second_is_told_that_it_has_ended(memory: Shop) -> None:
    path = f"/timers/{memory.timer.id}"
    ben = Operator(memory.world, "ben")
    memory.ada.post(f"{path}/cancel", {"confirmed": "yes"}, at=path)
    late = ben.post(f"{path}/cancel", {"confirmed": "yes"}, at=f"/timers/{memory.deadline.id}")
    assert late.status_code == 409
    assert "has ended meanwhile" in text_of(late)
    assert "ada" in memory.states.get_timer(memory.timer.id).error


def test_a_deadline_stays_as_long_as_it_is_declared(shop: Shop) -> None:
    path = f"/timers/{shop.deadline.id}"
    assert "stays as long as its type declares it" in text_of(shop.ada.get(path))
    refused = shop.ada.post(f"{path}/cancel", {"confirmed": "yes"}, at=path)
    assert (refused.status_code, "is declared by the type" in text_of(refused)) == (409, True)
    assert shop.states.get_timer(shop.deadline.id).status == "pending"


@pytest.mark.parametrize(("path", "status"), [("/timers/999999", 404), ("/timers/x", 422)])
def test_a_timer_that_is_not_there_is_not_found(memory: Shop, path: str, status: int) -> None:
    assert memory.ada.get(path).status_code == status


def test_a_store_without_timers_is_said_to_be_one(memory: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.world.runtime.bucket.jobs, "enqueues", None)
    assert "keeps no timers and deadlines" in text_of(memory.ada.get("/timers"))


def test_nobody_cancels_without_the_permission(memory: Shop) -> None:
    ben = Operator(memory.world, "ben", ("clerk",))
    path = f"/timers/{memory.timer.id}"
    assert (ben.get("/timers").status_code, ben.get(path).status_code) == (403, 403)
    fields = {"confirmed": "yes", "admin_token": memory.ada.token(path)}
    assert ben.client.post(f"/admin/state{path}/cancel", data=fields).status_code == 403
    assert memory.states.get_timer(memory.timer.id).status == "pending"
