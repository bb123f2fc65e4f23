"""The overview and the health page: what is counted, at which cost, and that nothing secret is shown."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from flask_statemanager import TransitionNotAllowed
from flask_statemanager.admin import facts, figures
from flask_statemanager.admin.charts import Point, bars, donut, lines, strip
from flask_statemanager.admin.figures import SPANS
from flask_statemanager.admin.remembering import Memory
from flask_statemanager.backends.sql.connection import SqlUnit
from flask_statemanager.errors import Compacted, StorageUnavailable
from tests.admin_client import ADMIN, Operator, text_of, with_logins
from tests.worlds import World, build, entered, uri_for

KINDS = ("memory", "sqlite", "postgresql")


@pytest.fixture(params=KINDS)
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """An application with admin pages, in each storage."""
    world = with_logins(build(request.param, uri_for(request.param, tmp_path, request), **ADMIN))
    yield from entered(world)


@pytest.fixture
def memory_shop() -> Iterator[World]:
    yield from entered(with_logins(build("memory", "sqlite://", **ADMIN)))


@pytest.fixture
def sqlite_shop(tmp_path: Path) -> Iterator[World]:
    uri = f"sqlite:///{tmp_path / 'shop.sqlite'}"
    yield from entered(with_logins(build("sqlite", uri, **ADMIN)))


def fill(world: World) -> None:
    """Register 30 users in two hours, of whom 20 are active, and 4 sessions; two transitions are refused."""
    for number in range(30):
        world.states.register_state(f"user_{number}", "user", {}, actor="signup")
        if number % 3:
            world.states.update_state(f"user_{number}", transition="activate", actor="ada")
        world.clock.advance(240)
    for number in range(4):
        world.states.register_state(f"session_{number}", "session", {})
    for _ in range(2):
        with pytest.raises(TransitionNotAllowed):
            world.states.update_state("user_1", transition="activate")


# -- the overview ------------------------------------------------------------------------------------------------------


def test_the_overview_says_how_things_are(shop: World) -> None:
    ada = Operator(shop)
    empty = text_of(ada.get())
    assert "There are no states yet." in empty
    assert "Nothing has changed within 24 hours." in empty
    fill(shop)
    shop.app.testing = False
    page = text_of(ada.get("/?fresh=1"))
    assert "States 34 of 5 types" in page
    assert "Changes 54 in 24 hours" in page
    assert "Dead letters 0" in page
    assert "Refused 2 transitions, in this process" in page
    assert "activate 2 Counted in this process since it began" in page
    assert "Feed lag 0 no change is held back" in page
    assert "user 30" in page
    assert "active 20" in page
    assert "created 10" in page
    assert "session_3 create created" in page
    assert "create 34 activate 20" in page
    assert "None of: feature, subscription, transaction." in page


def test_the_numbers_are_kept_for_some_seconds_and_their_age_is_said(memory_shop: World) -> None:
    ada = Operator(memory_shop)
    assert "Counted just now." in text_of(ada.get())
    memory_shop.states.register_state("late", "user", {})
    assert "States 0" in text_of(ada.get())
    assert "States 1" in text_of(ada.get("/?fresh=1"))


def test_each_stretch_of_time_has_its_bars(memory_shop: World) -> None:
    fill(memory_shop)
    ada = Operator(memory_shop)
    for span in SPANS.values():
        page = ada.get(f"/?span={span.name}").text
        assert page.count('class="hit"') == span.bars
        assert f'aria-current="true">{span.title}<' in page
    assert 'aria-current="true">24 hours<' in ada.get("/?span=nonsense").text


def test_changes_fall_into_the_bar_of_their_time(shop: World) -> None:
    fill(shop)
    activity = figures.activity(shop.runtime, SPANS["day"])
    assert (sum(activity.counts), activity.about, activity.since) == (54, False, None)
    ends = activity.begins[-1] + SPANS["day"].step
    assert ends - SPANS["day"].step <= shop.clock.now() < ends
    assert activity.counts[-1] == 4, "the sessions"
    assert activity.counts[-5:-1] == [13, 12, 13, 12]
    shop.clock.advance(timedelta(days=2).total_seconds())
    later = figures.activity(shop.runtime, SPANS["day"])
    assert (sum(later.counts), later.newest, later.about) == (0, [], False)


def test_of_a_busy_store_the_bars_are_estimated(shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "DEEDS", 20)
    for number in range(200):
        shop.states.register_state(f"user_{number}", "user", {})
        shop.clock.advance(100)
    activity = figures.activity(shop.runtime, SPANS["day"])
    assert activity.about
    assert activity.since == activity.newest[-1].at
    assert sum(activity.counts) == 200
    # 18 in each half hour, and 0 before.
    assert activity.counts[:36] == [0] * 36
    assert all(17 <= number <= 19 for number in activity.counts[-11:-1])
    shop.app.testing = False
    page = text_of(Operator(shop).get())
    assert "Changes ≈ 200" in page
    assert "the bars are estimates" in page
    assert "Of the newest 20 changes, since" in page


def test_many_states_are_estimated(shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "EXACT_TO", 10)
    fill(shop)
    found = {each.name: each for each in figures.by_type(shop.runtime)}
    assert found["session"].total == figures.Number(4)
    assert found["user"].total.about
    assert found["user"].total.value > 10
    statuses = dict(found["user"].statuses)
    assert statuses["created"] == figures.Number(10)
    assert statuses["active"].about
    if shop.kind == "memory":
        assert found["user"].total.value == 30


def test_states_past_their_expiry_are_told_of(shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "LAPSED_TO", 2)
    for number in range(3):
        shop.states.register_state(f"session_{number}", "session", {}, ttl=60)
    assert figures.lapsed(shop.runtime) == figures.Number(0)
    shop.clock.advance(61)
    assert figures.lapsed(shop.runtime) == figures.Number(2, about=True)
    assert "More than 2 of them are past the expiry" in text_of(Operator(shop).get())


def test_a_page_costs_a_bounded_number_of_statements(sqlite_shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    statements: list[Any] = []
    run = SqlUnit.run

    def seen(unit: SqlUnit, statement: Any, *arguments: Any, **more: Any) -> Any:
        # Not what the thread does that writes refusals down.
        if threading.current_thread() is threading.main_thread():
            statements.append(statement)
        return run(unit, statement, *arguments, **more)

    ada = Operator(sqlite_shop)

    def cost(path: str) -> int:
        statements.clear()
        assert ada.get(path).status_code == 200
        return len(statements)

    fill(sqlite_shop)
    monkeypatch.setattr(SqlUnit, "run", seen)
    few = cost("/?fresh=1")
    for number in range(100):
        sqlite_shop.states.register_state(f"more_{number}", "user", {})
    assert cost("/?fresh=1") == few
    assert 0 < cost("/") < few / 2


def test_what_the_feed_cannot_pass_is_told(memory_shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(memory_shop)
    watches = memory_shop.runtime.backend
    passed = watches.follow("state", "0", limit=50).cursor
    follow = watches.follow

    def held(bucket: str, cursor: str, **more: Any) -> Any:
        page = follow(bucket, cursor, **more)
        return type(page)([], passed)

    monkeypatch.setattr(watches, "follow", held)
    memory_shop.clock.advance(30)
    found = figures.feed(memory_shop.runtime)
    assert found is not None
    assert (found.behind, found.seconds >= 30) == (4, True)
    page = text_of(Operator(memory_shop).get())
    assert "Feed lag 4 changes held back, for" in page

    def compacted(bucket: str, cursor: str, **_more: Any) -> Any:
        raise Compacted(cursor, "1")

    monkeypatch.setattr(watches, "follow", compacted)
    assert figures.feed(memory_shop.runtime) is None
    assert "the log was shortened just now" in text_of(Operator(memory_shop).get("/?fresh=1"))


def test_a_storage_that_is_away_is_an_admin_page_that_tells_nothing_of_the_inside(
    memory_shop: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_arguments: Any, **_more: Any) -> Any:
        raise StorageUnavailable("connection to 10.1.2.3 refused")

    monkeypatch.setattr(memory_shop.runtime.backend, "count", away)
    answer = Operator(memory_shop).get()
    assert answer.status_code == 503
    assert "10.1.2.3" not in answer.text
    assert "The storage cannot be reached" in text_of(answer)
    health = Operator(memory_shop).get("/health")
    assert health.status_code == 200
    assert "unhealthy" in text_of(health)


def test_what_is_wrong_is_on_top(memory_shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_shop.runtime.shelves, "warnings", lambda: ["Redis may throw away keys."])
    page = text_of(Operator(memory_shop).get())
    assert "Degraded. Redis may throw away keys. Look at the health page" in page
    assert "Redis may throw away keys." in text_of(Operator(memory_shop).get("/health"))


# -- the health page ---------------------------------------------------------------------------------------------------

SECRETS: dict[str, Any] = {
    "STATEMANAGER_API_TOKENS": {"ab" * 32: {"user": "automaton", "roles": ["admin"]}},
    "STATEMANAGER_REDIS_URL": "redis://:s3cret@redis.example:6379/0?password=s3cret",
    "STATEMANAGER_STORES_DATABASE_URL": "postgresql://ada:s3c@ret/@db.example/shop?sslpassword=s3cret&a=1",
    "STATEMANAGER_CACHE_URL": "redis://user:s3cret@redis.example/1",
    "STATEMANAGER_SNAPSHOTS": "s3://key:s3cret@bucket/path",
    "STATEMANAGER_CACHE": "off",
}


def test_no_secret_is_shown_of_the_settings() -> None:
    for world in entered(with_logins(build("memory", "sqlite://", **ADMIN))):
        settings = type(world.runtime.settings).from_mapping(SECRETS)
        world.runtime.settings = settings
        answer = Operator(world).get("/health")
        assert answer.status_code == 200
        for secret in ("s3c", "abab", "automaton"):
            assert secret not in answer.text
        page = text_of(answer)
        assert "[redacted], 1 of them" in page
        assert "redis://[redacted]@redis.example:6379/0?password=[redacted]" in page
        assert "postgresql://[redacted]@db.example/shop?sslpassword=[redacted]&a=[redacted]" in page


def test_the_health_page_tells_what_the_application_runs_on(shop: World) -> None:
    shop.app.testing = False
    page = text_of(Operator(shop).get("/health"))
    assert "Flask-StateManager 0.1.0" in page
    assert "STATEMANAGER_ADMIN_ENABLED yes Whether" in page
    assert "flows" in page
    assert "auth.token" in page
    assert "Other processes count for themselves." in page
    if shop.kind == "memory":
        assert "nothing outlives the process" in page
        assert "Check the tables" not in page
    else:
        assert f"Kind {shop.kind}" in page
        assert "made by the application, no revision noted" in page
        assert "The tables are what this version needs." in text_of(Operator(shop).get("/health?check=tables"))


def test_the_noted_revision_is_compared_with_the_newest(sqlite_shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    migration = facts.import_module(facts._MIGRATION)
    monkeypatch.setattr(migration, "current", lambda backend: migration.newest())
    assert facts.database(sqlite_shop.runtime)["Tables"].endswith(", the newest")
    monkeypatch.setattr(migration, "current", lambda backend: "0001")
    assert "run 'flask state db upgrade'" in facts.database(sqlite_shop.runtime)["Tables"]

    def away(*_arguments: Any) -> Any:
        raise StorageUnavailable("The database is away.")

    monkeypatch.setattr(migration, "current", away)
    assert facts.database(sqlite_shop.runtime)["Tables"] == "The database is away."
    monkeypatch.setattr(sqlite_shop.runtime.backend, "reading", away)
    assert facts.database(sqlite_shop.runtime)["Error"] == "The database is away."


# -- memory and charts -------------------------------------------------------------------------------------------------


def test_a_crowd_has_a_number_counted_once(memory_shop: World) -> None:
    now = [0.0]
    memory, made = Memory(10, most=2, timer=lambda: now[0]), []
    counting, go = threading.Event(), threading.Event()

    def make() -> int:
        made.append(1)
        counting.set()
        assert go.wait(60)
        return len(made)

    runtime = memory_shop.runtime
    answers: list[int] = []
    crowd = [threading.Thread(target=lambda: answers.append(memory.get(runtime, "a", make).value)) for _ in range(4)]
    for each in crowd:
        each.start()
    assert counting.wait(60)
    go.set()
    for each in crowd:
        each.join(60)
    assert answers == [1, 1, 1, 1]
    now[0] = 9.0
    assert memory.get(runtime, "a", make).age == 9.0
    now[0] = 10.0
    assert memory.get(runtime, "a", make).value == 2
    for key in "bcd":
        memory.get(runtime, key, make)
    assert sum(map(len, memory._kept.values())) <= 2


def test_bars_have_round_numbers_at_their_axis() -> None:
    for values, expected in (
        ([0, 0], ["1"]),
        ([3, 1], ["1", "2", "3"]),
        ([26], ["10", "20", "30"]),
        ([1234], ["500", "1,000", "1,500"]),
    ):
        chart = bars("Some", [Point(f"{at}", value, mark=f"m{at}") for at, value in enumerate(values)])
        assert [mark.text for mark in chart.up] == expected
        assert [mark.text for mark in chart.across] == [f"m{at}" for at in range(len(values))]
        assert all(0 <= shape.y <= 150 and shape.x + shape.width <= 100 for shape in chart.shapes)
        assert [row[1] for row in chart.rows] == [f"{value:,}" for value in values]
    assert bars("None", []).shapes == []


def test_shares_fill_a_strip_and_a_ring() -> None:
    points = [Point("a", 1), Point("b", 0), Point("c", 3)]
    found = strip("Some", points, ["p-good"])
    assert [(shape.x, shape.width) for shape in found.shapes] == [(0, 25), (25, 0), (25, 75)]
    assert [shape.colour for shape in found.shapes] == ["p-good", "c2", "c3"]
    assert [shape.width for shape in strip("None", [Point("a", 0)]).shapes] == [0]
    ring = donut("Some", points)
    assert [shape.label for shape in ring.shapes] == ["a: 1", "c: 3"]
    assert ring.shapes[0].path.startswith("M 50.0 2.0 A 48.0 48.0 0 0 1 98.0 50.0")
    assert "0 1 1" in donut("One", [Point("a", 1)]).shapes[0].path
    assert donut("None", []).shapes == []


def test_lines_share_an_axis() -> None:
    chart = lines("Some", [("a", [Point("x", 1), Point("y", 2.5)]), ("b", [Point("x", 0), Point("y", 4)])])
    assert chart.heads == ("When", "a", "b")
    assert chart.rows == [("x", "1", "0"), ("y", "2.50", "4")]
    assert [line.colour for line in chart.lines] == ["c1", "c2"]
    assert chart.lines[1].points == "25.0,150.0 75.0,8.0"
    assert lines("None", []).rows == []
