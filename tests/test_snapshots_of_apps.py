"""Snapshots of an application: its states and its keys, by what its settings say."""

from __future__ import annotations

import pytest
from flask import Flask

from flask_statemanager import StateManager
from flask_statemanager.core.snapshots import Restored
from flask_statemanager.errors import Compacted


def test_an_app_keeps_its_snapshots_where_its_setting_says(tmp_path):
    StateManager.reset_instance()
    app = Flask("shop", instance_path=str(tmp_path))
    app.config.update(STATEMANAGER_BACKEND="memory", STATEMANAGER_SNAPSHOTS=f"memory://{tmp_path.name}")
    manager = StateManager(app)
    with app.app_context():
        manager.kv.set("a", 1)
        manager.register_state("user_1", "user", {"email": "a@example.com"})
        made = manager.snapshots.create_snapshot()
        assert made.location.startswith(f"memory:///{tmp_path.name}/")
        assert made.buckets == ("kv", "state")
        manager.kv.set("a", 2)
        manager.update_state("user_1", transition="activate")
        assert manager.snapshots.restore_snapshot(made) == Restored(changed=2)
        assert manager.kv.get("a") == 1
        assert manager.get_state("user_1").status == "created"
    StateManager.reset_instance()


def test_the_worker_makes_snapshots_where_that_is_switched_on(tmp_path):
    StateManager.reset_instance()
    app = Flask("shop", instance_path=str(tmp_path))
    app.config.update(STATEMANAGER_BACKEND="memory", STATE_PERSISTENCE_ENABLED="true", STATE_MAX_SNAPSHOTS="1")
    manager = StateManager(app)
    with app.app_context():
        manager.kv.set("a", 1)
        manager.run_worker()
        [made] = manager.snapshots.list_snapshots()
        assert (made.label.automatic, made.keys) == (True, 1)
        assert made.location.startswith(str(tmp_path / "snapshots"))
    StateManager.reset_instance()


def test_the_worker_makes_none_by_itself(tmp_path):
    StateManager.reset_instance()
    app = Flask("shop", instance_path=str(tmp_path))
    app.config.update(STATEMANAGER_BACKEND="memory")
    manager = StateManager(app)
    with app.app_context():
        manager.kv.set("a", 1)
        manager.run_worker()
        assert manager.snapshots.list_snapshots() == []
    StateManager.reset_instance()


def test_a_cached_value_is_not_believed_after_a_restore(tmp_path, redis_url):
    StateManager.reset_instance()
    app = Flask("shop", instance_path=str(tmp_path))
    app.config.update(
        STATEMANAGER_DATABASE_URI=f"sqlite:///{tmp_path / 'states.db'}",
        STATEMANAGER_CACHE="on",
        STATEMANAGER_CACHE_URL=redis_url,
    )
    manager = StateManager(app)
    with app.app_context():
        runtime = app.extensions["statemanager"]
        runtime.backend.create_tables()
        manager.kv.set("a", 1)
        manager.register_state("user_1", "user", {"email": "a@example.com"})
        made = manager.snapshots.create_snapshot()
        manager.kv.set("a", 2)
        manager.update_state("user_1", transition="activate")
        assert (manager.kv.get("a"), manager.get_state("user_1").status) == (2, "active")
        manager.snapshots.restore_snapshot(made)
        assert (manager.kv.get("a"), manager.get_state("user_1").status) == (1, "created")
        runtime.close()
    StateManager.reset_instance()


def test_states_in_the_database_and_keys_on_redis_are_in_one_snapshot(tmp_path, redis_url):
    StateManager.reset_instance()
    app = Flask("shop", instance_path=str(tmp_path))
    app.config.update(
        STATEMANAGER_DATABASE_URI=f"sqlite:///{tmp_path / 'states.db'}",
        STATEMANAGER_KV_BACKEND="redis",
        STATEMANAGER_REDIS_URL=redis_url,
        STATEMANAGER_PERSISTENCE_ENABLED=True,
    )
    manager = StateManager(app)
    with app.app_context():
        runtime = app.extensions["statemanager"]
        runtime.backend.create_tables()
        manager.kv.set("a", 1, metadata={"m": 1})
        manager.register_state("user_1", "user", {"email": "a@example.com"})
        manager.run_worker()
        [first] = manager.snapshots.list_snapshots()
        assert (first.kind, first.buckets, first.keys) == ("full", ("kv", "state"), 2)
        manager.kv.set("a", 2)
        manager.kv.set("b", 2)
        made = manager.snapshots.create_snapshot(incremental=True)
        assert (made.kind, made.base, made.keys) == ("delta", first.id, 2)
        cursor = manager.kv.watch(timeout=0).cursor
        manager.kv.remove("a")
        manager.update_state("user_1", transition="activate")
        assert manager.snapshots.restore_snapshot(made) == Restored(created=1, changed=1, same=1)
        assert (manager.kv.get("a"), manager.kv.get_metadata("a")) == (2, {"m": 1})
        assert manager.get_state("user_1").status == "created"
        assert manager.snapshots.restore_snapshot(first) == Restored(changed=1, same=1, removed=1)
        assert (manager.kv.get("a"), manager.kv.get("b"), manager.kv.count()) == (1, None, 1)
        with pytest.raises(Compacted):
            next(iter(manager.kv.watch(since=cursor, timeout=0)))
        runtime.close()
    StateManager.reset_instance()
