"""The admin pages of what was done and what was refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flask_statemanager import TransitionNotAllowed
from flask_statemanager.admin import audit
from tests.admin_client import ADMIN, Operator, an_admin_world, text_of, with_logins
from tests.worlds import World, build, entered, kept_by, uri_for


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def any_world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    yield from entered(with_logins(build(request.param, uri_for(request.param, tmp_path, request), **ADMIN)))


@pytest.fixture
def world() -> Iterator[World]:
    with an_admin_world() as world:
        yield world


@pytest.fixture
def ada(world: World) -> Operator:
    return Operator(world)


def lived(world: World) -> None:
    world.states.register_state("u1", "user", {"data": {"password": "hunter2"}}, actor="bob", reason="signed up")
    world.clock.advance(3600)
    world.states.update_state("u1", transition="activate", actor="eve", source="mail")
    world.states.kv.set("k1", "s3cret", actor="bob")


def found(operator: Operator, query: str = "") -> str:
    page = operator.get(f"/audit?{query}")
    assert page.status_code == 200
    assert "hunter2" not in page.text
    assert "s3cret" not in page.text
    text = text_of(page)
    return text[text.index("Clear") :]


def test_who_did_what_is_found_by_any_of_it(any_world: World) -> None:
    ada = Operator(any_world)
    assert "Nothing was found." in found(ada)
    lived(any_world)
    everything = found(ada)
    assert everything.index("eve") < everything.index("bob")
    assert "created → active" in everything
    assert "k1" not in everything
    assert "k1" in found(ada, "bucket=*")
    assert "k1" in found(ada, "bucket=kv&actor=bob")
    for query in ("actor=eve", "event=activate", "source=mail", "status=active", "since=2026-01-01+12:30"):
        text = found(ada, query)
        assert "eve" in text, query
        assert "signed up" not in text, query
    for query in ("reason=SIGNED", "until=2026-01-01T12:30", "name=u1&actor=bob"):
        text = found(ada, query)
        assert "signed up" in text, query
        assert "mail" not in text, query
    assert "Nothing was found." in found(ada, "actor=nobody")


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("since=yesterday", "'yesterday' is no moment"),
        ("before=x", "This is no page"),
        ("bucket=nowhere", "There is no bucket"),
        ("bucket=*&name=u1", "Choose the bucket"),
        ("actor=a%00b", "cannot be in any change"),
    ],
)
def test_what_cannot_be_asked_for_is_said_with_what_was_typed(
    world: World, ada: Operator, query: str, sentence: str
) -> None:
    assert sentence in found(ada, query)


def test_a_search_goes_on_and_says_how_far_it_came(
    world: World, ada: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "PAGE", 2)
    monkeypatch.setattr(audit, "LOOK_AT", 4)
    for number in range(6):
        world.states.register_state(f"u{number}", "user", actor="bob" if number else "rare")
    first = ada.get("/audit?actor=rare")
    assert "Nothing was found so far." in text_of(first)
    assert "Searched back to 2026-01-01 12:00:00" in text_of(first)
    further = ada.get("/audit?actor=rare&before=3")
    assert "u0" in text_of(further)
    assert 'href="/admin/state/audit?actor=rare&amp;before=3"' in first.text
    assert "Newest" in text_of(further)


def test_a_log_that_cannot_be_searched_is_said_to_be_one(redis_url: str, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'world.sqlite'}"
    for world in entered(with_logins(build("sqlite", uri, **ADMIN, **kept_by(redis_url)))):
        assert "lies in redis, whose log cannot be searched" in found(Operator(world), "bucket=kv")


def test_hostile_text_of_a_change_stays_text(world: World, ada: Operator) -> None:
    world.states.register_state("u1", "user", actor="<script>alert(1)</script>", reason="<img src=x>")
    page = ada.get("/audit").text
    assert "<script>alert" not in page
    assert "<img" not in page
    assert "&lt;script&gt;" in page


# -- what was refused --------------------------------------------------------------------------------------------------


def refused(world: World, operator: Operator, query: str = "") -> str:
    assert world.runtime.refusals.flush(60.0)
    return text_of(operator.get(f"/refusals?{query}"))


def test_refusals_are_listed_and_filtered(world: World, ada: Operator) -> None:
    assert "Nothing was refused." in refused(world, ada)
    world.states.register_state("u1", "user")
    with pytest.raises(TransitionNotAllowed):
        world.states.update_state("u1", transition="resume", actor="bob")
    Operator(world, "ben", ("service",)).get("/")
    everything = refused(world, ada)
    for word in ("bob", "u1", "does not allow", "ben", "127.0.0.1"):
        assert word in everything
    assert "Refused transitions of this process" in everything
    assert "ben" not in refused(world, ada, "kind=status")
    assert "bob" not in refused(world, ada, "who=127.0.0.1").partition("Refused transitions")[0]
    assert "that fits" in refused(world, ada, "who=nobody")


def test_refusals_have_pages(world: World, ada: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "PAGE", 2)
    for number in range(3):
        world.runtime.refusals.note("rate", "admin", f"act-{number}", who="ben")
        world.clock.advance(1)
    assert "act-0" not in refused(world, ada)
    assert "act-0" in refused(world, ada, "after=2")
    assert ada.get("/refusals?after=x").status_code == 422


def test_where_refusals_are_not_kept_the_page_says_how_to_keep_them() -> None:
    with an_admin_world(STATEMANAGER_KEEP_REFUSALS=False) as world:
        assert "STATEMANAGER_KEEP_REFUSALS" in text_of(Operator(world).get("/refusals"))
