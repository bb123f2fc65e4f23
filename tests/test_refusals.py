"""Refusals: the latest of what was not allowed is kept for operators, whoever asks how often."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import flask
import pytest

from flask_statemanager import ConfigurationError, GuardFailed, Machine, Transition, TransitionNotAllowed
from flask_statemanager.core.query import ChangeQuery
from flask_statemanager.kv.store import KeyValueStore
from flask_statemanager.refusing import SLOTS, Kept, book_of
from flask_statemanager.tracking.refusals import FORBIDDEN, GUARD, MOST, OTHERS, RATE, STATUS, UNKNOWN, Refusals
from tests.admin_client import PREFIX, Operator, an_admin_world
from tests.worlds import KV_KINDS, World, build, entered, kept_by, uri_for

PATIENCE = 60.0
ON = {"STATEMANAGER_KEEP_REFUSALS": True}
MACHINE = Machine(
    initial="new",
    transitions=[Transition("pay", "new", "paid", guards=[lambda old, new: False]), Transition("send", "paid", "sent")],
)


@pytest.fixture(params=KV_KINDS)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    config = dict(ON)
    if request.param == "redis":
        config |= kept_by(request.getfixturevalue("redis_url"))
    kind = "sqlite" if request.param == "redis" else request.param
    yield from entered(build(kind, uri_for(kind, tmp_path, request), **config))


@pytest.fixture
def sqlite(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    yield from entered(build("sqlite", uri_for("sqlite", tmp_path, request), **ON))


def latest(world: World) -> list[Kept]:
    assert world.runtime.refusals.flush(PATIENCE)
    return book_of(world.runtime).latest()


def refused(world: World, *whats: str, kind: str = FORBIDDEN) -> None:
    for what in whats:
        world.runtime.refusals.note(kind, "api", what, who="ada")


def test_a_refused_transition_is_kept_with_who_and_why(world: World) -> None:
    world.states.define("order", MACHINE)
    world.states.register_state("o:1", "order")
    with pytest.raises(TransitionNotAllowed):
        world.states.update_state("o:1", transition="send", actor="ada")
    (found,) = latest(world)
    assert (found.kind, found.face, found.what, found.who, found.target) == (STATUS, "states", "send", "ada", "o:1")
    assert found.why is not None
    assert "send" in found.why
    assert (found.first, found.last, found.times) == (world.clock.now(), world.clock.now(), 1)


def test_a_failed_guard_is_a_kind_of_its_own(sqlite: World) -> None:
    sqlite.states.define("order", MACHINE)
    sqlite.states.register_state("o:1", "order")
    with pytest.raises(GuardFailed) as error:
        sqlite.states.update_state("o:1", transition="pay")
    (found,) = latest(sqlite)
    assert (found.kind, found.why) == (GUARD, str(error.value))


def test_the_newest_come_first_and_what_is_alike_is_counted(world: World) -> None:
    refused(world, "a", "b")
    world.clock.advance(1)
    refused(world, *["a"] * 7)
    found = latest(world)
    # Eight times by now, and written at the eighth.
    assert [(each.what, each.times) for each in found] == [("a", 8), ("b", 1)]
    assert found[0].last - found[0].first == timedelta(seconds=1)


def test_a_minute_later_the_same_is_another(sqlite: World) -> None:
    refused(sqlite, "a")
    sqlite.clock.advance(61)
    refused(sqlite, "a")
    assert [each.times for each in latest(sqlite)] == [1, 1]


def test_a_flood_of_what_is_not_alike_is_counted_together(sqlite: World) -> None:
    refused(sqlite, *(f"w{number}" for number in range(MOST + 64)))
    refused(sqlite, "other", kind=RATE)
    found = latest(sqlite)
    assert len(found) == MOST + 2
    (others,) = [each for each in found if each.what == OTHERS]
    assert (others.times, others.who, others.kind) == (64, None, FORBIDDEN)


def test_a_flood_of_one_kind_drives_out_none_of_another(sqlite: World) -> None:
    refused(sqlite, "kept", kind=STATUS)
    for minute in range(SLOTS // MOST + 1):
        sqlite.clock.advance(61)
        refused(sqlite, *(f"w{minute}-{number}" for number in range(MOST)), kind=UNKNOWN)
    found = latest(sqlite)
    assert len(found) == SLOTS + 1
    assert found[-1].what == "kept"
    assert "w0-0" not in {each.what for each in found}


def test_several_processes_write_into_one_ring(sqlite: World) -> None:
    """Two processes are two of what gathers; neither takes the place of what the other has just written."""
    book = book_of(sqlite.runtime)
    batches: list[list[Any]] = []
    for _process in range(2):
        mine: list[Any] = []
        gathers = Refusals(sqlite.clock)
        gathers.keep(mine.append, bool)
        for number in range(3):
            gathers.note(FORBIDDEN, "api", f"w{number}")
        batches.append(mine)
    for mine in batches:
        book.write(mine)
    assert len(book.latest()) == 6


def test_a_refusal_that_was_passed_in_the_ring_takes_no_place_back(sqlite: World) -> None:
    book, mine = book_of(sqlite.runtime), []
    gathers = Refusals(sqlite.clock)
    gathers.keep(mine.append, bool)
    gathers.note(FORBIDDEN, "api", "old")
    book.write(mine)
    sqlite.clock.advance(5)
    others: list[Any] = []
    for minute in range(SLOTS // MOST + 1):
        sqlite.clock.advance(61)
        later = Refusals(sqlite.clock)
        later.keep(others.append, bool)
        for number in range(MOST):
            later.note(FORBIDDEN, "api", f"w{minute}-{number}")
    book.write(others)
    book.write(mine)
    assert "old" not in {each.what for each in book.latest()}


def test_refusals_expire(world: World) -> None:
    refused(world, "a")
    assert latest(world)
    world.clock.advance(8 * 86400)
    assert latest(world) == []


def test_what_was_sent_is_not_kept(sqlite: World) -> None:
    """An address is one or nothing, and names have an end and no control characters."""
    note = sqlite.runtime.refusals.note
    note(UNKNOWN, "api", "x\x1b[2J<script>" + "y" * 1000, address="<script>", why="z" * 5000)
    note(UNKNOWN, "api", None, address="2001:db8::1")
    found = {each.address: each for each in latest(sqlite)}
    hostile = found[None]
    assert len(hostile.what) <= 255
    assert "\x1b" not in hostile.what
    assert hostile.why is not None
    assert len(hostile.why) <= 500
    assert found["2001:db8::1"].what == ""


def test_the_bucket_is_nobodys_and_in_no_snapshot(sqlite: World) -> None:
    with pytest.raises(ConfigurationError, match="what was refused"):
        sqlite.states.bucket("refusals").kv.get("status:000")
    assert "refusals" not in sqlite.states.snapshots.create_snapshot().buckets


def test_damage_in_the_bucket_is_left_out(sqlite: World) -> None:
    refused(sqlite, "a", "b")
    assert len(latest(sqlite)) == 2
    parts = sqlite.runtime.shelves.kept("refusals")
    KeyValueStore(lambda: parts).set("forbidden:000", {"no": "refusal"})
    assert [each.what for each in latest(sqlite)] == ["b"]


def test_changes_of_the_bucket_are_cleared_away_without_a_worker(
    sqlite: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flask_statemanager.refusing.TIDY", 0.0)
    for _time in range(4):
        refused(sqlite, "a")
        assert latest(sqlite)
        sqlite.clock.advance(120)
    with sqlite.runtime.backend.reading() as unit:
        kept = sqlite.runtime.backend.changes(unit, ChangeQuery("refusals"))
    assert len(kept) < 8


def test_nothing_is_kept_where_the_settings_do_not_say_so(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    for world in entered(build("sqlite", uri_for("sqlite", tmp_path, request))):
        refused(world, "a")
        assert not world.runtime.refusals.kept
        assert latest(world) == []


def test_in_memory_sqlite_keeps_them_in_the_process(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """The application has a transaction open on the one connection meanwhile."""
    for world in entered(build("in memory", "sqlite://", **ON)):
        world.db.session.add(world.note(text="not committed"))
        world.db.session.flush()
        refused(world, "a")
        assert [each.what for each in latest(world)] == ["a"]
        world.db.session.rollback()
        assert world.db.session.query(world.note).count() == 0


def test_whom_the_api_turns_away_is_kept(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """With the endpoint instead of the path, so that nobody leaves text there."""
    config = {
        **ON,
        "STATEMANAGER_API_ENABLED": True,
        "STATEMANAGER_API_TOKENS": {"0" * 64: {"user": "nobody"}},
    }
    for world in entered(build("sqlite", uri_for("sqlite", tmp_path, request), **config)):
        client = world.app.test_client()
        world.states.identity_loader(sent_user)
        assert client.get("/api/v1/state/keys/secret-text?token=s3cret").status_code == 401
        answer = client.put("/api/v1/state/keys/a", json={"value": 1}, headers={"X-User": "ada"})
        assert answer.status_code == 403
        found = {each.kind: each for each in latest(world)}
        assert found.keys() == {UNKNOWN, FORBIDDEN}
        assert (found[FORBIDDEN].who, found[FORBIDDEN].address) == ("ada", "127.0.0.1")
        assert found[FORBIDDEN].what.startswith("statemanager_api.set_key")
        assert found[UNKNOWN].who is None
        assert "secret-text" not in repr(found[UNKNOWN])
        assert "s3cret" not in repr(found)


def test_whom_the_admin_pages_turn_away_is_kept() -> None:
    """Where they are on, refusals are kept without being asked for."""
    with an_admin_world(STATEMANAGER_ADMIN_RATE=1) as world:
        assert Operator(world, None).get("/").status_code == 401
        assert Operator(world, "ben", ("service",)).get("/health").status_code == 403
        ada = Operator(world)
        token = ada.token("/keys/kv/new")
        act = [
            ada.client.post(PREFIX + "/keys/kv/create", data={"admin_token": token}).status_code for _time in range(2)
        ]
        assert act[1] == 429
        ada.client.post(
            PREFIX + "/keys/kv/create", data={"admin_token": token}, headers={"Sec-Fetch-Site": "cross-site"}
        )
        found = {(each.kind, each.who) for each in latest(world)}
        assert found == {(UNKNOWN, None), (FORBIDDEN, "ben"), (RATE, "ada"), (FORBIDDEN, "ada")}


def sent_user() -> tuple[str, list[str]] | None:
    user = flask.request.headers.get("X-User")
    return None if user is None else (user, ["reader"])


def test_a_store_that_fails_costs_nobody_anything(sqlite: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: object, **_kwargs: object) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr("flask_statemanager.refusing.Together.write", fail)
    refused(sqlite, "a")
    with suppress(AssertionError):
        latest(sqlite)
    assert sqlite.runtime.counters.value("refusals.dropped") == 1


def test_a_joined_write_that_is_refused_leaves_the_transaction_as_it_was(sqlite: World) -> None:
    sqlite.states.define("order", MACHINE)
    sqlite.states.register_state("o:1", "order")
    with sqlite.states.transaction(sqlite.db.session), pytest.raises(TransitionNotAllowed):
        sqlite.states.update_state("o:1", transition="send")
    sqlite.db.session.rollback()
    assert [each.target for each in latest(sqlite)] == ["o:1"]
