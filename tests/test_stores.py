"""Stores: their verbs on each backend, whose they are, what is left of them, and what becomes of them in trouble."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from flask import Flask
from msgspec.structs import replace
from sqlalchemy import text

from flask_statemanager import (
    ConfigurationError,
    LimitExceeded,
    StateConflict,
    StateNotFound,
    StateValidationError,
    StorageError,
    StorageUnavailable,
)
from flask_statemanager.backends.sql.many import COPIED
from flask_statemanager.core.buckets import KEPT_STORES, STORES
from flask_statemanager.stores import (
    CLIENT_MANAGED,
    NO_UPDATE,
    ClientStateBackend,
    DatabaseStateBackend,
    MemoryStateBackend,
    RedisStateBackend,
    StateBackendConfig,
    StateManager,
    StateManagerConfig,
    get_state_manager,
    get_state_manager_config,
    get_store,
    get_user_context,
    handing,
    refresh_state_manager,
    set_store,
    set_user_context,
    user_context,
)
from flask_statemanager.stores.handing import MOVED, Settled
from flask_statemanager.stores.opened import EXTENSION
from flask_statemanager.stores.past import changes
from tests.forging import tampered
from tests.servers.proxy import TcpProxy
from tests.servers.redis_server import RedisServer
from tests.worlds import KV_KINDS, World, build, entered, uri_for

PATIENCE, NOWHERE = 60, 1
KINDS = {"memory": "memory", "sqlite": "database", "postgresql": "database", "redis": "redis"}
HISTORY = {"STATEMANAGER_STORES_HISTORY": ["kept"]}


@pytest.fixture(params=KV_KINDS)
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """An application whose stores live in memory, in an SQLite file, in PostgreSQL, in Redis."""
    kind = request.param
    config: dict[str, Any] = {"STATE_BACKEND": KINDS[kind], "SECRET_KEY": "signed", **HISTORY}
    if kind == "redis":
        config["STATEMANAGER_REDIS_URL"] = request.getfixturevalue("redis_url")
    yield from entered(build(kind, uri_for(kind, tmp_path, request), **config))


@pytest.fixture
def manager(stored: World) -> StateManager:
    return get_state_manager()


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process without an app, whose stores are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    refresh_state_manager(StateManagerConfig())
    yield
    refresh_state_manager(StateManagerConfig())


# -- the verbs ---------------------------------------------------------------------------------------------------------


def test_a_store_is_set_read_and_deleted(manager: StateManager) -> None:
    assert manager.set_store_data("filters", {"age": [18, 65]}) is NO_UPDATE
    assert manager.get_store_data("filters") == {"age": [18, 65]}
    assert manager.store_exists("filters")
    assert (manager.delete_store_data("filters"), manager.delete_store_data("filters")) == (True, False)
    assert not manager.store_exists("filters")
    assert manager.get_store_data("filters", default="nothing") == "nothing"


def test_any_json_comes_back_as_it_was(manager: StateManager) -> None:
    for value in (None, 0, "", [], {"\x00": "\x00"}, "é\U0001f600" * 3000, list(range(5000))):
        manager.set_store_data("value", value)
        assert manager.get_store_data("value", default="none") == value


def test_a_store_may_be_called_anything_that_can_be_printed(manager: StateManager) -> None:
    names = ["..", "a/../b", "a b", "~", "%7E", "é", "x" * 1024, "x" * 1023, '{"type":"row","index":1}']
    for name in names:
        manager.set_store_data(name, name, user_id=name)
    for name in names:
        assert manager.get_store_data(name, user_id=name) == name
        assert not manager.store_exists(name)


@pytest.mark.parametrize("store_id", ["", "x" * 1025, "a\nb", None, 7])
def test_what_is_no_id_is_refused_also_where_the_browser_keeps_the_values(store_id: Any) -> None:
    for kind in ("client", "memory"):
        manager = StateManager(StateManagerConfig(kind))
        with pytest.raises(StateValidationError, match="no id"):
            manager.set_store_data(store_id, 1)
        with pytest.raises(StateValidationError, match="no id"):
            manager.get_store_data(store_id)
        manager.close()


def test_a_store_lives_as_long_as_configured_or_as_its_writer_says(stored: World, manager: StateManager) -> None:
    manager.set_store_data("hour", 1)
    manager.set_store_data("minute", 1, ttl=60)
    stored.clock.advance(59)
    manager.set_store_data("hour", 2)
    stored.clock.advance(1)
    assert (manager.store_exists("minute"), manager.get_store_data("hour")) == (False, 2)
    stored.clock.advance(3600)
    assert not manager.store_exists("hour")


def test_many_are_read_and_written_together(manager: StateManager) -> None:
    values = {"a": 1, "kept": [2], "b": None}
    assert manager.batch_set_stores(values, user_id="ada") == dict.fromkeys(values, NO_UPDATE)
    assert manager.batch_get_stores(["b", "kept", "a", "c"], user_id="ada") == {**values, "c": None}
    assert manager.batch_get_stores(["a"], user_id="bob") == {"a": None}
    for wrong in ("a", 7):
        with pytest.raises(StateValidationError):
            manager.batch_get_stores(wrong)  # type: ignore[arg-type]
    with pytest.raises(StateValidationError):
        manager.batch_set_stores([("a", 1)])  # type: ignore[arg-type]


def test_statistics(manager: StateManager) -> None:
    manager.batch_set_stores({"a": 1, "kept": 2})
    manager.get_store_data("a")
    manager.get_store_data("c")
    manager.batch_get_stores(["kept", "c"])
    stats = manager.get_backend_stats()
    assert stats.pop("total_size_bytes") > 0
    assert stats == {
        "backend_type": manager.config.backend_type,
        "total_keys": 2,
        "user_isolation_enabled": True,
        "hits": 2,
        "misses": 2,
        "refused": 0,
        "unavailable": 0,
    }


def test_a_value_that_is_too_large_is_refused_before_it_travels() -> None:
    manager = StateManager(StateManagerConfig("memory", max_value_size=1000))
    with pytest.raises(LimitExceeded):
        manager.set_store_data("a", "x" * 1000)
    manager.set_store_data("a", "x" * 998)


# -- versions ----------------------------------------------------------------------------------------------------------


def test_of_two_writers_of_one_version_one_wins(manager: StateManager) -> None:
    manager.set_store_data("a", 1, expect=0)
    with pytest.raises(StateConflict):
        manager.set_store_data("a", 2, expect=0)
    entry = manager.get_store_entry("a")
    assert entry is not None
    manager.set_store_data("a", 2, expect=entry.version)
    with pytest.raises(StateConflict):
        manager.set_store_data("a", 3, expect=entry.version)
    assert manager.get_store_data("a") == 2
    assert manager.get_store_entry("b") is None


def test_no_change_is_lost_however_many_write(stored: World, manager: StateManager) -> None:
    def add(number: int) -> None:
        with stored.app.app_context():
            manager.update_store_data("a", lambda found: [*(found or []), number], user_id="ada")
            manager.update_store_data("b", {str(number): {"n": number}}, user_id="ada")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, range(12)))
    assert sorted(manager.get_store_data("a", user_id="ada")) == list(range(12))
    assert manager.get_store_data("b", user_id="ada") == {str(number): {"n": number} for number in range(12)}


def test_a_patch_removes_by_none_and_wants_an_object(manager: StateManager) -> None:
    manager.set_store_data("a", {"x": 1, "y": {"z": 2, "w": 3}})
    assert manager.update_store_data("a", {"x": None, "y": {"z": 4}}) == {"y": {"z": 4, "w": 3}}
    manager.set_store_data("a", [1])
    with pytest.raises(StateValidationError, match="patch"):
        manager.update_store_data("a", {"x": 1})
    with pytest.raises(StateValidationError, match="function or a dict"):
        manager.update_store_data("a", 7)  # type: ignore[arg-type]


def test_undo_goes_back_step_by_step_and_is_a_version_of_its_own(manager: StateManager) -> None:
    for value in ("one", "two", "three"):
        manager.set_store_data("kept", value)
    assert (manager.undo("kept"), manager.undo("kept")) == ("two", "one")
    with pytest.raises(StateNotFound):
        manager.undo("kept")
    assert manager.get_store_data("kept") == "one"
    assert [entry.value for entry in manager.get_store_history("kept")] == ["one", "two", "three", "two", "one"]
    assert [entry.value for entry in manager.get_store_history("kept", 1)] == ["one"]
    manager.update_store_data("kept", lambda _value: "four")
    assert manager.undo("kept") == "one"


def test_undo_ends_at_a_removal(manager: StateManager) -> None:
    with pytest.raises(StateNotFound):
        manager.undo("kept")
    manager.set_store_data("kept", 1)
    manager.delete_store_data("kept")
    manager.set_store_data("kept", 2)
    with pytest.raises(StateNotFound):
        manager.undo("kept")
    assert [entry.value for entry in manager.get_store_history("kept")] == [2, 1]


def test_what_the_browser_is_handed_stays_until_it_has_arrived(manager: StateManager) -> None:
    server = manager._open().server
    assert server is not None
    for store in ("moving", "kept"):
        assert handing.taken_over(server, store, "ada", ["old"]) == Settled(["old"], MOVED)
        assert handing.taken_over(server, store, "ada", ["other"]) == Settled(["old"], MOVED)
        manager.set_store_data(store, ["server"], user_id="ada")
        for _turn in range(2):
            assert handing.handed_back(server, store, "ada", ["old"]) == Settled(["server"], ["server"])
        assert handing.handed_back(server, store, "ada", ["newer"]) == Settled(["newer"])
        handing.passed_on(server, store, "ada", ["newest"])
        assert handing.left_behind(server, store, "ada") is CLIENT_MANAGED
        assert handing.handed_back(server, store, "ada", MOVED) == Settled(["newest"], ["newest"])
        assert handing.taken_over(server, store, "ada", ["mine"]) == Settled(["mine"], MOVED)
        assert manager.get_store_data(store, user_id="ada") == ["mine"]


def test_an_audit_tells_who_did_what(stored: World, manager: StateManager) -> None:
    stored.states.actor_loader(lambda: "ada")
    with stored.app.test_request_context():
        manager.set_store_data("kept", 1)
        manager.set_store_data("kept", 2)
        manager.undo("kept")
        manager.delete_store_data("kept")
        found = manager.get_store_changes("kept")
    assert [(each.event, each.value, each.version, each.reason) for each in found] == [
        ("remove", None, 4, None),
        ("set", 1, 3, "undo"),
        ("set", 2, 2, None),
        ("create", 1, 1, None),
    ]
    assert {(each.store_id, each.actor, each.source, each.at) for each in found} == {
        ("kept", "ada", "stores", stored.clock.now())
    }
    for wrong in (0, 1001, "1"):
        with pytest.raises(StateValidationError):
            manager.get_store_changes("kept", wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="no history"):
        manager.get_store_changes("a")


def test_a_store_without_a_history_says_so(manager: StateManager) -> None:
    manager.set_store_data("a", 1)
    with pytest.raises(ConfigurationError, match="no history"):
        manager.undo("a")
    with pytest.raises(StateValidationError):
        manager.get_store_history("kept", 0)


# -- whose they are ----------------------------------------------------------------------------------------------------


def test_sixteen_users_at_once_see_their_own_only(stored: World, manager: StateManager) -> None:
    barrier, wrong = threading.Barrier(16, timeout=PATIENCE), []

    def use(number: int) -> None:
        user = f"user{number}"
        with stored.app.app_context():
            manager.set_user_context(user)
            barrier.wait()
            for turn in range(3):
                manager.set_store_data("mine", [user, turn])
                found = manager.get_store_data("mine")
                if found != [user, turn] or get_store("mine", user_id=user) != found:
                    wrong.append((user, found))

    threads = [threading.Thread(target=use, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert wrong == []
    assert manager.get_backend_stats()["total_keys"] == 16
    assert manager.get_store_data("mine") is None


def test_what_one_request_says_is_gone_for_the_next_on_the_same_thread(stored: World) -> None:
    app = stored.app

    @app.get("/says/<user>")
    def says(user: str) -> dict[str, Any]:
        set_user_context(user)
        return {"user": get_user_context()}

    @app.get("/asks")
    def asks() -> dict[str, Any]:
        return {"user": get_user_context()}

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(lambda: app.test_client().get("/says/ada").json).result(PATIENCE)
        second = pool.submit(lambda: app.test_client().get("/asks").json).result(PATIENCE)
    assert first == {"user": "ada"}
    assert second is not None
    assert second["user"].startswith("session-")


def test_the_actor_goes_before_the_visitor_whose_cookie_is_signed(stored: World) -> None:
    who: list[Any] = [None]
    stored.states.actor_loader(lambda: who[0])

    @stored.app.get("/")
    def asks() -> dict[str, Any]:
        set_store("page", get_store("page", 0) + 1)
        return {"user": get_user_context(), "page": get_store("page")}

    browser, other = stored.app.test_client(), stored.app.test_client()
    first, second = browser.get("/").json, browser.get("/").json
    assert first is not None
    assert second == {"user": first["user"], "page": 2}
    cookie = browser.get_cookie("session")
    assert cookie is not None
    other.set_cookie("session", tampered(cookie.value))
    forged = other.get("/").json
    assert forged is not None
    assert (forged["user"] != first["user"], forged["page"]) == (True, 1)
    who[0] = 7
    assert browser.get("/").json == {"user": "7", "page": 1}


def test_visitors_need_a_secret_key() -> None:
    app = Flask("unsigned")
    app.config["STATE_BACKEND"] = "memory"
    with app.test_request_context(), pytest.raises(ConfigurationError, match="SECRET_KEY"):
        set_store("a", 1)
    app.config["STATE_ENABLE_USER_ISOLATION"] = "false"
    with app.test_request_context():
        refresh_state_manager()
        assert set_store("a", 1) is NO_UPDATE
        assert get_state_manager().get_backend_stats()["user_isolation_enabled"] is False


def test_a_block_names_the_user_and_ends(stored: World) -> None:
    set_user_context("ada")
    with user_context("bob"):
        assert get_user_context() == "bob"
        with pytest.raises(RuntimeError), user_context("eve"):
            raise RuntimeError
        assert get_user_context() == "bob"
    assert get_user_context() == "ada"
    set_user_context(None)
    assert get_user_context() is None


def test_outside_an_app_the_user_is_of_the_thread_and_of_no_app(stored: World) -> None:
    def outside() -> list[Any]:
        set_user_context("ada")
        seen = [get_user_context()]
        with user_context("bob"):
            seen.append(get_user_context())
        with stored.app.app_context():
            seen.append(get_user_context())
        return [*seen, get_user_context()]

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(outside).result(PATIENCE) == ["ada", "bob", None, "ada"]


def test_without_isolation_stores_are_everybodys() -> None:
    manager = StateManager(StateManagerConfig("memory", enable_user_isolation=False))
    manager.set_store_data("a", 1, user_id="ada")
    assert manager.get_store_data("a", user_id="bob") == 1
    with pytest.raises(StateValidationError, match="isolation"):
        manager.clear_user_data("ada")
    assert manager.clear_user_data() == 1


# -- what is left ------------------------------------------------------------------------------------------------------


def test_what_is_cleared_leaves_nothing(stored: World, manager: StateManager, request: pytest.FixtureRequest) -> None:
    for user in ("ada", "adam"):
        with user_context(user):
            manager.batch_set_stores({"plain": f"secret of {user}", "kept": f"secret of {user}"})
            manager.set_store_data("kept", "later")
            manager.set_store_data("gone", f"secret of {user}")
            manager.delete_store_data("gone")
            manager.set_store_data("expired", f"secret of {user}", ttl=1)
    stored.clock.advance(2)
    assert manager.clear_user_data("ada") == 2
    assert "u:ada/" not in _all_that_is_kept(stored, request)
    with user_context("adam"):
        assert manager.batch_get_stores(["plain", "kept"]) == {"plain": "secret of adam", "kept": "later"}
        assert manager.undo("kept") == "secret of adam"
    manager.set_store_data("kept", 1, user_id="ada")
    entry = manager.get_store_entry("kept", user_id="ada")
    assert entry is not None
    assert entry.version > 3


def _all_that_is_kept(world: World, request: pytest.FixtureRequest) -> str:
    if world.kind == "redis":
        with redis.Redis.from_url(request.getfixturevalue("redis_server").url) as client:
            return str(_everything(client))
    if world.kind == "memory":
        [backend] = {world.runtime.shelves.kept(name).bucket.backend for name in (STORES, KEPT_STORES)}
        return f"{backend._records} {backend._log}"
    found = []
    for table in ("state", "history", "outbox", "idempotency"):
        with world.db.engine.connect() as connection:
            found += connection.execute(text(f"SELECT * FROM statemanager_{table}")).all()  # noqa: S608
    return str(found)


def _everything(client: Any) -> list[Any]:
    readers = {b"string": client.get, b"zset": lambda key: client.zrange(key, 0, -1), b"hash": client.hgetall}
    readers[b"stream"] = client.xrange
    return [readers[client.type(key)](key) for key in client.keys("*")]


def test_earlier_values_go_away_without_a_worker(stored: World, manager: StateManager) -> None:
    server = stored.app.extensions[EXTENSION].backend if manager.config else None
    for number in range(9):
        server._broom._next = 0.0
        manager.batch_set_stores({"a": number, "kept": number})
        stored.clock.advance(1)
    if stored.kind != "redis":  # which keeps the last ones, however old
        assert len(changes(server.parts(STORES), "all/s:a", 99)) == 1
    assert len(manager.get_store_history("kept")) == 9
    stored.clock.advance(7 * 86400)
    server._broom._next = 0.0
    manager.set_store_data("a", 1)
    assert not manager.store_exists("kept")


def test_a_database_has_a_value_once_unless_earlier_ones_are_wanted(sql_world: World) -> None:
    manager = StateManager(StateManagerConfig("database", history=("kept",)))
    for number in (1, 2):
        manager.set_store_data("a", f"once {number}")
        manager.batch_set_stores({"b": f"once {number}", "c": f"once {number}", "kept": f"each {number}"})
        manager.batch_set_stores({f"many {place}": f"once {number}" for place in range(COPIED)})
    manager.delete_store_data("c")
    manager.set_store_data("d", "once 1", ttl=1)
    sql_world.clock.advance(2)
    manager.set_store_data("d", "once 2")
    with sql_world.db.engine.connect() as connection:
        log = connection.execute(text("SELECT bucket, name, data FROM statemanager_history ORDER BY revision")).all()
    names = [row.name for row in log if row.bucket == STORES and "many" not in row.name]
    assert sorted(names) == [f"all/s:{name}" for name in "aabbcccddd"]
    assert len([row for row in log if "many" in row.name]) == 2 * COPIED
    assert "once" not in str(log)
    assert all(f"each {number}" in str(log) for number in (1, 2))
    assert manager.batch_get_stores(["a", "b", "c", "d"]) == {"a": "once 2", "b": "once 2", "c": None, "d": "once 2"}
    assert set(manager.batch_get_stores([f"many {place}" for place in range(COPIED)]).values()) == {"once 2"}
    assert [entry.value for entry in manager.get_store_history("kept")] == ["each 2", "each 1"]


def test_that_nothing_can_be_cleared_away_is_no_error_of_the_writer(
    stored: World, manager: StateManager, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    manager.set_store_data("a", 1)
    server = stored.app.extensions[EXTENSION].backend

    def fail(_name: str) -> bool:
        raise StorageError("no")

    monkeypatch.setattr(stored.runtime.shelves, "tidy", fail)
    server._broom._next = 0.0
    assert manager.set_store_data("a", 2) is NO_UPDATE
    assert "could not be cleared away" in caplog.text


def test_stores_with_a_history_are_a_part_of_snapshots(stored: World, manager: StateManager) -> None:
    manager.batch_set_stores({"a": 1, "kept": 1})
    snapshot = stored.states.snapshots.create_snapshot()
    manager.batch_set_stores({"a": 2, "kept": 2})
    stored.states.snapshots.restore_snapshot(snapshot)
    assert manager.batch_get_stores(["a", "kept"]) == {"a": 2, "kept": 1}


# -- the browser, trouble, and moving ----------------------------------------------------------------------------------


def test_where_the_browser_keeps_the_values_the_server_knows_none() -> None:
    manager = StateManager(StateManagerConfig())
    assert manager.set_store_data("a", {"x": 1}) == {"x": 1}
    assert manager.get_store_data("a") is CLIENT_MANAGED
    assert not manager.get_store_data("a")
    assert manager.batch_set_stores({"a": 1}) == {"a": 1}
    assert manager.batch_get_stores(["a"]) == {"a": CLIENT_MANAGED}
    assert (manager.store_exists("a"), manager.delete_store_data("a"), manager.clear_user_data("u")) == (
        False,
        False,
        0,
    )
    assert manager.get_backend_stats()["total_keys"] == 0
    assert (manager.is_client_managed(), manager.is_client_managed("a")) == (True, True)
    with pytest.raises(ConfigurationError, match="browser keeps"):
        manager.update_store_data("a", {"x": 2})
    backend = ClientStateBackend()
    assert (backend.get("a"), backend.set("a", 1)) == (CLIENT_MANAGED, False)


def test_an_unknown_backend_is_the_browser_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="no backend 'mongo'"):
        manager = StateManager(StateManagerConfig("mongo"))
    assert manager.is_client_managed()


def test_a_server_that_cannot_be_reached_is_an_error_and_counted(
    redis_proxy: TcpProxy, redis_server: RedisServer
) -> None:
    manager = StateManager(StateManagerConfig("redis", redis_url=redis_proxy.url()))
    manager.set_store_data("a", 1, user_id="ada")
    redis_proxy.turn_to(NOWHERE)
    redis_proxy.reset()
    for ask in (manager.get_store_data, manager.store_exists, manager.delete_store_data, manager.get_store_entry):
        with pytest.raises(StorageUnavailable):
            ask("a", user_id="ada")
    with pytest.raises(StorageUnavailable):
        manager.set_store_data("a", 2, user_id="ada")
    assert manager._open().counters.value("unavailable") == 5
    redis_proxy.turn_to(redis_server.port)
    assert manager.get_store_data("a", user_id="ada") == 1
    manager.close()


def test_the_browser_can_help_out_but_never_for_what_only_the_server_can_do(
    redis_proxy: TcpProxy, caplog: pytest.LogCaptureFixture
) -> None:
    config = StateManagerConfig("redis", redis_url=redis_proxy.url(), on_unavailable="client")
    manager = StateManager(config)
    manager.set_store_data("a", 1)
    redis_proxy.turn_to(NOWHERE)
    redis_proxy.reset()
    assert manager.set_store_data("a", 2) == 2
    assert manager.get_store_data("a") is CLIENT_MANAGED
    assert manager.batch_set_stores({"a": 2}) == {"a": 2}
    assert manager.batch_get_stores(["a"]) == {"a": CLIENT_MANAGED}
    assert len(caplog.records) == 4
    assert {name: manager._open().counters.value(name) for name in ("hits", "misses")} == {"hits": 0, "misses": 0}
    for ask in (manager.delete_store_data, manager.clear_user_data, manager.store_exists):
        with pytest.raises(StorageUnavailable):
            ask("a")
    with pytest.raises(StorageUnavailable):
        manager.set_store_data("a", 2, expect=1)
    manager.close()


def test_a_server_that_does_not_answer_is_as_one_that_cannot_be_reached(redis_proxy: TcpProxy) -> None:
    url = redis_proxy.url()
    patient = StateManager(StateManagerConfig("redis", redis_url=url))
    patient.set_store_data("a", 1)
    patient.close()
    # What is short of time asks only when there is no answer to be had.
    manager = StateManager(StateManagerConfig("redis", redis_url=f"{url}?socket_timeout=0.2", on_unavailable="client"))
    redis_proxy.freeze()
    assert manager.get_store_data("a") is CLIENT_MANAGED
    assert manager.set_store_data("a", 2) == 2
    with pytest.raises(StorageError):
        manager.store_exists("a")
    assert manager._open().counters.value("unavailable") == 3
    manager.close()


def test_a_move_carries_everything_over(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'stores.sqlite'}"
    manager = StateManager(StateManagerConfig("memory", database_url=url, history=("kept",)))
    manager.batch_set_stores({"a": 1, "kept": [2]}, user_id="ada")
    manager.set_store_data("b", {"x": 3}, ttl=1000)
    assert manager.migrate_to_server_backend("database") == 3
    assert manager.get_backend_stats()["backend_type"] == manager.config.backend_type == "database"
    assert manager.batch_get_stores(["a", "kept"], user_id="ada") == {"a": 1, "kept": [2]}
    entry = manager.get_store_entry("b")
    assert entry is not None
    assert entry.expires_at is not None
    assert timedelta(seconds=900) < entry.expires_at - entry.updated_at <= timedelta(seconds=1000)
    assert manager.migrate_to_server_backend("database") == 0
    for wrong in ("client", "mongo"):
        with pytest.raises(ConfigurationError, match="keeps nothing"):
            manager.migrate_to_server_backend(wrong)
    with pytest.raises(ConfigurationError, match="STATE_REDIS_URL"):
        manager.migrate_to_server_backend("redis")
    assert manager.get_store_data("b") == {"x": 3}
    manager.close()


def test_after_a_move_to_the_redis_of_the_app_the_next_start_finds_everything(tmp_path: Path, redis_url: str) -> None:
    uri = uri_for("sqlite", tmp_path, None)  # type: ignore[arg-type]
    at = {"STATEMANAGER_REDIS_URL": redis_url, "STATEMANAGER_REDIS_PREFIX": "mine:"}
    for _world in entered(build("sqlite", uri, STATE_BACKEND="database", **at)):
        set_store("a", 1)
        assert get_state_manager().migrate_to_server_backend("redis") == 1
        assert get_store("a") == 1
    for _world in entered(build("sqlite", uri, STATE_BACKEND="redis", **at)):
        assert get_store("a") == 1
        beside = RedisStateBackend()
        assert beside.get("a") == 1
        beside.close()
        set_store("b", 2)
        assert get_state_manager().migrate_to_server_backend("database") == 2
    for _world in entered(build("sqlite", uri, STATE_BACKEND="database", **at)):
        assert (get_store("a"), get_store("b")) == (1, 2)


def test_a_move_leaves_alone_what_begins_with_another_prefix(tmp_path: Path) -> None:
    config = StateBackendConfig(database_url=f"sqlite:///{tmp_path / 'stores.sqlite'}", key_prefix="app")
    one, two = DatabaseStateBackend(config), DatabaseStateBackend(replace(config, key_prefix="app2"))
    for backend in (one, two):
        backend.set("a", 1)
        backend.set("a", 2, user_id="ada")
    assert sorted(each.entry.key for each in one.everything()) == ["appall/s:a", "appu:ada/s:a"]
    one.close()
    two.close()


def test_what_is_written_during_a_move_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path / 'stores.sqlite'}"
    manager = StateManager(StateManagerConfig("memory", database_url=url))
    manager.batch_set_stores({"changed": 1, "removed": 1, "both": 1, "same": 1})
    old = manager._open().server
    assert old is not None
    take = DatabaseStateBackend.take
    done: list[str] = []

    def taking(backend: Any, carried: Any, *, over: int | None = None) -> Any:
        version = take(backend, carried, over=over)
        if not done and carried.entry.key.endswith("same"):
            # The last to be carried: from here on somebody writes to the old backend, and one to both.
            done.append("written")
            old.set_many({"changed": 2, "new": 2, "both": 2})
            old.delete("removed")
            backend.put("both", 3)
        return version

    monkeypatch.setattr(DatabaseStateBackend, "take", taking)
    manager.migrate_to_server_backend("database")
    found = manager.batch_get_stores(["changed", "removed", "both", "same", "new"])
    assert found == {"changed": 2, "removed": None, "both": 3, "same": 1, "new": 2}
    manager.close()


def test_from_the_browser_there_is_nothing_to_carry() -> None:
    manager = StateManager(StateManagerConfig())
    assert manager.migrate_to_server_backend("memory") == 0
    assert manager.set_store_data("a", 1) is NO_UPDATE


# -- where they live, and by what configuration ------------------------------------------------------------------------


def test_backends_are_classes_with_six_verbs(tmp_path: Path, redis_url: str) -> None:
    config = StateBackendConfig(
        default_ttl=None, key_prefix="app1", redis_url=redis_url, database_url=f"sqlite:///{tmp_path / 'own.sqlite'}"
    )
    for kind in (MemoryStateBackend, RedisStateBackend, DatabaseStateBackend):
        backend = kind(config)
        assert backend.set("a", {"n": 1}, user_id="ada")
        assert backend.set("b", 1, 60)
        assert (backend.get("a", "ada"), backend.get("a"), backend.exists("b")) == ({"n": 1}, None, True)
        assert backend.get_stats()["total_keys"] == 2
        assert (backend.clear("ada"), backend.clear("ada"), backend.delete("b"), backend.delete("b")) == (
            1,
            0,
            True,
            False,
        )
        assert backend.entry("a") is None
        backend.close()
        backend.close()


def test_an_app_without_states_has_stores_too(tmp_path: Path) -> None:
    app = Flask("dash")
    app.config.update(STATE_BACKEND="database", STATE_DATABASE_URL=f"sqlite:///{tmp_path / 'state.db'}")
    with app.app_context():
        assert set_store("a", 1) is NO_UPDATE
    with app.app_context():
        assert get_store("a") == 1
        refresh_state_manager(StateManagerConfig("memory"))
        assert get_store("a") is None
        refresh_state_manager()
        assert get_store("a") == 1
        app.extensions[EXTENSION].backend.close()


def test_two_apps_of_one_process_share_nothing(tmp_path: Path) -> None:
    first, second = Flask("first"), Flask("second")
    for app in (first, second):
        app.config["STATE_BACKEND"] = "memory"
    with first.app_context():
        set_store("a", 1)
    with second.app_context():
        assert get_store("a") is None


def test_the_stores_of_an_app_live_where_its_states_do(tmp_path: Path) -> None:
    for world in entered(build("sqlite", uri_for("sqlite", tmp_path, None), STATE_BACKEND="database")):  # type: ignore[arg-type]
        set_store("a", 1)
        assert world.runtime.shelves.kept(STORES).bucket.get("all/s:a") is not None
        refresh_state_manager(StateManagerConfig("database"))
        assert get_store("a") == 1
        refresh_state_manager(StateManagerConfig("memory"))
        assert get_store("a") is None


def test_stores_can_have_a_database_of_their_own_beside_that_of_the_states(tmp_path: Path) -> None:
    own = f"sqlite:///{tmp_path / 'stores.sqlite'}"
    config = {"STATE_BACKEND": "database", "STATE_DATABASE_URL": own}
    for world in entered(build("sqlite", uri_for("sqlite", tmp_path, None), **config)):  # type: ignore[arg-type]
        set_store("a", 1)
        assert world.runtime.shelves.kept(STORES).bucket.get("all/s:a") is None
        world.app.extensions[EXTENSION].backend.close()
    assert (tmp_path / "stores.sqlite").stat().st_size > 0


def test_a_server_of_which_nobody_knows_where_it_is() -> None:
    for kind, key in (("redis", "STATE_REDIS_URL"), ("database", "STATE_DATABASE_URL")):
        manager = StateManager(StateManagerConfig(kind))
        with pytest.raises(ConfigurationError, match=key):
            manager.set_store_data("a", 1)
        manager.close()


@pytest.mark.usefixtures("alone")
def test_a_toml_file_and_the_environment_configure_what_has_no_app(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert get_state_manager_config() == StateManagerConfig()
    (tmp_path / "config.toml").write_text('STATE_BACKEND = "memory"\nSTATE_TTL_DEFAULT = 60\nother = 1\n')
    monkeypatch.setenv("STATE_BACKEND", "redis")
    monkeypatch.setenv("STATE_ENABLE_USER_ISOLATION", "false")
    found = get_state_manager_config()
    assert found == StateManagerConfig("memory", enable_user_isolation=False, default_ttl=60.0)
    manager = refresh_state_manager()
    assert manager.set_store_data("a", 1, user_id="ada") is NO_UPDATE
    assert get_store("a") == 1
    (tmp_path / "config.toml").write_text("STATE_BACKEND")
    with pytest.raises(ConfigurationError, match="no TOML"):
        get_state_manager_config()
    with pytest.raises(ConfigurationError, match="cannot be read"):
        get_state_manager_config(tmp_path)
    (tmp_path / "config.toml").write_text("STATE_TTL_DEFAULT = -1")
    with pytest.raises(ConfigurationError, match="STATE_TTL_DEFAULT"):
        get_state_manager_config()


@pytest.mark.parametrize(
    "options",
    [{"default_ttl": 0}, {"key_prefix": "a/b"}, {"redis_url": "http://x"}, {"max_value_size": 0}, {"history": "a"}],
)
def test_unusable_options_are_refused_by_name(options: dict[str, Any]) -> None:
    for config in (StateManagerConfig, StateBackendConfig):
        with pytest.raises(ConfigurationError, match=next(iter(options))):
            config(**options)


def test_nothing_warns_of_what_is_in_order() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        StateManager(StateManagerConfig("memory")).set_store_data("a", 1)
