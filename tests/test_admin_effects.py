"""The admin pages of durable effects and dead letters."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flask_statemanager import Machine, PermanentFailure, StorageUnavailable, Transition
from flask_statemanager.admin import jobs, longwork
from flask_statemanager.admin.causes import cause_of, discreet, hidden_in
from flask_statemanager.admin.visit import Visit
from flask_statemanager.core.held import put
from flask_statemanager.core.record import Key, Origin
from flask_statemanager.security.identity import Identity
from tests.admin_client import ADMIN, Operator, text_of, with_logins
from tests.worlds import World, build, entered, uri_for

HOSTILE = "<script>alert(1)</script> {{ 7 * 7 }} \x1b[31m"


class Mail:
    """An effect that fails for good until it is mended."""

    def __init__(self) -> None:
        self.mended = False
        self.sent: list[str] = []

    def __call__(self, state_id: str, _old: dict[str, Any], new: dict[str, Any], _event: str) -> None:
        if not self.mended:
            raise PermanentFailure(f"no mailbox for {new['data'].get('password')} {HOSTILE}")
        self.sent.append(state_id)


class Shop:
    """An application with admin pages and dead letters.

    :param world: the application.
    """

    def __init__(self, world: World) -> None:
        self.world, self.states = world, world.states
        self.mail = Mail()
        self.states.define(
            "user", Machine(initial="created", transitions=[Transition("activate", "created", "active")])
        )
        self.states.register_callback("user_created", self.mail, durable=True, name="mail", retries=2)
        self.states.register_callback("user_activated", self.mail, durable=True, name="welcome")
        for number in range(1, 4):
            self.states.register_state(f"u{number}", "user", {"password": f"hunter{number}", "text": HOSTILE})
        self.states.run_worker()
        self.ada = Operator(world)

    def ids(self, **wanted: Any) -> list[int]:
        return [each.id for each in self.states.list_effects(**wanted)]


@pytest.fixture(params=["sqlite", "postgresql"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    """Dead letters on each database."""
    world = with_logins(build(request.param, uri_for(request.param, tmp_path, request), **ADMIN))
    for ready in entered(world):
        yield Shop(ready)


@pytest.fixture
def memory() -> Iterator[Shop]:
    """Dead letters in memory, for what is the same on every store."""
    for ready in entered(with_logins(build("memory", "sqlite://", **ADMIN))):
        yield Shop(ready)


def listed(answer: Any) -> list[int]:
    """The effects on a page, in order."""
    return [int(number) for number in re.findall(r'/effects/(\d+)">', answer.text)]


# -- looking -----------------------------------------------------------------------------------------------------------


def test_dead_letters_are_listed_first_of_all(shop: Shop) -> None:
    shop.states.update_state("u1", transition="activate")
    answer = shop.ada.get("/effects")
    assert listed(answer) == shop.ids(status="dead")[::-1]
    assert len(listed(answer)) == 3
    assert "Dead letters 3" in text_of(answer)
    assert "Waiting 1" in text_of(answer)


def test_effects_are_found_by_status_name_and_state(shop: Shop) -> None:
    shop.mail.mended = True
    shop.states.update_state("u1", transition="activate")
    shop.states.run_worker()
    shop.states.update_state("u2", transition="activate")
    assert listed(shop.ada.get("/effects?status=pending")) == shop.ids(status="pending")
    assert listed(shop.ada.get("/effects?status=done")) == shop.ids(status="done")
    assert listed(shop.ada.get("/effects?status=all&effect=welcome")) == shop.ids(effect="welcome")[::-1]
    assert listed(shop.ada.get("/effects?state=u2&status=all")) == shop.ids(state_id="u2")[::-1]
    assert "There are no dead letters like that" in text_of(shop.ada.get("/effects?state=nobody"))


def test_many_effects_come_in_pages(memory: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (jobs, __import__("flask_statemanager.admin.effects", fromlist=["PAGE"])):
        monkeypatch.setattr(module, "PAGE", 2)
    first = memory.ada.get("/effects?effect=mail")
    following = html.unescape(re.search(r'rel="next" href="([^"]*)"', first.text)[1])  # type: ignore[index]
    second = memory.ada.client.get(following)
    assert listed(first) + listed(second) == memory.ids()[::-1]
    assert "effect=mail" in following
    assert 'rel="next"' not in second.text


@pytest.mark.parametrize("query", ["after=x", "state=%20", "status=odd", "effect=" + "e" * 300, "after=" + "9" * 30])
def test_what_cannot_be_asked_for_is_said_on_the_page(memory: Shop, query: str) -> None:
    answer = memory.ada.get(f"/effects?{query}")
    assert answer.status_code == 422
    assert 'role="alert"' in answer.text


def test_one_effect_is_shown_with_what_it_was_given_and_why_it_failed(shop: Shop) -> None:
    number = shop.ids(state_id="u1")[0]
    words = text_of(shop.ada.get(f"/effects/{number}"))
    assert f"Effect {number}: mail dead" in words
    assert "Attempts 1 of 3" in words
    assert "PermanentFailure: no mailbox for" in words
    assert "Traceback (most recent call last)" in words
    assert "Event create" in words
    assert "state:u1:1:mail" in words


def test_what_an_effect_holds_is_inert(memory: Shop) -> None:
    for path in ("/effects", f"/effects/{memory.ids()[0]}"):
        answer = memory.ada.get(path)
        assert "<script>alert" not in answer.text
        assert "&lt;script&gt;alert(1)" in answer.text
        assert "{{ 7 * 7 }}" in html.unescape(answer.text)


def test_secrets_are_covered_in_the_data_and_in_the_traceback(memory: Shop) -> None:
    number = memory.ids(state_id="u1")[0]
    for path in ("/effects", f"/effects/{number}", "/states/u1"):
        assert "hunter" not in memory.ada.get(path).text
        assert "no mailbox for [redacted]" in text_of(memory.ada.get(path))


def test_secrets_are_shown_to_whoever_says_why(memory: Shop) -> None:
    number = memory.ids(state_id="u1")[0]
    refused = memory.ada.post(f"/effects/{number}/reveal", at=f"/effects/{number}")
    assert (refused.status_code, "hunter1" in refused.text) == (422, False)
    shown = memory.ada.post(f"/effects/{number}/reveal", {"reason": "ticket 7"}, at=f"/effects/{number}")
    assert shown.status_code == 200
    assert "no mailbox for hunter1" in text_of(shown)


def test_what_people_say_in_conversations_is_not_shown(memory: Shop) -> None:
    bucket = memory.world.runtime.shelves.kept("flows").bucket
    value = {"outgoing": [{"body": {"text": "my diagnosis is bad"}, "key": "k"}], "auth": {"token": "t0ken-of-hers"}}
    bucket.write(
        "message:1",
        lambda present, now: put(Key("flows", "message:1"), present, value, now=now, expires_at=None),
        origin=Origin("a test"),
    )
    with memory.world.app.test_request_context():
        cause = cause_of(Visit(memory.world.runtime, Identity("ada")), "flows", "message:1", 1)
    assert cause.after is not None
    assert "diagnosis" not in str(cause.after)
    assert "t0ken" not in str(cause.after)
    assert cause.discreet("she said 'my diagnosis is bad' with t0ken-of-hers") == (
        "she said '[redacted]' with [redacted]"
    )
    assert cause.discreet(None) is None


def test_an_effect_whose_history_is_gone_says_so(memory: Shop) -> None:
    with memory.world.app.test_request_context():
        cause = cause_of(Visit(memory.world.runtime, Identity("ada")), "state", "u1", 99)
    assert (cause.change, cause.discreet(None)) == (None, None)


def test_where_nobody_knows_what_is_secret_an_error_is_covered_until_somebody_says_why(
    memory: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = memory.ids(state_id="u1")[0]
    history = type(memory.world.runtime.lifecycle.parts.history)
    monkeypatch.setattr(history, "changes", lambda *_: [])
    for path in ("/effects", f"/effects/{number}", "/states/u1"):
        assert "hunter1" not in memory.ada.get(path).text
    assert "all of it is covered" in text_of(memory.ada.get(f"/effects/{number}"))
    shown = memory.ada.post(f"/effects/{number}/reveal", {"reason": "ticket 7"}, at=f"/effects/{number}")
    assert "no mailbox for hunter1" in text_of(shown)


@pytest.mark.parametrize("secret", [90210, 47.11, 'it\'s "hers"', "J\u00fcrgen\n1"])
@pytest.mark.parametrize("form", [str, repr, json.dumps])
def test_a_secret_is_covered_in_every_form_that_errors_have_it_in(form: Callable[[Any], str], secret: Any) -> None:
    hidden = hidden_in([({"pin": secret, "n": 123456}, {"pin": "[redacted]", "n": 123456})])
    said = discreet(f"{form(secret)} is not 123456", hidden)
    assert str(said).replace("'", "").replace('"', "") == "[redacted] is not 123456"


def test_an_effect_that_no_code_knows_says_so(memory: Shop) -> None:
    memory.world.runtime.declarations.callbacks._effects.pop("mail")
    words = text_of(memory.ada.get(f"/effects/{memory.ids()[0]}"))
    assert "No code of this application knows this effect" in words


@pytest.mark.parametrize(("path", "status"), [("/effects/999999", 404), ("/effects/x", 422), ("/effects/-1", 422)])
def test_an_effect_that_is_not_there_is_not_found(memory: Shop, path: str, status: int) -> None:
    assert memory.ada.get(path).status_code == status


# -- acting ------------------------------------------------------------------------------------------------------------


def test_a_dead_letter_is_retried_with_who_and_why(shop: Shop) -> None:
    number = shop.ids(state_id="u1")[0]
    shop.mail.mended = True
    answer = shop.ada.post(f"/effects/{number}/retry", {"reason": "mended"}, at=f"/effects/{number}")
    assert f"Effect {number}, mail, is going to be tried again." in text_of(shop.ada.follow(answer))
    assert shop.states.get_effect(number).error.startswith("retried by ada (admin): mended -- before that: Permanent")
    shop.states.run_worker()
    assert shop.mail.sent == ["u1"]
    again = shop.ada.post(f"/effects/{number}/retry", at=f"/effects/{number}")
    assert "it is done, and cannot be retried" in text_of(again)
    assert 400 <= again.status_code < 500


def test_an_effect_is_discarded_after_a_question_and_with_a_reason(shop: Shop) -> None:
    number = shop.ids(state_id="u2")[0]
    path = f"/effects/{number}"
    asked = shop.ada.post(f"{path}/discard", {"reason": "she left"}, at=path)
    assert "Discard effect" in text_of(asked)
    assert shop.states.get_effect(number).status == "dead"
    refused = shop.ada.post(f"{path}/discard", {"confirmed": "yes", "reason": " "}, at=path)
    assert (refused.status_code, shop.states.get_effect(number).status) == (422, "dead")
    done = shop.ada.post(f"{path}/discard", {"confirmed": "yes", "reason": "she left"}, at=path)
    assert "is discarded" in text_of(shop.ada.follow(done))
    found = shop.states.get_effect(number)
    assert (found.status, found.error[:35]) == ("cancelled", "discarded by ada (admin): she left ")


def test_of_two_operators_the_second_is_told_what_the_first_did(memory: Shop) -> None:
    number = memory.ids(state_id="u1")[0]
    path = f"/effects/{number}"
    ben = Operator(memory.world, "ben")
    memory.ada.post(f"{path}/discard", {"confirmed": "yes", "reason": "no"}, at=path)
    late = ben.post(f"{path}/discard", {"confirmed": "yes", "reason": "never"}, at=path)
    assert "it is cancelled, and cannot be discarded" in text_of(late)
    assert "discarded by ada" in memory.states.get_effect(number).error


def test_all_dead_letters_are_retried_at_once(shop: Shop) -> None:
    asked = shop.ada.post("/effects/retry-dead", {"effect": "mail"}, at="/effects")
    assert "Retry all dead letters of mail?" in text_of(asked)
    fields = {"effect": "mail", "confirmed": "yes", "reason": "mended"}
    answer = shop.ada.post("/effects/retry-dead", fields, at="/effects")
    words = text_of(shop.ada.follow(answer))
    shop.world.runtime.close()
    assert "3 dead letters are going to be tried again." in words or "retry all dead letters" in words.lower()
    assert {each.status for each in shop.states.list_effects()} == {"pending"}
    assert {each.error[:31] for each in shop.states.list_effects()} == {"retried by ada (admin): mended "}


def test_retrying_all_waits_for_no_worker_and_is_known_afterwards(
    memory: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(longwork, "PATIENCE", 60.0)
    answer = memory.ada.post("/effects/retry-dead", {"confirmed": "yes"}, at="/effects")
    assert "3 dead letters are going to be tried again." in text_of(memory.ada.follow(answer))
    assert "Retry all dead letters done 3 of 3" in text_of(memory.ada.get("/work"))
    assert "Retry all" not in text_of(memory.ada.get("/effects"))
    fields = {"confirmed": "yes", "effect": "mail"}
    again = memory.ada.post("/effects/retry-dead", fields, at=f"/effects/{memory.ids()[0]}")
    assert "0 dead letters are going" in text_of(memory.ada.follow(again))


# -- when something is amiss -------------------------------------------------------------------------------------------


def test_a_store_without_effects_is_said_to_be_one(memory: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.world.runtime.bucket.jobs, "enqueues", None)
    answer = memory.ada.get("/effects")
    assert answer.status_code == 200
    assert "keeps no durable effects" in text_of(answer)


def test_a_store_that_goes_away_in_between_is_a_sentence(memory: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    number = memory.ids()[0]
    token = memory.ada.token(f"/effects/{number}")

    def gone(*_: Any, **__: Any) -> Any:
        raise StorageUnavailable("The database cannot be reached: look whether it runs.")

    monkeypatch.setattr(memory.world.runtime.backend, "reading", gone)
    monkeypatch.setattr(memory.world.runtime.backend, "writing", gone)
    for path in ("/effects", f"/effects/{number}"):
        answer = memory.ada.get(path)
        assert (answer.status_code, "cannot be reached" in text_of(answer)) == (503, True)
    act = memory.ada.client.post(f"/admin/state/effects/{number}/retry", data={"admin_token": token})
    assert act.status_code == 503
    assert "Traceback" not in act.text


def test_nobody_acts_without_the_permission(memory: Shop) -> None:
    number = memory.ids()[0]
    token = memory.ada.token(f"/effects/{number}")
    ben = Operator(memory.world, "ben", ("clerk",))
    for path in ("/effects", f"/effects/{number}"):
        assert ben.get(path).status_code == 403
    for act in (f"{number}/retry", f"{number}/discard", f"{number}/reveal", "retry-dead"):
        fields = {"admin_token": token, "confirmed": "yes", "reason": "because"}
        assert ben.client.post(f"/admin/state/effects/{act}", data=fields).status_code == 403
        assert memory.ada.client.post(f"/admin/state/effects/{act}", data={"confirmed": "yes"}).status_code == 403
    assert {each.status for each in memory.states.list_effects()} == {"dead"}
