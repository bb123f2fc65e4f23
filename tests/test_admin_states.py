"""The admin pages of states: found, read, moved, mended, brought back; nothing lost, nothing shown that is secret."""

from __future__ import annotations

import csv
import html
import io
import json
import logging
import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest
from marshmallow import Schema, fields
from sqlalchemy import MetaData, create_engine

from flask_statemanager import Guard, Machine, Transition
from flask_statemanager.admin.states import export, history, listing, text
from flask_statemanager.lifecycle.query import Page, StateQuery
from tests.admin_client import PREFIX, Operator, an_admin_world
from tests.admin_client import text_of as words_of
from tests.worlds import World

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&"
HIDDEN = r'<input type="hidden" name="([^"]*)" value="([^"]*)">'
ODD_IDS = ["a/b:c", "user/history", "x/transition", "~=+@-", "states.csv", "-1", "new-state/..a", "a.b_c"]


class Account(Schema):
    email = fields.Email(required=True)
    address = fields.Dict(keys=fields.Str(), values=fields.Str())
    tags = fields.List(fields.Integer())
    token = fields.Str()


def solvent(present: Any, after: Any) -> bool:
    """The balance must not be negative."""
    return bool(present.data.get("balance", 0) >= 0)


@pytest.fixture(params=["memory", "sqlite"])
def shop(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[World]:
    """An application with admin pages, with a type of its own."""
    with an_admin_world(request.param, f"sqlite:///{tmp_path / 'shop.sqlite'}") as world:
        yield stocked(world)


@pytest.fixture
def small(tmp_path: Any) -> Iterator[World]:
    """The same, in memory alone."""
    with an_admin_world() as world:
        yield stocked(world)


def stocked(world: World) -> World:
    world.states.define(
        "account",
        Machine(
            initial=["open", "trial"],
            transitions=[
                Transition("close", ["open"], "closed", guards=[Guard(solvent)]),
                Transition("reopen", ["closed"], "open"),
                Transition("end", ["trial"], "ended"),
                Transition("expire", ["open"], "expired"),
            ],
            final=["ended"],
        ),
    )
    return world


@pytest.fixture
def ada(shop: World) -> Operator:
    return Operator(shop)


def text_of(answer: Any) -> str:
    return words_of(answer).replace("\N{MINUS SIGN}", "-")


def page(state_id: str) -> str:
    return f"/states/{quote(state_id)}"


def move(operator: Operator, state_id: str, **form: Any) -> Any:
    return operator.post(f"{page(state_id)}/transition", form, at=page(state_id))


def rows(answer: Any) -> list[str]:
    """The ids that a list shows, in order."""
    return [
        html.unescape(found) for found in re.findall(r'<th scope="row" class="id"><a [^>]*>([^<]*)</a>', answer.text)
    ]


def link(answer: Any, rel: str) -> str | None:
    found = re.search(rf'rel="{rel}" href="([^"]*)"', answer.text)
    return None if found is None else html.unescape(found[1]).removeprefix("/admin/state")


# -- the list ----------------------------------------------------------------------------------------------------------


def fill(world: World, number: int = 60) -> list[str]:
    names = [f"u{place:03}" for place in range(number)]
    for place, name in enumerate(names):
        world.states.register_state(
            name,
            "user" if place % 2 else "account",
            {"n": place, "plan": "pro" if place % 5 == 0 else "free"},
            owner="ann" if place % 10 == 0 else None,
        )
        world.clock.advance(60)
    return names


def test_pages_go_forward_and_back_and_the_address_holds_the_search(shop: World, ada: Operator) -> None:
    names = fill(shop)
    first = ada.get("/states")
    assert rows(first) == names[:25]
    assert "60 states" in text_of(first)
    assert link(first, "prev") is None
    second = ada.get(link(first, "next") or "")
    assert rows(second) == names[25:50]
    third = ada.get(link(second, "next") or "")
    assert (rows(third), link(third, "next")) == (names[50:], None)
    back = ada.get(link(third, "prev") or "")
    assert rows(back) == names[25:50]
    narrowed = ada.get("/states?type=user&sort=-state_id&size=50&where=data.n__gte%3D2")
    assert rows(narrowed) == names[::-1][:60:2][:29]
    assert "type=user" in html.unescape(ada.get("/states?type=user&size=25&sort=state_id").text)
    assert "selected>user" in narrowed.text
    more = ada.get("/states?type=user&sort=-state_id")
    assert "type=user" in (link(more, "next") or ""), "the next page goes by the same search"


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("id=u00", [f"u00{place}" for place in range(10)]),
        ("id=u001&match=exactly", ["u001"]),
        ("id=u00&match=exactly", []),
        ("id=u001&match=exactly&type=account", []),
        ("type=account&status=open&where=data.n__lt%3D4&sort=state_id", ["u000", "u002"]),
        ("owner=ann&sort=state_id&type=account&id=u0", ["u000", "u010", "u020", "u030", "u040", "u050"]),
        ("where=data.plan%3Dpro%0A%0Adata.n__in%3D5,10,11&sort=state_id", ["u005", "u010"]),
        ("where=metadata.no__exists%3Dtrue", []),
        ("created_from=2026-01-01T12:58&sort=state_id", ["u058", "u059"]),
        ("created_to=2026-01-01T12:01Z", ["u000"]),
        ("updated_from=2026-01-01T12:57&updated_to=2026-01-01T12:58", ["u057"]),
        ("created_from=2026-01-02", []),
        ("status=open,%20created&id=u000", ["u000"]),
        ("text=PLAN%22:%20%22PRO&type=user&sort=state_id", ["u005", "u015", "u025", "u035", "u045", "u055"]),
        ("text=u01&owner=ann", ["u010"]),
    ],
)
def test_a_search_finds_what_all_its_fields_say(small: World, query: str, found: list[str]) -> None:
    fill(small)
    answer = Operator(small).get(f"/states?{query}")
    assert answer.status_code == 200
    assert rows(answer) == found
    exported = json.loads(Operator(small).get(f"/states.json?{query}").text)
    assert [state["state_id"] for state in exported["items"]] == found, "the filters apply to the export"
    assert exported["complete"] is True


@pytest.mark.parametrize(
    ("query", "field", "told"),
    [
        ("where=data.plan", "where", "is no condition"),
        ("where=data.n__near%3D5", "where", "data.n__near: 'near' is no operator"),
        ("where=data.n%3D1%0Adata.n%3D2", "where", "given twice"),
        ("where=" + "%0A".join(f"data.n{place}%3D1" for place in range(101)), "where", "too large"),
        ("where=data.a.token%3Dx", "where", "is a secret"),
        ("where=data.Password__startswith%3Da", "where", "is a secret"),
        ("created_from=yesterday", "created_from", "Must be a moment"),
        (
            "created_from=2026-01-01&where=created_at__gte%3D2026-01-01T00:00:00Z",
            "created_from",
            "among the conditions",
        ),
        ("status=no-%21", "status", "is not a name"),
        ("type=%3Cb%3E", "type", "is not a name"),
        ("sort=colour", "sort", "is no order"),
        ("id=%C3%A4", "id", "beginning of an id"),
        ("size=1000000", "size", "Must be one of"),
        ("text=" + "x" * 201, "text", "at most 200"),
        ("after=nonsense", None, "Not a cursor"),
    ],
)
def test_a_search_that_cannot_be_made_says_at_which_field_and_keeps_what_was_typed(
    small: World, query: str, field: str | None, told: str
) -> None:
    answer = Operator(small).get(f"/states?{query}")
    assert answer.status_code == 400
    assert told in text_of(answer)
    if field is not None:
        assert f'id="{field}-errors"' in answer.text
        assert re.search(rf'id="{field}"[^>]*aria-invalid="true"', answer.text)
    if field == "created_from" and "yesterday" in query:
        assert 'value="yesterday"' in answer.text
    for path in ("/states.csv", "/states.json"):
        if field not in ("size", None):
            assert Operator(small).get(f"{path}?{query}").status_code >= 400


def test_a_text_is_looked_for_in_a_bounded_number_of_states_which_is_said(
    small: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "MOST_LOOKED_AT", 20)
    monkeypatch.setattr(text, "CHUNK", 10)
    monkeypatch.setattr(text, "MOST_AT_ONCE", 10)
    monkeypatch.setattr(text, "MOST_SECONDS", 60)
    names = fill(small, 50)
    ada = Operator(small)
    first = ada.get("/states?text=%22n%22:%2044,")
    assert rows(first) == []
    assert "this page looked at 20 states and found 0. There are more to look at" in text_of(first)
    second = ada.get(link(first, "next") or "")
    third = ada.get(link(second, "next") or "")
    assert (rows(second), rows(third)) == ([], [names[44]])
    assert "Those were the last" in text_of(third)
    monkeypatch.setattr(text, "MOST_CHARACTERS", 1)
    assert "looked at 10 states" in text_of(ada.get("/states?text=x"))
    monkeypatch.undo()
    monkeypatch.setattr(text, "MOST_SECONDS", 0)
    assert f"looked at {text.CHUNK} states" in text_of(ada.get("/states?text=x"))


def test_what_is_read_at_once_grows_while_it_is_little(small: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "MOST_SECONDS", 60)
    monkeypatch.setattr(text, "CHUNK", 10)
    fill(small, 100)
    sizes: list[int] = []
    page = StateQuery.page

    def seen(found: StateQuery, size: int, after: str | None = None) -> Page:
        sizes.append(size)
        return page(found, size, after)

    monkeypatch.setattr(StateQuery, "page", seen)
    ada = Operator(small)
    ada.get("/states?text=nowhere")
    assert sizes == [10, 20, 40, 80]
    sizes.clear()
    monkeypatch.setattr(text, "MUCH", 1)
    ada.get("/states?text=nowhere")
    assert set(sizes) == {10}


def test_what_may_take_long_is_said_and_not_counted(shop: World, ada: Operator) -> None:
    fill(shop, 5)
    quick = text_of(ada.get("/states?type=user"))
    assert ("2 states" in quick, "can take long" in quick) == (True, False)
    for query in ("status=created", "sort=-updated_at", "updated_from=2026-01-01", "sort=-created_at"):
        slow = text_of(ada.get(f"/states?{query}"))
        assert "can take long" in slow, query
        assert " states Export" not in slow
    if shop.kind == "sqlite":
        assert "No index has data.plan" in text_of(ada.get("/states?where=data.plan%3Dpro"))


def test_a_table_has_no_cell_that_a_spreadsheet_takes_for_a_formula(small: World) -> None:
    small.states.register_state("=1+1", "user", {"data": {"a": 'ä\n"x"', "token": "s3cret"}, "metadata": {"m": 1}})
    small.states.register_state("-1", "user", {"name": "@SUM(A1)", "data": {}}, owner="\t=x")
    small.states.register_state("+2", "user", owner="\uff1d1", ttl=60)
    answer = Operator(small).get("/states.csv?sort=state_id")
    assert answer.headers["Content-Disposition"] == "attachment; filename=states.csv"
    table = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert [row["state_id"] for row in table] == ["'+2", "'-1", "'=1+1"]
    assert (table[1]["name"], table[1]["owner"], table[0]["owner"]) == ("'@SUM(A1)", "'\t=x", "'\uff1d1")
    assert json.loads(table[2]["data"]) == {"a": 'ä\n"x"', "token": "[redacted]"}
    assert (table[2]["metadata"], table[0]["expires_at"]) == ('{"m": 1}', "2026-01-01T12:01:00.000000Z")
    assert "s3cret" not in answer.text + Operator(small).get("/states.json").text


def test_an_export_is_bounded_and_says_when_there_is_more(small: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "MOST", 25)
    monkeypatch.setattr(export, "CHUNK", 10)
    names = fill(small, 30)
    ada = Operator(small)
    cut = json.loads(ada.get("/states.json?sort=state_id").text)
    assert ([state["state_id"] for state in cut["items"]], cut["complete"]) == (names[:25], False)
    lines = ada.get("/states.csv?sort=state_id").text.splitlines()
    assert (len(lines), lines[-1]) == (27, "# there are more than these: 25 states were looked at")
    assert json.loads(ada.get("/states.json?type=user&text=%22n%22:%202").text)["complete"] is True


def test_an_export_reads_few_large_documents_at_once(small: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "AT_ONCE", 3000)
    for number in range(30):
        small.states.register_state(f"a{number:02}", "account", {"text": "x" * 970})
    sizes: list[int] = []
    page = StateQuery.page

    def seen(found: StateQuery, size: int, after: str | None = None) -> Page:
        sizes.append(size)
        return page(found, size, after)

    monkeypatch.setattr(StateQuery, "page", seen)
    assert len(json.loads(Operator(small).get("/states.json").text)["items"]) == 30
    assert sizes == [10, *[3] * 7]


@pytest.fixture
def outage(tmp_path: Any) -> Iterator[tuple[World, Callable[[], None]]]:
    """An application with the state a1, and what makes its database fail."""
    url = f"sqlite:///{tmp_path / 'outage.sqlite'}"

    def fail() -> None:
        engine = create_engine(url)
        tables = MetaData()
        tables.reflect(engine)
        tables.drop_all(engine)
        engine.dispose()

    with an_admin_world("sqlite", url) as world:
        stocked(world).states.register_state("a1", "account", {"a": 1})
        yield world, fail


def test_a_file_of_a_storage_that_fails_is_a_page_that_says_so(outage: tuple[World, Callable[[], None]]) -> None:
    world, fail = outage
    ada = Operator(world)
    assert ada.get("/states.csv").status_code == 200
    fail()
    for path in ("/states.csv", "/states.json", "/state-file/a1"):
        answer = ada.get(path)
        assert (answer.status_code, answer.headers.get("Content-Disposition")) == (503, None)
        assert "The storage cannot be reached" in text_of(answer)


def test_what_was_typed_outlives_a_storage_that_fails(outage: tuple[World, Callable[[], None]]) -> None:
    world, fail = outage
    ada = Operator(world)
    token = ada.token("/state-editor/a1")
    fail()
    form = {"data": '{"mine": "<b>"}', "metadata": "{}", "expect": "1", "reason": "by hand"}
    refused = ada.client.post(f"{PREFIX}/state-editor/a1", data={**form, "admin_token": token})
    assert refused.status_code == 503
    assert 'The storage cannot be reached, or failed: try again later. What was typed data {"mine": "<b>"}' in text_of(
        refused
    )
    again = {name: html.unescape(value) for name, value in re.findall(HIDDEN, refused.text)}
    assert again.pop("admin_token")
    assert again == form
    assert f'action="{PREFIX}/state-editor/a1"' in refused.text
    forged = ada.client.post(f"{PREFIX}/state-editor/a1", data=form)
    assert (forged.status_code, "<form" in forged.text) == (403, False), "what has no token is not made to have one"


def test_secrets_are_found_by_nothing_and_shown_nowhere(shop: World, ada: Operator) -> None:
    shop.states.register_state("a1", "account", {"token": "s3cret", "deep": [{"Password": "s3cret"}], "n": 1})
    shop.states.update_state("a1", {"token": "s3cret-2"}, "close")
    for path in (
        "/states",
        "/states?text=s3cret",
        "/states/a1",
        "/state-file/a1",
        "/state-file/a1?version=1",
        "/state-editor/a1",
        "/state-rollback/a1?to=1",
    ):
        assert "s3cret" not in ada.get(path).text.replace("text=s3cret", "").replace('value="s3cret"', ""), path
    assert rows(ada.get("/states?text=s3cret")) == []
    shown = text_of(ada.get("/states/a1"))
    assert 'data.token was - "[redacted]" is now + "[redacted]"'.replace('"', "") in shown.replace('"', "")


# -- one state ---------------------------------------------------------------------------------------------------------


def test_a_state_is_moved_with_a_reason_and_the_history_grows(shop: World, ada: Operator) -> None:
    shop.states.register_state("a1", "account", {"balance": 5}, actor="shop", reason="signed up")
    shown = ada.get("/states/a1")
    assert re.findall(r'name="transition" value="(\w+)"', shown.text) == ["close", "expire"]
    buttons = re.findall(r"<button[^>]*>", shown.text.partition("/transition")[2].partition("</form>")[0])
    assert buttons[0] == "<button disabled hidden>", "the enter key chooses no transition"
    words = text_of(shown)
    assert "Why not reopen, end?" in words
    assert "It starts from closed, and not from open." in words
    done = move(ada, "a1", transition="close", reason="asked by phone", expect=1, data='{"closed_by": "phone"}')
    after = text_of(ada.follow(done))
    assert "a1: close done, the status is closed, version 2." in after
    assert "“asked by phone”" in after
    assert "by ada from admin" in after
    assert 'data.closed_by is now + "phone"' in after
    [entry] = shop.states.get_recent_changes("a1", 1)
    assert (entry.actor, entry.source, entry.reason) == ("ada", "admin", "asked by phone")


def test_a_guard_that_refuses_is_named_with_its_reason(shop: World, ada: Operator) -> None:
    shop.states.register_state("a1", "account", {"balance": -5})
    words = text_of(ada.get("/states/a1"))
    assert "The guard solvent refuses: The balance must not be negative." in words
    refused = move(ada, "a1", transition="close", reason="now", expect=1)
    assert refused.status_code == 409
    assert "The balance must not be negative" in text_of(refused)
    assert 'value="now"' in refused.text, "what was typed is still there"
    for form in (
        {"transition": "fly", "expect": 1},
        {"transition": "delete", "expect": 1},
        {"transition": "expire"},
        {"transition": "expire", "expect": "x"},
        {"transition": "expire", "expect": 1, "data": "{,"},
        {"transition": "expire", "expect": 1, "data": '{"token": "[redacted]"}'},
        {"transition": "expire", "expect": 1, "data": "[1]"},
    ):
        answer = move(ada, "a1", **form)
        assert answer.status_code == 422, form
    state = shop.states.get_state("a1")
    assert state is not None
    assert state.version == 1


def test_a_page_that_is_old_changes_nothing_and_shows_what_changed_meanwhile(shop: World, ada: Operator) -> None:
    shop.states.register_state("a1", "account", {"balance": 5, "token": "s3cret"})
    shop.states.update_state("a1", {"balance": 7, "token": "other"}, actor="ben", reason="a payment")
    answer = move(ada, "a1", transition="close", reason="tidy", expect=1)
    assert answer.status_code == 409
    words = text_of(answer)
    assert "was changed by somebody else" in words
    assert "What has changed since version 1" in words
    assert "Version 2: update" in words
    assert "by ben" in words
    assert "“a payment”" in words
    assert "data.balance was - 5 is now + 7" in words
    assert "s3cret" not in answer.text
    assert 'name="expect" value="2"' in answer.text, "what is sent again counts for what was shown"
    again = move(ada, "a1", transition="close", reason="tidy", expect=2)
    assert again.status_code == 303


def test_a_veto_of_the_application_is_shown_whatever_it_raises(shop: World, ada: Operator) -> None:
    def forbid(*_args: Any, **_named: Any) -> None:
        raise RuntimeError("not on a Sunday")

    shop.states.register_state("a1", "account", {})
    shop.states.register_callback("account_closed", forbid, when="before")
    answer = move(ada, "a1", transition="close", expect=1)
    assert answer.status_code == 422
    assert "The application refused the write (RuntimeError: not on a Sunday)" in text_of(answer)


def test_a_deletion_asks_first_and_any_version_can_be_restored(shop: World, ada: Operator) -> None:
    shop.states.register_state("a1", "account", {"n": 1})
    shop.states.update_state("a1", {"n": 2})
    form = {"expect": 2, "reason": "asked for"}
    asked = ada.post("/states/a1/delete", form, at="/states/a1")
    assert "Delete the state a1?" in text_of(asked)
    assert shop.states.get_state("a1") is not None
    stale = ada.post("/states/a1/delete", {**form, "expect": 1, "confirmed": "yes"}, at="/states/a1")
    assert stale.status_code == 409
    gone = ada.follow(ada.post("/states/a1/delete", {**form, "confirmed": "yes"}, at="/states/a1"))
    assert shop.states.get_state("a1") is None
    words = text_of(gone)
    assert "This state is deleted" in words
    assert "“asked for”" in words
    preview = ada.get("/state-rollback/a1?to=1")
    assert "data.n was - 2 is now + 1" in text_of(preview)
    assert 'status was - "deleted" is now + "open"' in text_of(preview)
    hidden = dict(re.findall(r'type="hidden" name="(expect|to|undelete)" value="([^"]*)"', preview.text))
    assert hidden == {"expect": "3", "to": "1", "undelete": "yes"}
    back = ada.post("/state-rollback/a1?to=1", {**hidden, "reason": "a mistake"}, at="/state-rollback/a1?to=1")
    assert "version 1 is restored, as version 4" in text_of(ada.follow(back))
    state = shop.states.get_state("a1")
    assert state is not None
    assert (state.data, state.status, state.version) == ({"n": 1}, "open", 4)


def test_a_rollback_that_is_refused_stays_on_its_preview(shop: World, ada: Operator) -> None:
    shop.states.register_state("a1", "account", {"n": 1})
    shop.states.update_state("a1", {"email": "a@example.com", "n": None})
    shop.states.register_schema("account", Account)
    at = "/state-rollback/a1?to=1"
    refused = ada.post(at, {"to": 1, "expect": 2, "reason": "back"}, at=at)
    assert refused.status_code == 422
    assert "data.email: Missing data for required field." in text_of(refused)
    assert 'value="back"' in refused.text
    stale = ada.post(at, {"to": 1, "expect": 1}, at=at)
    assert (stale.status_code, "What has changed since version 1" in text_of(stale)) == (409, True)
    assert ada.post(at, {"to": "x", "expect": 2}, at=at).status_code == 422
    same = text_of(ada.get("/state-rollback/a1?to=2"))
    assert "Nothing: version 2 is the same as version 2." in same
    for path in ("/state-rollback/a1", "/state-rollback/a1?to=9", "/state-rollback/a1?to=x", "/state-rollback/no?to=1"):
        assert ada.get(path).status_code == 404
    shop.states.delete_state("a1")
    shop.states.register_state("a1", "account", {"email": "a@example.com"})
    assert "The state was deleted then" in text_of(ada.get("/state-rollback/a1?to=3"))


def test_a_long_history_comes_in_pages(shop: World, ada: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "SIZE", 4)
    shop.states.register_state("a1", "account", {"n": 0})
    for number in range(1, 10):
        shop.states.update_state("a1", {"n": number})
    seen, at = [], "/states/a1"
    while at:
        answer = ada.get(at)
        seen.append(re.findall(r'<li id="v(\d+)">', answer.text))
        at = (link(answer, "next") or "").partition("#")[0]
    assert seen == [["10", "9", "8", "7"], ["6", "5", "4", "3"], ["2", "1"]]
    assert "There is nothing older." in text_of(ada.get("/states/a1?older=1"))
    shop.states.delete_state("a1")
    assert "This state is deleted" in text_of(ada.get("/states/a1?older=1"))


def test_of_large_documents_a_page_compares_few(shop: World, ada: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MOST_BYTES", 4000)
    shop.states.register_state("a1", "account", {"n": 0})
    for number in range(1, 6):
        shop.states.update_state("a1", {"n": number, "text": "x" * 1000})
    assert re.findall(r'<li id="v(\d+)">', ada.get("/states/a1").text) == ["6", "5", "4"]
    shop.states.update_state("a1", {"text": "x" * 9000})
    first = ada.get("/states/a1")
    assert re.findall(r'<li id="v(\d+)">', first.text) == ["7", "6"]
    rest = ada.get((link(first, "next") or "").partition("#")[0])
    assert re.findall(r'<li id="v(\d+)">', rest.text) == ["5", "4"]


def test_timers_are_set_and_cancelled(shop: World, ada: Operator) -> None:
    shop.states.register_state("a1", "account", {})
    at = "/states/a1"

    def schedule(**form: Any) -> Any:
        return ada.post("/states/a1/schedule", {f"timer_{name}": value for name, value in form.items()}, at=at)

    done = ada.follow(schedule(transition="close", after="1.5", after_unit="hours", key="end", data='{"late": true}'))
    assert "a1: close is due at 2026-01-01T13:30" in text_of(done)
    schedule(transition="expire", at="2026-01-02T12:00")
    assert [timer.due_at[:16] for timer in shop.states.list_timers("a1")] == ["2026-01-01T13:30", "2026-01-02T12:00"]
    for form, field in (
        ({"transition": "fly", "after": "1"}, "timer_transition"),
        ({"transition": "close"}, "timer_at"),
        ({"transition": "close", "at": "soon"}, "timer_at"),
        ({"transition": "close", "after": "soon"}, "timer_after"),
        ({"transition": "close", "after": "1", "key": "a b"}, "timer_key"),
        ({"transition": "close", "after": "1", "data": "{"}, "timer_data"),
    ):
        refused = schedule(**form)
        assert refused.status_code == 422
        assert f'id="{field}-errors"' in refused.text, field
    cancelled = ada.post("/states/a1/cancel", {"key": "end", "reason": "no more"}, at=at)
    assert "the timer is cancelled" in text_of(ada.follow(cancelled))
    [left] = shop.states.list_timers("a1")
    assert left.transition == "expire"
    late = ada.post("/states/a1/cancel", {"key": "end"}, at=at)
    assert "the timer has ended already" in text_of(ada.follow(late))
    [timer] = shop.states.list_timers("a1", status="cancelled")
    assert timer.error == "cancelled by ada (admin): no more"


def test_a_timer_that_deletes_asks_first(shop: World, ada: Operator) -> None:
    shop.states.register_state("a1", "account", {"n": 1})
    form = {"timer_transition": "delete", "timer_after": "0", "timer_after_unit": "hours"}
    asked = ada.post("/states/a1/schedule", form, at="/states/a1")
    assert (asked.status_code, shop.states.list_timers("a1")) == (200, [])
    assert "Delete the state a1 when the timer is due?" in text_of(asked)
    assert ada.post("/states/a1/schedule", {**form, "confirmed": "yes"}, at="/states/a1").status_code == 303
    assert [timer.transition for timer in shop.states.list_timers("a1")] == ["delete"]


def test_effects_that_wait_or_were_given_up_are_shown(shop: World, ada: Operator) -> None:
    @shop.states.effect("account_closed")
    def write_letter(*_args: Any) -> None:
        raise RuntimeError("no paper")

    shop.states.register_state("a1", "account", {})
    shop.states.update_state("a1", transition="close")
    words = text_of(ada.get("/states/a1"))
    assert re.search(r"write_letter.* pending of version 2, 0 attempts", words)


def test_secrets_are_revealed_for_a_reason_that_is_logged(
    shop: World, ada: Operator, caplog: pytest.LogCaptureFixture
) -> None:
    shop.states.register_state("a1", "account", {"token": "s3cret"})
    refused = ada.post("/states/a1/reveal", {"reason": " "}, at="/states/a1")
    assert (refused.status_code, "s3cret" in refused.text) == (422, False)
    with caplog.at_level(logging.WARNING, "flask_statemanager.admin"):
        shown = ada.post("/states/a1/reveal", {"reason": "the customer lost it"}, at="/states/a1")
    assert "s3cret" in shown.text
    assert "'ada' has the secrets of the state a1 revealed: 'the customer lost it'" in caplog.text
    shop.states.register_state("a2", "account", {"n": 1})
    assert "Show its secrets" not in text_of(ada.get("/states/a2"))


# -- the editor --------------------------------------------------------------------------------------------------------


def edit(operator: Operator, state_id: str, mode: str = "replace", **form: Any) -> Any:
    at = f"/state-editor/{quote(state_id)}" + ("?mode=merge" if mode == "merge" else "")
    typed = {"data": "{}", "metadata": "{}", **form}
    given = {name: json.dumps(value) if isinstance(value, dict) else value for name, value in typed.items()}
    return operator.post(at, {"mode": mode, **given}, at=at)


def shown_document(operator: Operator, state_id: str, part: str = "data") -> Any:
    found = re.search(
        rf'<textarea id="{part}"[^>]*>(.*?)</textarea>', operator.get(f"/state-editor/{state_id}").text, re.S
    )
    assert found is not None
    return json.loads(html.unescape(found[1]))


def test_a_document_is_replaced_or_merged(shop: World, ada: Operator) -> None:
    shop.states.register_state("a1", "account", {"data": {"a": 1, "b": {"c": 2}}, "metadata": {"m": 1}})
    assert shown_document(ada, "a1") == {"a": 1, "b": {"c": 2}}
    done = edit(
        ada,
        "a1",
        data={"a": 2},
        metadata={"m": 2},
        expect=1,
        reason="wrong",
        name="Ann's",
        owner="ann",
        expires_at="2026-02-01T00:00",
    )
    assert "a1 is saved, as version 2." in text_of(ada.follow(done))
    state = shop.states.get_state("a1")
    assert state is not None
    assert (state.data, state.metadata, state.name, state.owner) == ({"a": 2}, {"m": 2}, "Ann's", "ann")
    assert state.expires_at == "2026-02-01T00:00:00.000000Z"
    edit(ada, "a1", "merge", data={"a": None, "b": {"d": 3}}, expect=2, owner="ann", expires_at=state.expires_at)
    state = shop.states.get_state("a1")
    assert state is not None
    assert (state.data, state.metadata, state.version) == ({"b": {"d": 3}}, {"m": 2}, 3)
    [entry] = shop.states.get_recent_changes("a1", 1)
    assert (entry.actor, entry.source, entry.transition_type) == ("ada", "admin", "update")


def test_an_error_of_the_schema_stands_at_its_field_and_nothing_typed_is_lost(shop: World, ada: Operator) -> None:
    shop.states.register_schema("account", Account)
    shop.states.register_state("a1", "account", {"email": "a@example.com"})
    typed = (
        '{"email": "no address",\n "tags": [1, "two"], "address": {"city": 5}, "more": "'
        + HOSTILE.replace('"', '\\"')
        + '"}'
    )
    refused = edit(ada, "a1", data=typed, expect=1, reason="typing")
    assert refused.status_code == 422
    assert (
        html.unescape(
            refused.text.partition('<textarea id="data"')[2].partition(">")[2].partition("</textarea>")[0]
        ).lstrip("\n")
        == typed
    )
    assert 'value="typing"' in refused.text
    reviewed = html.unescape(
        re.sub("<[^>]*>", "", refused.text.partition('class="reviewed"')[2].partition("</pre>")[0])
    )
    lines = [line.strip() for line in reviewed.splitlines()]
    assert lines[lines.index('"email": "no address"') + 1] == "↑ Not a valid email address."
    assert lines[lines.index('"two"') + 1] == "↑ Not a valid integer."
    assert lines[lines.index('"city": 5') + 1] == "↑ value: Not a valid string."
    assert any(line.startswith('"more":') for line in lines)
    assert re.search(r'<textarea id="data"[^>]*aria-invalid="true"', refused.text)
    missing = edit(ada, "a1", data="{}", expect=1)
    assert "{} ↑ email: Missing data for required field." in text_of(missing)


def test_what_is_no_json_is_told_with_its_place(shop: World, ada: Operator) -> None:
    shop.states.register_state("a1", "account", {"a": 1})
    for typed, told in (
        ('{"a": 1,\n "b" 2}', "Line 2, column 6"),
        ("[1]", "Must be a JSON object"),
        ('{"a": NaN}', "NaN is no JSON"),
        ("[" * 100_000, "nested more than 100 levels deep"),
        ('{"a": ' + "[" * 900 + "]" * 900 + "}", "nested more than 100 levels deep"),
        ('{"a": ' + "[" * 100 + "]" * 100 + "}", "nested more than 100 levels deep"),
        ('{"a": 1, "a": 2}', 'The member "a" is there twice'),
        ('{"a": "\\ud800"}', "\\ud800"),
        ('{"a": 1e999}', "data"),
        ('{"a": "\\u0000"}', "data"),
        ("", "not JSON"),
    ):
        refused = edit(ada, "a1", data=typed, expect=1)
        assert (refused.status_code, told in text_of(refused)) == (422, True), typed[:20]
        assert html.escape(typed[:10], quote=False).replace('"', "&#34;") in refused.text
    assert edit(ada, "a1", metadata="{", expect=1).status_code == 422
    assert edit(ada, "a1", expires_at="soon", expect=1).status_code == 422
    assert edit(ada, "a1").status_code == 422, "without a version nothing is written"
    edit(ada, "a1", data={"a": 1}, owner="ann", expires_at="2026-02-01T00:00", expect=1)
    emptied = edit(ada, "a1", data={"a": 1}, name="", owner=" ", expires_at="", expect=2)
    assert emptied.status_code == 422
    for field in ("name", "owner", "expires_at"):
        assert f'id="{field}-errors"' in emptied.text


def test_a_stale_editor_keeps_what_was_typed_and_shows_what_changed(shop: World, ada: Operator) -> None:
    shop.states.register_state("a1", "account", {"a": 1})
    shop.states.update_state("a1", {"a": 2}, actor="ben")
    refused = edit(ada, "a1", data={"mine": True}, expect=1)
    assert refused.status_code == 409
    words = text_of(refused)
    assert "data.a was - 1 is now + 2" in words
    assert "Save all the same, over version 2" in words
    assert "&#34;mine&#34;: true" in refused.text
    assert 'name="expect" value="2"' in refused.text


def test_a_covered_secret_stays_as_it_is_and_a_new_one_is_taken(shop: World, ada: Operator) -> None:
    secret = {"token": "s3cret", "list": [{"token": "one", "n": 1}, {"token": "two", "n": 2}]}
    shop.states.register_state("a1", "account", secret)
    document = shown_document(ada, "a1")
    assert document == {
        "token": "[redacted]",
        "list": [{"token": "[redacted]", "n": 1}, {"token": "[redacted]", "n": 2}],
    }

    def stored() -> Any:
        state = shop.states.get_state("a1")
        assert state is not None
        return state.data

    edit(ada, "a1", data={**document, "more": 1}, expect=1)
    assert stored() == {**secret, "more": 1}
    edit(ada, "a1", "merge", data={"token": "[redacted]", "more": 2}, expect=2)
    assert stored() == {**secret, "more": 2}
    for wrong in (
        {"other": {"token": "[redacted]"}},
        {"token": "[redacted]", "list": document["list"][::-1]},
        {"list": [{"token": "[redacted]", "n": 3}]},
        {"Token": "[redacted]"},
    ):
        refused = edit(ada, "a1", data=wrong, expect=3)
        assert refused.status_code == 422, wrong
        assert "[redacted] stands for nothing that is stored here" in text_of(refused)
    edit(ada, "a1", data={"token": "new", "list": document["list"][:1]}, expect=3)
    assert stored() == {"token": "new", "list": secret["list"][:1]}


def test_a_huge_document_is_cut_on_its_page_sent_whole_and_edited_by_patches(shop: World, ada: Operator) -> None:
    shop.states.register_state("a1", "account", {"big": "x" * 300_000, "n": 1})
    shown = ada.get("/states/a1")
    assert len(shown.text) < 300_000
    assert "characters more" in shown.text
    assert json.loads(ada.get("/state-file/a1").text)["data"]["n"] == 1
    editor = ada.get("/state-editor/a1")
    assert "too large to be edited whole" in text_of(editor)
    assert len(editor.text) < 30_000
    shop.states.register_state("a2", "account", {"quotes": '"' * 120_000})
    assert "too large to be edited whole" in text_of(ada.get("/state-editor/a2")), "each takes several bytes in a form"
    edit(ada, "a1", "merge", data={"n": 2}, expect=1)
    state = shop.states.get_state("a1")
    assert state is not None
    assert (state.data["n"], len(state.data["big"])) == (2, 300_000)


def test_a_state_is_created_and_what_is_refused_is_kept(shop: World, ada: Operator) -> None:
    def make(**form: Any) -> Any:
        return ada.post("/new-state", {"data": "{}", "metadata": "{}", "type": "account", **form}, at="/new-state")

    shop.states.register_schema("account", Account)
    refused = make(id="a1", data='{"email": 5}', reason="by hand")
    assert refused.status_code == 422
    assert '"email": 5 ↑ Not a valid' in text_of(refused)
    assert ('value="a1"' in refused.text, 'value="by hand"' in refused.text) == (True, True)
    done = make(id="a1", data='{"email": "a@example.com"}', status="trial", owner="ann", name="Ann", reason="by hand")
    assert "a1 is there, as version 1." in text_of(ada.follow(done))
    state = shop.states.get_state("a1")
    assert state is not None
    assert (state.status, state.owner, state.name) == ("trial", "ann", "Ann")
    made = make(type="user", ttl="2", ttl_unit="days")
    [found] = shop.states.get_states_by_type("user")
    assert found.state_id in made.headers["Location"]
    assert found.expires_at == "2026-01-03T12:00:00.000000Z"
    assert make(id="a1", data='{"email": "a@example.com"}').status_code == 409
    for form, field in (
        ({"id": "ä b"}, "id"),
        ({"type": "no"}, "type"),
        ({"status": "closed"}, "status"),
        ({"ttl": "x"}, "ttl"),
    ):
        wrong = make(**{"data": '{"email": "a@example.com"}', **form})
        assert (wrong.status_code, f'id="{field}-errors"' in wrong.text) == (422, True), field


# -- whatever the id, the type and the text ---------------------------------------------------------------------------


@pytest.mark.parametrize("state_id", ODD_IDS)
def test_any_id_is_found_read_moved_and_edited(small: World, state_id: str) -> None:
    small.states.register_state(state_id, "account", {"a": 1})
    ada = Operator(small)
    [href] = re.findall(r'class="id"><a href="/admin/state([^"]*)"', ada.get("/states").text)
    assert f'<h1><span class="id">{html.escape(state_id)}</span>' in ada.get(html.unescape(href)).text
    assert move(ada, state_id, transition="close", expect=1).status_code == 303
    assert edit(ada, state_id, data={"a": 2}, expect=2).status_code == 303
    at = f"/state-rollback/{quote(state_id)}?to=1"
    assert ada.post(at, {"to": 1, "expect": 3}, at=at).status_code == 303
    file = ada.get(f"/state-file/{quote(state_id)}?version=2")
    assert json.loads(file.text)["state_id"] == state_id
    assert re.fullmatch(r"attachment; filename=[\w.-]+-v2\.json", file.headers["Content-Disposition"])
    assert rows(ada.get(f"/states?match=exactly&id={quote(state_id, safe='')}")) == [state_id]


@pytest.mark.parametrize("path", ["a?b", "a#b", "100%", "a b", "käse", "a//b", "../x", "%00", HOSTILE, "x" * 300])
def test_what_can_be_no_id_is_not_found(small: World, path: str) -> None:
    ada = Operator(small)
    for group in ("states", "state-file", "state-editor", "state-rollback"):
        answer = ada.get(f"/{group}/{quote(path, safe='/')}")
        assert answer.status_code == 404
        assert "<script>alert" not in answer.text
        assert "<img" not in answer.text
    assert ada.get("/states/unknown").status_code == 404
    for group in ("state-file", "state-editor", "state-rollback"):
        assert ada.get(f"/{group}/unknown").status_code == 404
    small.states.register_state("a1", "account", {"tags": [1, 2], "empty": {}})
    assert ada.get("/state-file/a1?version=x").status_code == 422
    assert ada.get("/state-file/a1?version=7").status_code == 404
    assert "tags [2], empty {}" in text_of(ada.get("/states"))


def test_hostile_text_is_inert_everywhere(shop: World, ada: Operator) -> None:
    shop.states.register_state(
        "a1",
        "account",
        {"name": HOSTILE, "data": {HOSTILE: HOSTILE}, "metadata": {"x": HOSTILE}},
        owner=HOSTILE,
        actor=HOSTILE,
        source=HOSTILE,
        reason=HOSTILE,
    )
    shop.states.update_state("a1", {HOSTILE: 2}, actor=HOSTILE, reason=HOSTILE)
    shop.states.schedule_transition("a1", "close", after=5, actor=HOSTILE, reason=HOSTILE)
    query = quote(HOSTILE)
    pages = [
        "/states",
        f"/states?text={query}&id={query}&type={query}&status={query}&where={query}&sort={query}",
        "/states/a1",
        "/state-editor/a1",
        "/state-rollback/a1?to=1",
        f"/states/{query}",
        f"/new-state?type={query}",
    ]
    answers = [ada.get(path) for path in pages]
    answers.append(
        edit(ada, "a1", data='{"' + HOSTILE.replace('"', "") + '": NaN}', expect=1, reason=HOSTILE, name=HOSTILE)
    )
    answers.append(move(ada, "a1", transition=HOSTILE, reason=HOSTILE, expect=1))
    answers.append(ada.post("/states/a1/delete", {"reason": HOSTILE}, at="/states/a1"))
    for answer in answers:
        assert "<script>alert" not in answer.text
        assert "<img" not in answer.text
        assert " onerror=alert(2)>" not in answer.text.replace("onerror=alert(2)&gt;", "")


def test_a_type_that_is_not_declared_any_more_is_read_and_found(shop: World, ada: Operator) -> None:
    shop.states.define("gone")
    shop.states.register_state("g1", "gone", {"a": 1})
    shop.states.register_state("a1", "account", {})
    del shop.runtime.declarations.definitions._types["gone"]
    assert rows(ada.get("/states")) == ["a1", "g1"]
    assert rows(ada.get("/states?type=gone")) == ["g1"]
    assert '<option value="gone" selected>' in ada.get("/states?type=gone").text
    words = text_of(ada.get("/states/g1"))
    assert "The type gone is not declared" in words
    assert "by system" in words
    refused = edit(ada, "g1", data={"a": 2}, expect=1)
    assert (refused.status_code, "There is no type 'gone'" in text_of(refused)) == (422, True)
    assert ada.post("/states/g1/transition", {"transition": "close", "expect": 1}, at="/states/a1").status_code == 422


def test_a_final_state_says_so(shop: World, ada: Operator) -> None:
    shop.states.register_state("t1", "account", {}, initial_status="trial")
    shop.states.update_state("t1", transition="end")
    assert "Nothing: ended is final." in text_of(ada.get("/states/t1"))


def test_the_pages_are_the_same_on_postgresql(postgres_url: str) -> None:
    with an_admin_world("postgresql", postgres_url) as world:
        names = fill(stocked(world), 60)
        ada = Operator(world)
        first = ada.get("/states")
        second = ada.get(link(first, "next") or "")
        assert (rows(first), rows(second)) == (names[:25], names[25:50])
        assert rows(ada.get(link(second, "prev") or "")) == names[:25]
        assert rows(ada.get("/states?id=u01&type=user&where=data.n__gt%3D14")) == ["u015", "u017", "u019"]
        assert rows(ada.get("/states?text=%22n%22:%2044,")) == ["u044"]
        assert move(ada, "u000", transition="close", expect=1, data='{"n": 1}').status_code == 303
        stale = edit(ada, "u000", data={"n": 2}, expect=1)
        assert (stale.status_code, "data.n was - 0 is now + 1" in text_of(stale)) == (409, True)
        assert edit(ada, "u000", data={"n": 2}, expect=2).status_code == 303
        at = "/state-rollback/u000?to=1"
        assert ada.post(at, {"to": 1, "expect": 3}, at=at).status_code == 303
        assert [event.version for event in world.states.get_recent_changes("u000")] == [4, 3, 2, 1]
        assert len(ada.get("/states.csv").text.splitlines()) == 61


# -- how much is asked of the database --------------------------------------------------------------------------------


@pytest.fixture
def counted(caplog: pytest.LogCaptureFixture) -> Callable[[Callable[[], Any]], int]:
    """Count the statements that the backend sends during a call."""

    def count(call: Callable[[], Any]) -> int:
        caplog.clear()
        with caplog.at_level(logging.DEBUG, "flask_statemanager.sql"):
            answer = call()
            assert (answer.status_code, bool(answer.text)) == (200, True)
        return len([record for record in caplog.records if record.name == "flask_statemanager.sql"])

    return count


def test_each_page_sends_few_statements_however_much_it_shows(tmp_path: Any, counted: Any) -> None:
    with an_admin_world("sqlite", f"sqlite:///{tmp_path / 'shop.sqlite'}") as world:
        fill(stocked(world), 60)
        for number in range(30):
            world.states.update_state("u000", {"n": number})
            world.states.schedule_transition("u000", "close", after=60 + number)
        ada = Operator(world)
        ada.get("/states")
        pages = {
            "/states": 2,
            "/states?size=50": 2,
            "/states?type=user&sort=-updated_at": 1,
            "/states?id=u001&match=exactly": 1,
            "/states/u000": 4,
            "/states/u001": 4,
            "/state-file/u000": 1,
            "/state-editor/u000": 1,
            "/state-rollback/u000?to=3": 2,
            "/new-state": 0,
            "/states.csv": 2,
        }
        assert {path: counted(lambda path=path: ada.get(path)) for path in pages} == pages
