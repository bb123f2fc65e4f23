"""Buckets: what an application may declare, where they live, and how they are looked after."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from flask_statemanager import ConfigurationError, LimitExceeded, StateManager, StateValidationError
from flask_statemanager.config import Settings
from flask_statemanager.kv.measuring import Measures
from tests.worlds import World


@pytest.mark.parametrize(
    ("name", "options", "problem"),
    [
        ("state", {}, "lifecycle states"),
        ("no spaces", {}, "not a name"),
        ("", {}, "not a name"),
        ("good", {"backend": "mongo"}, "'sql', 'redis' or 'memory'"),
        ("good", {"ttl": 0}, "ttl=0"),
        ("good", {"ttl": "soon"}, "ttl='soon'"),
        ("good", {"ttl": True}, "ttl=True"),
        ("good", {"tombstones": 59}, "tombstones=59"),
        ("good", {"history": -1}, "history=-1"),
        ("good", {"log_length": 0}, "log_length=0"),
        ("good", {"max_value_bytes": 0}, "max_value_bytes=0"),
        ("good", {"shards": 1025}, "shards=1025"),
        ("good", {"shards": 1.0}, "shards=1.0"),
    ],
)
def test_an_unusable_declaration_is_refused(name: str, options: dict[str, Any], problem: str) -> None:
    StateManager.reset_instance()
    with pytest.raises(ConfigurationError, match=problem):
        StateManager().define_bucket(name, **options)
    StateManager.reset_instance()


def test_an_undeclared_bucket_is_named_with_the_declared_ones(kv_world: World) -> None:
    kv_world.states.define_bucket("carts")
    with pytest.raises(StateValidationError, match="known are carts, kv"):
        kv_world.states.bucket("cart").kv.get("a")


def test_a_bucket_can_be_declared_after_the_application_and_anew(kv_world: World) -> None:
    carts = kv_world.states.bucket("carts").kv
    kv_world.states.define_bucket("carts")
    told: list[Any] = []
    carts.subscribe(told.append)
    carts.set("a", 1)
    kv_world.states.define_bucket("carts", max_value_bytes=10)
    assert carts.get("a") == 1
    with pytest.raises(LimitExceeded):
        carts.set("a", "x" * 20)
    carts.set("a", 2)
    assert [event.new_value for event in told] == [1, 2]


def test_a_bucket_cannot_be_declared_during_a_request(kv_world: World) -> None:
    with kv_world.app.test_request_context(), pytest.raises(ConfigurationError, match="during a request"):
        kv_world.states.define_bucket("late")


def test_a_bucket_of_a_database_has_a_life_in_its_transaction(sql_world: World) -> None:
    kv = sql_world.states.kv
    with sql_world.states.transaction(sql_world.db.session):
        sql_world.states.register_state("user_1", "user", {})
        kv.set("a", 1)
        kv.apply([], [])
        assert kv.get("a") == 1
        assert kv.keys() == ["a"]
        sql_world.db.session.rollback()
    assert kv.get("a") is None
    kv.set("a", 2, session=sql_world.db.session)
    assert kv.get("a") is None
    assert kv.get("a", session=sql_world.db.session) == 2
    sql_world.db.session.commit()
    assert kv.get("a") == 2


def test_a_bucket_in_memory_beside_a_database_is_its_own(sqlite_world: World) -> None:
    sqlite_world.states.define_bucket("scratch", backend="memory")
    scratch = sqlite_world.states.bucket("scratch").kv
    scratch.set("a", 1)
    assert scratch.get("a") == 1
    assert sqlite_world.states.kv.get("a") is None
    with pytest.raises(ConfigurationError, match="cannot join"):
        scratch.set("a", 2, session=sqlite_world.db.session)


@pytest.mark.parametrize(
    ("bucket", "config", "problem"),
    [
        ({"backend": "redis"}, {}, "STATEMANAGER_REDIS_URL"),
        ({"backend": "sql"}, {"STATEMANAGER_BACKEND": "memory"}, "STATEMANAGER_BACKEND"),
    ],
)
def test_a_bucket_that_cannot_be_had_fails_at_start_up(
    bucket: dict[str, Any], config: dict[str, Any], problem: str
) -> None:
    StateManager.reset_instance()
    app = Flask("shop")
    app.config.update(STATEMANAGER_DATABASE_URI="sqlite://", **config)
    if "STATEMANAGER_BACKEND" in config:
        del app.config["STATEMANAGER_DATABASE_URI"]
    manager = StateManager()
    manager.define_bucket("carts", **bucket)
    with pytest.raises(ConfigurationError, match=problem):
        manager.init_app(app)
    StateManager.reset_instance()


def test_two_applications_do_not_share_keys() -> None:
    StateManager.reset_instance()
    manager, apps = StateManager(), [Flask("one"), Flask("two")]
    for app in apps:
        app.config["STATEMANAGER_BACKEND"] = "memory"
        manager.init_app(app)
    with apps[0].app_context():
        manager.kv.set("a", 1)
    with apps[1].app_context():
        assert manager.kv.get("a") is None
        assert manager.kv.set("a", 2).version == 1
    StateManager.reset_instance()


def test_tombstones_are_forgotten_and_versions_are_not(kv_world: World) -> None:
    kv = kv_world.states.kv
    for _ in range(3):
        kv.set("a", 1)
    kv.remove("a")
    stale = 1
    kv_world.clock.advance(86_401)
    kv_world.states.run_worker()
    bucket = kv_world.runtime.shelves.parts("kv").bucket
    with bucket.backend.reading() as unit:
        assert bucket.backend.read(unit, kv_world.runtime.shelves.parts("kv").key("a")) is None
    assert kv.set("a", 2).version == 5
    with pytest.raises(Exception, match="expected 1"):
        kv.set("a", 3, expect=stale)
    assert kv.set("b", 1).version == 5


def test_old_changes_are_forgotten_where_a_bucket_says_so(sql_world: World) -> None:
    sql_world.states.define_bucket("brief", history=3600)
    brief = sql_world.states.bucket("brief").kv
    for number in range(5):
        brief.set("a", number)
        sql_world.states.kv.set("a", number)
    brief.set("gone", 1)
    brief.remove("gone")
    sql_world.clock.advance(90_000)
    for _ in range(2):
        sql_world.states.run_worker()
        sql_world.clock.advance(90_000)
    table = sql_world.runtime.backend.tables.history
    left = sql_world.db.session.execute(table.select().with_only_columns(table.c.bucket, table.c.name, table.c.version))
    assert sorted(map(tuple, left)) == [("brief", "a", 5), *(("kv", "a", version) for version in range(1, 6))]


def test_what_is_too_large_to_be_counted_on_demand_is_counted_by_the_worker(world: World) -> None:
    parts = world.runtime.shelves.parts("kv")
    measures = Measures(parts.bucket, parts.lists, parts.measures._kept, exact_to=2)
    world.states.kv.set_many({"a:1": 1, "a:2": 2, "b": 3})
    first, as_of = measures.measure()
    assert (first.keys, as_of) == (3, None)
    world.states.kv.set("c", 4)
    world.clock.advance(60)
    stale, as_of = measures.measure()
    assert stale.keys == 3
    assert as_of is not None
    assert measures.refresh()
    fresh, as_of = measures.measure()
    assert (fresh.keys, fresh.prefixes, as_of) == (4, {"a:": 2, "": 2}, world.clock.now())
    roomy = Measures(parts.bucket, parts.lists, parts.measures._kept, exact_to=100)
    assert not roomy.refresh()
    assert roomy.measure() == (fresh, None)


# -- second names of settings ------------------------------------------------------------------------------------------


def test_the_config_goes_before_the_second_name_and_that_before_the_environment() -> None:
    environ = {"STATE_MAX_SNAPSHOTS": "3", "STATE_SNAPSHOT_INTERVAL_SECS": "60", "STATE_PERSISTENCE_ENABLED": "true"}
    config = {"STATEMANAGER_MAX_SNAPSHOTS": 1, "STATE_MAX_SNAPSHOTS": 2, "STATE_SNAPSHOT_INTERVAL_SECS": 30}
    settings = Settings.from_mapping(config, environ)
    assert (settings.max_snapshots, settings.snapshot_interval, settings.persistence_enabled) == (1, 30.0, True)
    assert Settings.from_mapping({}, {}).broadcast_changes


def test_a_bad_value_is_named_by_the_name_it_came_under() -> None:
    with pytest.raises(ConfigurationError, match="STATE_BROADCAST_CHANGES='perhaps'"):
        Settings.from_mapping({}, {"STATE_BROADCAST_CHANGES": "perhaps"})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("STATEMANAGER_REDIS_URL", "localhost"),
        ("STATEMANAGER_REDIS_URL", "http://localhost"),
        ("STATEMANAGER_REDIS_PREFIX", "{x}"),
        ("STATEMANAGER_REDIS_PREFIX", "a b"),
        ("STATEMANAGER_KV_BACKEND", "mongo"),
    ],
)
def test_unusable_settings_are_refused(key: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=key):
        Settings.from_mapping({key: value})


@pytest.mark.parametrize(
    "scheme", ["redis", "rediss", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster"]
)
def test_a_redis_of_any_kind_is_named_with_and_without_tls(scheme: str) -> None:
    url = f"{scheme}://host:6379/0"
    assert Settings.from_mapping({"STATEMANAGER_REDIS_URL": url}).redis_url == url
