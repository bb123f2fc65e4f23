"""The cache of cachelib: its own tests, out of its source distribution, Flask-Caching and Flask-Session over it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from flask import session
from flask_caching import Cache
from flask_session import Session

from flask_statemanager import ConfigurationError, StateValidationError
from flask_statemanager.integrations.cachelib import StateManagerCache
from flask_statemanager.integrations.flask_caching import cache as flask_caching_cache
from tests.servers.fixtures import required
from tests.worlds import World

MIXINS = {
    "common": "CommonTests",
    "clear": "ClearTests",
    "has": "HasTests",
    "delete_many_with_prefix": "DeleteManyWithPrefixTests",
}
PATIENCE = 120


@pytest.fixture(scope="module")
def sources(request: pytest.FixtureRequest) -> Path:
    """The tests of the installed cachelib, fetched once and kept with what pytest keeps."""
    release = f"cachelib-{version('cachelib')}"
    folder = Path(request.config.cache.mkdir(release))  # type: ignore[union-attr]
    found = folder / release / "tests"
    if not found.is_dir():
        wanted = release.replace("-", "==")
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", ":all:", "-d", folder, wanted]
        ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
        if ended.returncode:
            if required():
                pytest.fail(ended.stderr)
            pytest.skip("the source distribution of cachelib cannot be had")
        with tarfile.open(folder / f"{release}.tar.gz") as archive:
            archive.extractall(folder, filter="data")
    return found


@pytest.fixture
def mixin(sources: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Import a module of these tests by its name."""
    started = ModuleType("xprocess")
    started.ProcessStarter = object  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "xprocess", started)

    def load(name: str) -> ModuleType:
        if not (sources / f"{name}.py").is_file():
            pytest.skip(f"this release of cachelib has no tests {name}")
        spec = importlib.util.spec_from_file_location(name, sources / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    load("conftest")
    return load


@pytest.mark.parametrize("name", MIXINS)
def test_the_tests_of_cachelib_pass(name: str, mixin: Callable[[str], ModuleType], kv_world: World) -> None:
    module = mixin(name)
    if hasattr(module, "sleep"):
        module.sleep = kv_world.clock.advance  # type: ignore[attr-defined]
    tests = getattr(module, MIXINS[name])
    tests.cache_factory = lambda _self, **options: StateManagerCache(**options)
    names = [each for each in dir(tests) if each.startswith("test_")]
    assert names
    for each in names:
        kv_world.states.kv.remove_prefix("cache:")
        getattr(tests(), each)()


@pytest.fixture
def cache(kv_world: World) -> StateManagerCache:
    return StateManagerCache(kv=kv_world.states.kv)


def test_any_key_will_do_and_caches_with_another_prefix_are_others(cache: StateManagerCache, kv_world: World) -> None:
    other = StateManagerCache(key_prefix="view//..", default_timeout=0)
    for key in ("", "a b", "../é", "x" * 1000):
        assert cache.set(key, key)
        assert not other.has(key)
        assert other.add(key, 1)
    kv_world.clock.advance(301)
    assert (cache.get("a b"), other.get("a b")) == (None, 1)
    assert cache.clear()
    assert other.get("../é") == 1
    assert other.clear()
    assert other.get_many("", "a b") == [None, None]


def test_all_who_add_at_once_count(cache: StateManagerCache, kv_world: World) -> None:
    def add(_number: int) -> None:
        with kv_world.app.app_context():
            cache.inc("n", 2)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, range(12)))
    assert (cache.get("n"), cache.dec("n", 4)) == (24, 20)
    cache.set("text", "x")
    with pytest.raises(StateValidationError, match="no number"):
        cache.inc("text")


def test_what_would_have_to_be_pickled_is_refused(cache: StateManagerCache) -> None:
    with pytest.raises(StateValidationError, match="store"):
        cache.set("a", object())


def test_flask_caching_keeps_views_in_a_bucket(kv_world: World) -> None:
    kv_world.states.define_bucket("views")
    app, calls = kv_world.app, []
    kind = "flask_statemanager.integrations.flask_caching.cache"
    caching = Cache(config={"CACHE_TYPE": kind, "CACHE_BUCKET": "views", "CACHE_KEY_PREFIX": "v:"})
    caching.init_app(app)

    @app.get("/")
    @caching.cached(timeout=60)
    def page() -> str:
        calls.append(1)
        return f"called {len(calls)} times"

    client = app.test_client()
    assert [client.get("/").text for _ in range(2)] == ["called 1 times"] * 2
    assert len(kv_world.states.bucket("views").kv.keys("cache:v~3A:")) == 1
    kv_world.clock.advance(61)
    assert client.get("/").text == "called 2 times"
    with pytest.raises(ConfigurationError, match="CACHE_BUCKET"):
        flask_caching_cache(app, {}, [1], {})
    with pytest.raises(ConfigurationError, match=r"flask_caching\.cache"):
        StateManagerCache(app, {})  # type: ignore[arg-type]


def test_flask_session_keeps_sessions_in_a_bucket(kv_world: World) -> None:
    app = kv_world.app
    app.config.update(SESSION_TYPE="cachelib", SESSION_CACHELIB=StateManagerCache())
    Session(app)

    @app.get("/")
    def page() -> dict[str, Any]:
        session["visits"] = session.get("visits", 0) + 1
        return {"visits": session["visits"]}

    client = app.test_client()
    assert [client.get("/").json for _ in range(2)] == [{"visits": 1}, {"visits": 2}]
    assert len(kv_world.states.kv.keys("cache:")) == 1
