"""The usages that a description of a Dash app's own state manager prints, as printed; only import lines are others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_statemanager import stores
from flask_statemanager.stores import StateManagerConfig, get_state_manager_config, refresh_state_manager

CONFIG = """\
STATE_BACKEND = "client"  # Options: "client", "memory", "redis", "database"
STATE_TTL_DEFAULT = 3600  # Default TTL in seconds
STATE_ENABLE_USER_ISOLATION = true
STATE_REDIS_URL = "redis://localhost:6379/0"
STATE_DATABASE_URL = "sqlite:///state.db"
"""

BASIC_USAGE = """\
from flask_statemanager.stores import get_state_manager

# Get global StateManager instance
sm = get_state_manager()

# Set user context
sm.set_user_context('user-123')

# Store and retrieve data
sm.set_store_data('my-store', {'key': 'value'})
data = sm.get_store_data('my-store')
"""

CONVENIENCE_FUNCTIONS = """\
from flask_statemanager.stores import get_store, set_store

# Simple store operations
set_store('filters', {'age': [18, 65]})
filters = get_store('filters')
"""

TESTING = """\
from flask_statemanager.stores import StateManager
from flask_statemanager.stores import ClientStateBackend

# Simple integration test
backend = ClientStateBackend()
print('✅ ClientStateBackend working')

sm = StateManager()
print('✅ StateManager initialized')

sm.set_store_data('test', {'data': 'value'})
result = sm.get_store_data('test')
print('✅ Store operations working')
"""


def typed(text: str) -> dict[str, Any]:
    """Run what is printed, and return the names that it leaves."""
    names: dict[str, Any] = {}
    exec(compile(text, "dash-stores", "exec", dont_inherit=True), names)  # noqa: S102 - the text above
    return names


@pytest.fixture(params=["client", "memory", "database"])
def backend(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A folder with the printed configuration, of which the backend alone is another."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.toml").write_text(CONFIG.replace('"client"', f'"{request.param}"', 1))
    refresh_state_manager()
    yield request.param
    stores.set_user_context(None)
    refresh_state_manager(StateManagerConfig())


def test_configuration_options(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(CONFIG)
    assert get_state_manager_config(tmp_path / "config.toml") == StateManagerConfig(
        "client", True, 3600.0, redis_url="redis://localhost:6379/0", database_url="sqlite:///state.db"
    )


def test_basic_usage(backend: str) -> None:
    kept = {"key": "value"} if backend != "client" else stores.CLIENT_MANAGED
    names = typed(BASIC_USAGE)
    assert names["data"] == kept
    assert names["sm"].get_store_data("my-store", user_id="user-124") in (None, stores.CLIENT_MANAGED)


def test_convenience_functions(backend: str) -> None:
    assert typed(CONVENIENCE_FUNCTIONS)["filters"] == (
        {"age": [18, 65]} if backend != "client" else stores.CLIENT_MANAGED
    )


def test_testing(backend: str, capsys: pytest.CaptureFixture[str]) -> None:
    names = typed(TESTING)
    assert names["result"] == ({"data": "value"} if backend != "client" else stores.CLIENT_MANAGED)
    assert names["backend"].get_stats()["backend_type"] == "client"
    assert capsys.readouterr().out.count("✅") == 3


def test_the_same_within_a_dash_apps_server() -> None:
    server = Flask("dash")
    server.config.update(STATE_BACKEND="memory", SECRET_KEY="signed")
    with server.test_request_context():
        assert typed(BASIC_USAGE)["data"] == {"key": "value"}
        assert typed(CONVENIENCE_FUNCTIONS)["filters"] == {"age": [18, 65]}
        assert typed(TESTING)["result"] == {"data": "value"}


def test_key_features(backend: str) -> None:
    manager = stores.get_state_manager()
    assert manager.is_client_managed() is (backend == "client")
    assert stores.generate_session_id() != stores.generate_session_id()
    stats = manager.get_backend_stats()
    assert {"backend_type", "total_keys", "total_size_bytes", "user_isolation_enabled"} <= set(stats)
    if backend == "client":
        assert manager.migrate_to_server_backend("memory") == 0
        assert stores.set_store("filters", 1) is stores.NO_UPDATE
    assert all(callable(getattr(stores, name)) for name in ("delete_store", "store_exists", "get_store", "set_store"))
    assert (stores.delete_store("filters"), stores.store_exists("filters")) == (backend == "client", False)
