"""Live events of every store, of several at once, and through an outage."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from werkzeug.serving import make_server

from flask_statemanager import StorageError
from flask_statemanager.core.buckets import STORES
from flask_statemanager.stores import get_state_manager, set_store
from tests.listeners import PATIENCE, WAYS, Listener, listening, streams
from tests.servers.process import free_port
from tests.servers.proxy import TcpProxy
from tests.servers.redis_server import RedisServer
from tests.worlds import SHARED_KV_KINDS, World, build, entered, kept_by, uri_for

LIVE = {"STATEMANAGER_API_ENABLED": True, "STATEMANAGER_LIVE_HEARTBEAT": 4}


def served(world: World, stack: ExitStack) -> str:
    """Have Flask's own server serve an application, and return where."""
    server = make_server("127.0.0.1", 0, world.app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    stack.callback(thread.join, PATIENCE)
    stack.callback(server.server_close)
    stack.callback(server.shutdown)
    return f"127.0.0.1:{server.port}"


@pytest.fixture(params=SHARED_KV_KINDS)
def live_world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """An application with the API, whose keys and values live in an SQLite file, in PostgreSQL, in Redis."""
    kind = request.param
    config = kept_by(request.getfixturevalue("redis_url")) if kind == "redis" else {}
    yield from entered(build(kind, uri_for(kind, tmp_path, request), **LIVE, **config))


def test_keys_and_states_of_every_store_are_told_once_and_gone_on_with(live_world: World) -> None:
    states = live_world.states
    states.define_bucket("spread", shards=3)
    with ExitStack() as stack:
        address = served(live_world, stack)
        states.kv.set("a", 1)
        early = [Listener(way, address, {"since": "0"}) for way in WAYS]
        with listening(early + [Listener(way, address) for way in WAYS]) as everyone:
            for each in everyone:
                each.listens()
            states.register_state("user_1", "user", {"plan": "pro"})
            states.register_state("user_2", "user", {"plan": "pro"})
            states.transition_many(["user_1", "user_2"], "activate")
            for number in range(9):
                states.bucket("spread").kv.set(f"n:{number}", number)
            states.kv.set("last", 1)
            wanted = {"user_1": 2, "user_2": 2, "last": 1} | {f"n:{number}": 1 for number in range(9)}
            for each in everyone:
                each.wait(lambda listener: len(listener.changes) >= 15 - (listener not in early))
                keys = each.keys()
                assert {key: keys.count(key) for key in keys} == wanted | ({"a": 1} if each in early else {})
            again = resumed(address, everyone[0].changes)
            assert again == [sorted(everyone[0].keys()[place + 1 :]) for place in range(0, 15, 4)]
            for each in everyone:
                each.close()
            live_world.runtime.close()
        for each in everyone:
            each.join()


def resumed(address: str, changes: list[dict[str, Any]]) -> list[list[str]]:
    """What comes behind some of the changes, for who comes again with their cursors."""
    found = []
    for change in changes[::4]:
        keys: list[str] = []
        messages = streams(address, {"since": change["cursor"]}, {})
        for message in messages:
            if message["type"] != "state_change":
                break
            keys.append(message["data"]["key"])
        messages.close()  # type: ignore[attr-defined]
        found.append(sorted(keys))
    return found


@pytest.mark.parametrize("kind", SHARED_KV_KINDS)
def test_of_stores_of_interfaces_is_told_that_they_changed_and_never_what_they_hold(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    where = {"STATE_BACKEND": "redis" if kind == "redis" else "database", "STATEMANAGER_API_BUCKETS": ["kv", STORES]}
    where |= {"STATEMANAGER_REDIS_URL": request.getfixturevalue("redis_url")} if kind == "redis" else {}
    for world in entered(build(kind, uri_for(kind, tmp_path, request), **LIVE, **where)):
        with ExitStack() as stack:
            address = served(world, stack)
            set_store("a", 1)
            set_store("a", 2)
            get_state_manager().delete_store_data("a")
            messages = streams(address, {"since": "0", "bucket": STORES}, {})
            stack.callback(messages.close)  # type: ignore[attr-defined]
            told = [next(messages)["data"] for _ in range(3)]
            stack.callback(world.runtime.close)
        assert [(each["event"], each["existed"], each["exists"]) for each in told] == [
            ("create", False, True),
            ("set", True, True),
            ("remove", True, False),
        ]
        assert not {"old_value", "new_value"}.intersection(*told)


@pytest.mark.slow
def test_an_outage_of_the_storage_is_waited_through(redis_server: RedisServer, redis_url: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        proxy = stack.enter_context(TcpProxy(redis_server.port))
        url = redis_url.replace(str(redis_server.port), str(proxy.port))
        uri = f"sqlite:///{tmp_path / 'world.sqlite'}"
        running = entered(build("redis", uri, **LIVE, **kept_by(url)))
        world = next(running)
        stack.callback(lambda: next(running, None))
        address = served(world, stack)
        with listening([Listener(way, address, {"bucket": "kv"}) for way in WAYS]) as both:
            for each in both:
                each.listens()
            world.states.kv.set("before", 1)
            for each in both:
                each.wait(lambda listener: listener.keys() == ["before"])
            proxy.turn_to(free_port())
            proxy.reset()
            for each in both:
                heard = len(each.kinds)
                each.wait(lambda listener, heard=heard: "heartbeat" in listener.kinds[heard:])
            with pytest.raises(StorageError):
                world.states.kv.set("during", 1)
            proxy.turn_to(redis_server.port)
            world.states.kv.set("behind", 1)
            for each in both:
                each.wait(lambda listener: listener.keys()[-1:] == ["behind"])
                assert each.keys() == ["before", "behind"]
                assert set(each.kinds) <= {"state_change", "heartbeat", "subscribed"}
                assert each.begun == 1
                each.close()
            world.runtime.close()
        for each in both:
            each.join()
