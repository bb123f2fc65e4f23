"""The extension object: one manager, many apps, and what happens without one."""

from __future__ import annotations

import logging
import threading
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask, g
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import create_engine, inspect
from werkzeug.exceptions import NotFound

from flask_statemanager import (
    ConfigurationError,
    StateManager,
    StateNotFound,
    StateValidationError,
    StorageError,
    StorageUnavailable,
)
from flask_statemanager.backends.sql.dialects import dialect_of
from flask_statemanager.config import Settings
from flask_statemanager.globals import current_runtime
from tests.worlds import World

pytestmark = pytest.mark.usefixtures("state_manager_reset")


def make_app(uri: str | None = "sqlite://", **config: Any) -> tuple[Flask, SQLAlchemy]:
    app, db = Flask("app"), SQLAlchemy()
    app.config.update(config)
    if uri is not None:
        app.config["SQLALCHEMY_DATABASE_URI"] = uri
        db.init_app(app)
    return app, db


def test_there_is_one_manager_until_it_is_reset() -> None:
    first = StateManager()
    assert StateManager() is first
    assert StateManager.get_instance() is first
    app, _db = make_app()
    assert StateManager(app) is first
    StateManager.reset_instance()
    assert StateManager() is not first


def test_without_any_app_states_live_in_memory_and_a_warning_says_so() -> None:
    manager = StateManager()
    with pytest.warns(UserWarning, match="nothing outlives the process"):
        manager.register_state("u1", "user")
    assert manager.get_state("u1") is not None
    StateManager.reset_instance()
    with pytest.warns(UserWarning, match="nothing outlives"):
        assert StateManager().get_state("u1") is None


def test_after_init_app_nothing_goes_to_memory_any_more() -> None:
    app, _db = make_app()
    manager = StateManager(app)
    with pytest.raises(ConfigurationError, match="app_context"):
        manager.register_state("u1", "user")
    answers: list[Any] = []

    def lost() -> None:
        try:
            manager.register_state("u1", "user")
        except ConfigurationError as error:
            answers.append(error)

    thread = threading.Thread(target=lost)
    with app.app_context():
        thread.start()
        thread.join(10)
    assert len(answers) == 1
    with Flask("other").app_context(), pytest.raises(ConfigurationError, match="init_app"):
        manager.register_state("u1", "user")


def test_a_second_init_app_on_one_app_is_refused() -> None:
    app, _db = make_app()
    manager = StateManager(app)
    with pytest.raises(ConfigurationError, match="once for each app"):
        manager.init_app(app)


def test_two_apps_share_definitions_and_nothing_else() -> None:
    manager = StateManager()
    apps = [make_app() for _ in range(2)]
    for app, db in apps:
        manager.init_app(app)
        with app.app_context():
            db.create_all()
    manager.define("order")
    with apps[0][0].app_context():
        manager.register_state("o1", "order", {"app": 0})
    with apps[1][0].app_context():
        assert manager.get_state("o1") is None
        manager.register_state("o1", "order", {"app": 1})
        assert manager.get_state_history("o1")[0].new_data == {"app": 1}
    with apps[0][0].app_context():
        assert manager.get_state("o1").data == {"app": 0}  # type: ignore[union-attr]


def test_an_app_keeps_its_definitions_after_a_reset() -> None:
    app, db = make_app()
    manager = StateManager(app)
    manager.define("order")
    StateManager.reset_instance()
    with app.app_context():
        db.create_all()
        assert StateManager().register_state("o1", "order").type == "order"


def test_two_apps_on_one_flask_sqlalchemy_object_declare_the_tables_once() -> None:
    db, manager = SQLAlchemy(), StateManager()
    for number in range(2):
        app = Flask(f"app{number}")
        app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite://"
        db.init_app(app)
        manager.init_app(app, db=db)
        with app.app_context():
            db.create_all()
            manager.register_state("u1", "user", {"n": number})


def test_the_order_of_extensions_is_named_when_it_is_wrong(tmp_path: Path) -> None:
    app, db = make_app(None, STATEMANAGER_DATABASE_URI=f"sqlite:///{tmp_path / 'own.db'}")
    manager = StateManager()
    with pytest.raises(ConfigurationError, match=r"db\.init_app\(app\) before"):
        manager.init_app(app, db=db)
    with pytest.raises(ConfigurationError, match="Flask-SQLAlchemy object"):
        manager.init_app(app, db=5)
    manager.init_app(app)
    app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite://"
    db.init_app(app)
    with app.app_context(), pytest.raises(ConfigurationError, match=r"db\.init_app\(app\) before"):
        manager.get_state("u1")


def test_a_bind_key_puts_the_tables_on_a_bind(tmp_path: Path) -> None:
    binds = {"states": f"sqlite:///{tmp_path / 'states.db'}"}
    app, db = make_app("sqlite://", SQLALCHEMY_BINDS=binds, STATEMANAGER_BIND_KEY="states")
    manager = StateManager(app)
    with app.app_context():
        db.create_all()
        manager.register_state("u1", "user")
        manager.register_state("u2", "user", session=db.session)
        db.session.commit()
        assert "statemanager_state" in inspect(db.engines["states"]).get_table_names()
        assert "statemanager_state" not in inspect(db.engine).get_table_names()
        assert manager.search_states("user").count() == 2
        db.engines["states"].dispose()


def test_an_unknown_bind_is_refused_by_name() -> None:
    app, _db = make_app("sqlite://", STATEMANAGER_BIND_KEY="states")
    with pytest.raises(ConfigurationError, match=r"SQLALCHEMY_BINDS\['states'\]"):
        StateManager(app)
    app, _db = make_app(None, STATEMANAGER_BIND_KEY="states")
    with pytest.raises(ConfigurationError, match="needs Flask-SQLAlchemy"):
        StateManager(app)


def test_a_second_database_beside_flask_sqlalchemy_is_refused() -> None:
    app, _db = make_app("sqlite://", STATEMANAGER_DATABASE_URI="sqlite://")
    with pytest.raises(ConfigurationError, match="second database"):
        StateManager(app)


def test_without_flask_sqlalchemy_an_own_file_in_the_instance_folder_is_used(tmp_path: Path) -> None:
    app = Flask("alone", instance_path=str(tmp_path / "instance"))
    manager = StateManager(app)
    with app.app_context():
        with pytest.raises(StorageError, match="flask state db upgrade"):
            manager.register_state("u1", "user")
        app.extensions["statemanager"].backend.create_tables()
        manager.register_state("u1", "user")
        backend = app.extensions["statemanager"].backend
        with backend.engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        backend.close()
    assert (tmp_path / "instance" / "statemanager.db").exists()


def test_an_instance_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    app = Flask("alone", instance_path=str(tmp_path / "file" / "instance"))
    with pytest.raises(StorageUnavailable, match="STATEMANAGER_DATABASE_URI"):
        StateManager(app)


def test_wal_is_switched_on_for_the_applications_file_only_when_asked(tmp_path: Path) -> None:
    for number, (wal, mode) in enumerate([(None, "delete"), (True, "wal"), (False, "delete")]):
        app, db = make_app(f"sqlite:///{tmp_path / f'{number}.db'}", STATEMANAGER_SQLITE_WAL=wal)
        StateManager().init_app(app)
        with app.app_context():
            with db.engine.connect() as connection:
                assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == mode
            db.engine.dispose()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("STATEMANAGER_BACKEND", "redis", "must be 'sql' or 'memory'"),
        ("STATEMANAGER_CACHE_TLL", 5, "was STATEMANAGER_CACHE_TTL meant"),
        ("STATEMANAGER_COLOUR_OF_ALL", 5, "known are|meant"),
        ("STATEMANAGER_CACHE_TTL", -1, "above 0"),
        ("STATEMANAGER_CACHE_TTL", "soon", "unusable"),
        ("STATEMANAGER_CACHE_TTL", True, "unusable"),
        ("STATEMANAGER_MAX_VALUE_BYTES", 0, "above 0"),
        ("STATEMANAGER_SQLITE_WAL", "perhaps", "True or False"),
        ("STATEMANAGER_DATABASE_URI", "", "not empty"),
    ],
)
def test_unusable_settings_are_refused_by_name(key: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        Settings.from_mapping({key: value})
    assert key in str(caught.value)


def test_settings_read_what_environments_give_as_text() -> None:
    given = {"STATEMANAGER_SQLITE_WAL": "yes", "STATEMANAGER_CACHE_TTL": "5", "STATEMANAGER_MAX_VALUE_BYTES": "100"}
    settings = Settings.from_mapping(given | {"OTHER": 1, "STATEMANAGER_CACHE_URL": None})
    assert (settings.sqlite_wal, settings.cache_ttl, settings.max_value_bytes) == (True, 5.0, 100)
    assert settings.cache_url is None


def test_a_database_of_another_kind_or_an_unusable_url_is_refused() -> None:
    for uri in ("no url", "nosuchdialect://x/y"):
        app = Flask("alone")
        app.config["STATEMANAGER_DATABASE_URI"] = uri
        with pytest.raises(ConfigurationError, match="unusable"):
            StateManager().init_app(app)
    StateManager.reset_instance()
    with pytest.raises(ConfigurationError, match="not supported"):
        dialect_of(SimpleNamespace(dialect=SimpleNamespace(name="oracle")))  # type: ignore[arg-type]


def test_registering_inside_a_request_is_refused(world: World) -> None:
    with world.app.test_request_context("/"):
        for register in (
            lambda: world.states.define("x"),
            lambda: world.states.register_validator("user", lambda state: True),
            lambda: world.states.register_callback("user", lambda *call: None),
            lambda: world.states.actor_loader(lambda: "x"),
            lambda: world.states.use_clock(world.clock),
        ):
            with pytest.raises(ConfigurationError, match="during a request"):
                register()
        assert world.states.register_state("u1", "user").version == 1
    with pytest.raises(ConfigurationError, match="now"):
        world.states.use_clock(object())  # type: ignore[arg-type]


def test_who_asks_comes_from_the_argument_the_request_or_the_system(world: World) -> None:
    world.states.actor_loader(lambda: g.get("user"))
    world.app.add_url_rule("/act", "act", lambda: world.states.update_state("u1", reason=None))
    world.states.register_state("u1", "user")
    with world.app.test_request_context("/act", headers={"X-Request-ID": "req-1"}):
        world.states.update_state("u1")
        g.user = 7
        world.states.update_state("u1", actor="explicit", source="job")
        world.states.update_state("u1", reason="because")
    with world.app.test_request_context("/nowhere", headers={"X-Request-ID": "bad id\tx"}):
        world.states.update_state("u1")
    told = [(e.actor, e.source, e.reason, e.request_id) for e in world.states.get_state_history("u1")]
    assert told == [
        ("system", None, None, None),
        ("system", "act", None, "req-1"),
        ("explicit", "job", None, "req-1"),
        ("7", "act", "because", "req-1"),
        ("7", None, None, None),
    ]


def test_get_state_or_404_ends_the_request(world: World) -> None:
    world.states.register_state("u1", "user")
    assert world.states.get_state_or_404("u1").state_id == "u1"
    for absent in ("u2", "not an id"):
        with pytest.raises(NotFound, match="No such user"):
            world.states.get_state_or_404(absent, "No such user")


def test_health_tells_count_cache_and_backend(world: World) -> None:
    world.states.register_state("u1", "user")
    world.states.register_state("u2", "user")
    world.states.delete_state("u2")
    report = world.states.get_health_status()
    backend = "memory" if world.kind == "memory" else "sql"
    assert report == {
        "status": "healthy",
        "state_count": 1,
        "cache_hit_rate": 0.0,
        "backend": backend,
        "cache": "off",
        "effects": {"pending": 0, "due": 0, "dead": 0, "waiting": 0.0, "worker": "none"},
        "warnings": [],
    }


def test_health_is_unhealthy_without_tables(tmp_path: Path) -> None:
    app, db = make_app(f"sqlite:///{tmp_path / 'empty.db'}")
    manager = StateManager(app)
    with app.app_context():
        report = manager.get_health_status()
        db.engine.dispose()
    assert (report["status"], report["state_count"], report["effects"]) == ("unhealthy", None, None)
    assert "flask state db upgrade" in report["error"]


def test_an_operation_is_logged_with_its_fields(world: World, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "flask_statemanager.operations"):
        world.states.log_state_operation(
            operation="state_update",
            state_id="u1",
            transition_type="activate",
            duration_ms=45,
            fields={"name": "a\nb c"},
        )
    record: Any = caplog.records[-1]
    assert (record.operation, record.state_id, record.transition_type, record.duration_ms) == (
        "state_update",
        "u1",
        "activate",
        45,
    )
    assert record.state_name == "a\nb c"
    assert (
        record.getMessage()
        == "operation=state_update state_id=u1 transition_type=activate duration_ms=45 name='a\\nb c'"
    )


def test_managers_shape_a_manager_without_an_app(tmp_path: Path, redis_url: str) -> None:
    url = f"sqlite:///{tmp_path / 'managers.db'}"
    database, redis = SimpleNamespace(engine=create_engine(url)), SimpleNamespace(redis_url=redis_url)
    manager = StateManager.get_instance(redis_manager=redis, database_manager=database)
    assert StateManager(redis_manager=redis, database_manager=database) is manager
    assert StateManager.get_instance(redis_manager=redis) is manager
    manager.register_state("u1", "user", {"a": 1})
    assert manager.get_state("u1") == manager.get_state("u1")
    assert manager.get_health_status()["cache_hit_rate"] == 1.0
    with pytest.raises(ConfigurationError, match="other managers"):
        StateManager.get_instance(database_manager=SimpleNamespace(engine=create_engine(url)))
    app, _db = make_app()
    with pytest.raises(ConfigurationError, match="without an app"):
        manager.init_app(app)
    StateManager.reset_instance()
    again = StateManager(database_manager=url)
    assert again.get_state("u1").data == {"a": 1}  # type: ignore[union-attr]
    StateManager.reset_instance()
    database.engine.dispose()


def test_managers_that_come_too_late_are_refused(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        StateManager().register_state("u1", "user")
    with pytest.raises(ConfigurationError, match="too late"):
        StateManager(database_manager=f"sqlite:///{tmp_path / 'late.db'}")
    StateManager.reset_instance()
    app, _db = make_app()
    StateManager(app)
    with pytest.raises(ConfigurationError, match="this one has one"):
        StateManager(database_manager=f"sqlite:///{tmp_path / 'late.db'}")


@pytest.mark.parametrize("named", ["engine", "db", "database_url", "database_uri", "url"])
def test_a_database_manager_may_name_its_database_in_several_ways(tmp_path: Path, named: str) -> None:
    url = f"sqlite:///{tmp_path / 'named.db'}"
    engine = create_engine(url)
    value: Any = engine if named == "engine" else SimpleNamespace(engine=engine) if named == "db" else url
    manager = StateManager(database_manager=SimpleNamespace(**{named: value}))
    manager.register_state("u1", "user")
    StateManager.reset_instance()
    engine.dispose()


def test_a_manager_that_offers_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="offers no database"):
        StateManager(database_manager=object()).get_state("u1")
    StateManager.reset_instance()
    with pytest.raises(ConfigurationError, match="offers no Redis"):
        StateManager(database_manager=f"sqlite:///{tmp_path / 'states.db'}", redis_manager=object()).get_state("u1")


def test_a_flask_sqlalchemy_object_as_manager_needs_an_app_context() -> None:
    app, db = make_app()
    with pytest.raises(ConfigurationError, match="app context"):
        StateManager(database_manager=db).get_state("u1")
    with app.app_context():
        assert StateManager().get_state("u1") is None


def test_the_proxy_says_what_is_missing(world: World) -> None:
    assert current_runtime.lifecycle.get_state("u1") is None
    with Flask("other").app_context(), pytest.raises(ConfigurationError, match="init_app"):
        current_runtime.counters  # noqa: B018


def test_missing_tables_name_the_command(sql_world: World) -> None:
    sql_world.runtime.backend.tables.state.metadata.drop_all(sql_world.runtime.backend.engine)
    for verb in (
        lambda: sql_world.states.get_state("u1"),
        lambda: sql_world.states.register_state("u1", "user"),
        lambda: list(sql_world.states.search_states("user")),
        lambda: sql_world.states.get_state_history("u1"),
        lambda: sql_world.states.register_state("u1", "user", session=sql_world.db.session),
    ):
        with pytest.raises(StorageError, match="flask state db upgrade"):
            verb()
    sql_world.db.session.rollback()


def test_types_are_listed(world: World) -> None:
    world.states.define("order")
    assert world.states.get_machine("order").allowed("expired") == ("activate", "update", "delete")
    assert world.states.types == ["feature", "order", "session", "subscription", "transaction", "user"]
    with pytest.raises(StateNotFound):
        world.states.allowed_transitions("nobody")


@pytest.mark.parametrize("key", ["STATEMANAGER_WORKER", "STATEMANAGER_DISPATCH"])
def test_a_worker_beside_the_application_needs_a_database_that_both_can_open(
    key: str, state_manager_reset: None
) -> None:
    app = Flask("shop")
    app.config[key] = "embedded" if key.endswith("WORKER") else "celery"
    app.config["STATEMANAGER_DATABASE_URI"] = "sqlite://"
    with pytest.raises(ConfigurationError, match=r"in-memory SQLite, .*: use a database file or a server"):
        StateManager(app)


def test_celery_cannot_see_what_is_in_memory(state_manager_reset: None) -> None:
    app = Flask("shop")
    app.config.update(STATEMANAGER_DISPATCH="celery", STATEMANAGER_BACKEND="memory")
    with pytest.raises(ConfigurationError, match="the memory backend"):
        StateManager(app)


@pytest.mark.parametrize("threads", [0, -1, 257, "x", 1.5, True, None])
def test_a_worker_has_a_sensible_number_of_threads(world: World, threads: Any) -> None:
    with pytest.raises(StateValidationError, match="1 to 256"):
        world.states.run_worker(threads=threads)


@pytest.mark.parametrize(
    ("key", "value"),
    [("CACHE_TTL", 10**400), ("CACHE_TTL", "72h"), ("WORKER_POLL", 1e-9), ("WORKER_LEASE", 0), ("WORKER_THREADS", 0)],
)
def test_an_unusable_number_is_refused_in_a_sentence(key: str, value: Any, state_manager_reset: None) -> None:
    app = Flask("shop")
    app.config[f"STATEMANAGER_{key}"] = value
    with pytest.raises(ConfigurationError, match=rf"STATEMANAGER_{key}=.* is unusable: it must be a (whole )?number"):
        StateManager(app)


@pytest.mark.parametrize("status", [5, [[]], ["nonsense"], {"dead": 1}])
def test_effects_are_listed_by_known_statuses(world: World, status: Any) -> None:
    with pytest.raises(StateValidationError, match="known are pending"):
        world.states.list_effects(status=status)


def test_a_unit_of_work_is_a_function_and_its_session_one(world: World) -> None:
    with pytest.raises(StateValidationError, match="a function without arguments"):
        world.states.retry_conflicts(5)
    with pytest.raises(StateValidationError, match=r"db\.session"):
        world.states.retry_conflicts(lambda: None, session="x")
