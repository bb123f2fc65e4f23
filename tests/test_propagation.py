"""To whom changes are told: owners, whole segments of keys, what is everybody's, and an application's own rule."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest
from msgspec.structs import replace

from flask_statemanager import Change, Key, Reach, Record
from flask_statemanager.core.record import Origin
from flask_statemanager.tracking.propagation import (
    FULL,
    NOBODY,
    Propagation,
    PropagationSource,
    Sight,
    without_members,
)

NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)


def record(name: str, owner: str | None = None) -> Record:
    return Record(Key("kv", name), name, "kv", "set", {"value": 1}, {}, 1, 1, owner, 1, NOON, NOON)


def change(before: Record | None, after: Record) -> Change:
    return Change(1, after.key, 1, "set", before, after, Origin("system"), NOON)


@pytest.mark.parametrize(
    ("name", "user", "seen"),
    [
        ("user:1:prefs", "1", True),
        ("user:12:prefs", "1", False),
        ("user/1/prefs", "1", True),
        ("1", "1", True),
        ("session:user123", "user123", True),
        ("session:user1234", "user123", False),
        ("a::b", "", False),
        ("org:7:x", "org:7", False),
        ("global:theme", "anybody", True),
        ("market:BTC-USD", "anybody", True),
        ("globals:theme", "anybody", False),
        ("cache:market:BTC", "anybody", False),
    ],
)
def test_a_user_is_told_of_whole_segments_and_of_what_is_everybodys(name: str, user: str, seen: bool) -> None:
    assert Propagation().reach(record(name)).covers(user) is seen


def test_an_owner_is_told_whatever_its_id_holds() -> None:
    reach = Propagation().reach(record("x", "org:7"))
    assert reach.covers("org:7")
    assert not reach.covers("org")
    assert not reach.covers(None)


@pytest.mark.parametrize("bucket", ["stores", "stores-kept"])
def test_nobody_is_told_of_a_store_for_being_called_as_it_is(bucket: str) -> None:
    stored = replace(record("u:ada/s:filters"), key=Key(bucket, "u:ada/s:filters"))
    assert Propagation(["u:"]).reach(stored) == NOBODY
    assert Propagation().reach(record("u:ada/s:filters")).covers("filters")


def test_what_is_everybodys_can_be_declared() -> None:
    reach = Propagation(["news:"]).reach
    assert reach(record("news:1")).covers(None)
    assert not reach(record("market:1")).covers("anybody")


def test_who_loses_or_gets_a_record_sees_its_own_side_only() -> None:
    reaches = Propagation().reaches(change(record("x", "old"), record("x", "new")))
    assert reaches.sight("old") == Sight(True, False)
    assert reaches.sight("new") == Sight(False, True)
    assert not reaches.sight("other")
    assert Propagation().reaches(change(None, record("x", "new"))).sight("new") == FULL


def test_an_application_has_a_rule_of_its_own() -> None:
    def team(found: Record, reach: Reach) -> Reach:
        return Reach(reach.everyone, reach.users | {"bob"})

    propagation = Propagation(source=PropagationSource(team))
    assert propagation.reach(record("x", "ada")) == Reach(False, frozenset(("x", "ada", "bob")))


def test_where_the_rule_fails_only_administrators_are_told(caplog: pytest.LogCaptureFixture) -> None:
    failures: list[int] = []
    rules: list[Any] = [lambda found, reach: 1 / 0, lambda found, reach: True]
    for rule in rules:
        propagation = Propagation(source=PropagationSource(rule), failed=lambda: failures.append(1))
        assert propagation.reach(record("global:x", "ada")) == NOBODY
    assert len(failures) == 2
    assert caplog.text.count("The rule of propagation failed on kv:global:x version 1.") == 2


def test_members_are_left_out_at_any_depth() -> None:
    value = {"Password": 1, "a": [{"token": 2, "b": 3}], "c": {"password": {"d": 4}}, "e": "token"}
    assert without_members(value, frozenset(("password", "token"))) == {"a": [{"b": 3}], "c": {}, "e": "token"}
    assert value["Password"] == 1
    assert replace(record("x")).data == {"value": 1}
