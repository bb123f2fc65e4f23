"""Setting up: the configuration that is written, the checks, health, metrics, and the shell."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import redis
from flask import Flask

from flask_statemanager import StateManager
from flask_statemanager.cli import checks, probe, shell
from flask_statemanager.cli.template import configuration
from flask_statemanager.config import PREFIX, Settings
from flask_statemanager.config.told import covered
from flask_statemanager.core.jobs import JobCounts
from flask_statemanager.effects.desk import Attendance
from flask_statemanager.errors import StorageUnavailable
from tests.cli_operator import Operator, application, hired
from tests.servers import RedisServer
from tests.worlds import cached_by

pytest_plugins = ["tests.cli_operator"]


def outcomes(operator: Operator, *words: str, code: int = 0) -> dict[str, tuple[str, str | None]]:
    """Check the set-up, and return what was found by what was looked at."""
    found = operator.loaded("check", "--json", *words, code=code)
    assert found["ok"] is not any(each["outcome"] == "failed" for each in found["checks"])
    return {each["name"]: (each["outcome"], each["cure"]) for each in found["checks"]}


@pytest.fixture
def employ(terminal: None) -> Iterator[Any]:
    """Put an app with a config together, and return its operator."""
    made: list[Operator] = []

    def build(**config: Any) -> Operator:
        made.append(hired(application(**config)))
        return made[-1]

    yield build
    for each in made:
        each.runtime.close()
    StateManager.reset_instance()


# -- the configuration -------------------------------------------------------------------------------------------------


def test_the_configuration_names_every_setting_with_a_default_that_is_one() -> None:
    text = configuration()
    assert max(map(len, text.splitlines())) <= 79
    config: dict[str, Any] = {}
    uncommented = re.sub(rf"^# (?={PREFIX}|    |\])", "", text, flags=re.M)
    exec(uncommented, config)  # noqa: S102 - what an operator would do
    del config["__builtins__"]
    assert set(config) == {key for key, _default, _doc in Settings.documented()}
    read, default = Settings.from_mapping(config), Settings()
    assert {name: getattr(read, name) for name in Settings.declarations} == {
        name: getattr(default, name) for name in Settings.declarations
    }
    assert "``" not in text
    assert ":doc:" not in text


def test_init_writes_a_file_and_overwrites_none_without_asking(keeper: Operator, tmp_path: Path) -> None:
    file = tmp_path / "config.py"
    said = keeper.run("init", str(file)).stdout
    assert said.startswith(f"Wrote {file}: app.config.from_pyfile(")
    assert "ok       database" in said
    assert file.read_text() == configuration()
    file.write_text("mine")
    assert "Overwrite it? [y/N]" in keeper.run("init", str(file), "--no-check", code=1, stdin="n\n").stdout
    assert file.read_text() == "mine"
    keeper.run("init", str(file), "--no-check", "--yes")
    assert file.read_text() == configuration()
    assert "cannot be written" in keeper.refused("init", str(tmp_path / "no" / "file"), "--no-check")


def test_init_prints_to_where_a_shell_leads_it_and_the_checks_beside(keeper: Operator) -> None:
    ended = keeper.run("init")
    assert ended.stdout == configuration()
    assert "ok       database" in ended.stderr


def test_init_helps_where_the_extension_is_not_there_yet() -> None:
    ended = Operator.run(_Bare(), "init", code=1)  # type: ignore[arg-type]
    assert "call state_manager.init_app(app)" in " ".join(ended.output.split())


class _Bare:
    """An operator of an app without the extension."""

    app = Flask("bare")


# -- checks ------------------------------------------------------------------------------------------------------------


def test_all_is_well_on_a_database_with_its_tables(keeper: Operator) -> None:
    found = outcomes(keeper)
    assert {name for name, (outcome, _cure) in found.items() if outcome == "ok"} == {
        *("database", "migrations", "writing")
    }
    assert found["worker"][0] == "warning"
    assert outcomes(keeper, "--strict", code=1) == found
    lines = keeper.said("check")
    assert lines[0] == "ok       database    SQLite answers: 0 states."
    assert any("-> Run 'flask state worker'" in line for line in lines)
    assert keeper.said("watch", "--since", "0", "--timeout", "0") == []


def test_nothing_is_written_where_that_is_asked_for(keeper: Operator) -> None:
    assert outcomes(keeper, "--no-write")["writing"] == ("off", None)
    with keeper.runtime.backend.reading() as unit:
        assert keeper.runtime.backend.read(unit, probe.Key(probe.BUCKET, "probe")) is None


def test_the_probe_leaves_one_record_and_one_change(keeper: Operator) -> None:
    for _time in range(3):
        outcomes(keeper)
    keeper.clock.advance(1)
    with keeper.app.app_context():
        assert keeper.states.search_states().count() == 0
        log = keeper.runtime.backend.follow(probe.BUCKET, keeper.runtime.backend.position(probe.BUCKET))
    assert log.changes == []


def test_missing_tables_are_one_failure_and_what_stands_on_them_is_left_aside(employ: Any, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'none.db'}"
    operator = employ(STATEMANAGER_BACKEND="sql", STATEMANAGER_DATABASE_URI=uri)
    found = outcomes(operator, code=1)
    assert [name for name, (outcome, _cure) in found.items() if outcome == "failed"] == ["database", "migrations"]
    assert "flask state db upgrade" in str(operator.loaded("check", "--json", code=1)["checks"][0]["message"])
    operator.run("db", "upgrade")
    assert outcomes(operator)["migrations"][0] == "ok"


def test_states_in_memory_are_a_warning(operator: Operator) -> None:
    found = outcomes(operator)
    assert (found["database"][0], found["migrations"][0]) == ("warning", "off")


def test_redis_is_looked_at_for_what_it_keeps(employ: Any, redis_server: RedisServer) -> None:
    config = {"STATEMANAGER_KV_BACKEND": "redis", "STATEMANAGER_REDIS_URL": redis_server.url}
    operator = employ(**config)
    found = outcomes(operator, code=1)
    assert (found["redis"][0], found["redis keeps"][0], found["redis evicts"][0]) == ("ok", "failed", "ok")
    with redis.Redis.from_url(redis_server.url) as client:
        client.config_set("maxmemory", "1gb")
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.config_set("appendonly", "yes")
        found = outcomes(operator, code=1)
        client.config_set("maxmemory", "0")
        client.config_set("maxmemory-policy", "noeviction")
    assert found["redis evicts"] == ("failed", "In redis.conf: maxmemory-policy noeviction.")
    assert found["redis keeps"][0] == "ok"
    assert "memory, redis" in " ".join(operator.said("check"))
    with redis.Redis.from_url(redis_server.url) as client:
        client.config_set("appendonly", "no")


def test_a_redis_that_does_not_answer_is_told_with_what_to_do(employ: Any) -> None:
    operator = employ(STATEMANAGER_KV_BACKEND="redis", STATEMANAGER_REDIS_URL="redis://127.0.0.1:1")
    found = outcomes(operator, code=1)
    assert found["redis"][0] == "failed"
    assert "STATEMANAGER_REDIS_URL" in str(found["redis"][1])
    assert found["writing"][0] in ("failed", "ok")


def test_the_cache_has_to_tell_what_was_just_written(
    employ: Any, tmp_path: Path, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"sqlite:///{tmp_path / 'states.db'}"
    operator = employ(STATEMANAGER_BACKEND="sql", STATEMANAGER_DATABASE_URI=uri, **cached_by(redis_server.url))
    operator.run("db", "upgrade")
    assert outcomes(operator)["cache"][0] == "ok"
    assert outcomes(operator, "--no-write")["cache"][0] == "ok"
    monkeypatch.setattr(checks.Probe, "run", lambda self: "cache" if self._bucket.cache else "store")
    found = outcomes(operator, code=1)
    assert (found["cache"][0], found["writing"][0]) == ("failed", "failed")
    operator.runtime.cache.check = lambda: False
    assert "STATEMANAGER_CACHE_URL" in str(outcomes(operator, code=1)["cache"][1])


def test_what_is_read_back_older_is_noticed(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = probe.Probe(operator.runtime.backend, None, operator.clock)
    assert tried.run() is None
    reads = probe.Probe._reads
    monkeypatch.setattr(probe.Probe, "_reads", lambda self, version, strong: not strong)
    assert tried.run() == "store"
    monkeypatch.setattr(probe.Probe, "_reads", lambda self, version, strong: strong)
    assert tried.run() == "cache"
    monkeypatch.setattr(probe.Probe, "_reads", reads)
    assert not tried._reads(10**6, strong=True)


@pytest.mark.parametrize(
    ("found", "outcome"),
    [
        (Attendance(JobCounts(1, 0, 0, None), "alive", 0.0), "ok"),
        (Attendance(JobCounts(1, 1, 0, None), "missing", 90.0), "failed"),
        (Attendance(JobCounts(0, 0, 2, None), "alive", 0.0), "warning"),
    ],
)
def test_the_worker_is_looked_for(
    keeper: Operator, monkeypatch: pytest.MonkeyPatch, found: Attendance, outcome: str
) -> None:
    monkeypatch.setattr(keeper.runtime.workshop.desk, "attendance", lambda: found)
    assert outcomes(keeper, code=int(outcome == "failed"))["worker"][0] == outcome


def test_an_embedded_worker_comes_with_the_application(employ: Any) -> None:
    assert outcomes(employ(STATEMANAGER_WORKER="embedded"))["worker"][0] == "ok"


def test_who_may_use_the_api_and_the_pages_is_looked_at(employ: Any) -> None:
    on = {"STATEMANAGER_API_ENABLED": True, "STATEMANAGER_ADMIN_ENABLED": True}
    found = outcomes(employ(**on), code=1)
    assert (found["api"][0], found["admin"][0]) == ("warning", "failed")
    found = outcomes(employ(**on, SECRET_KEY="k", STATEMANAGER_API_ROLES={"write": ["*"]}))
    assert (found["api"][0], found["admin"][0]) == ("warning", "warning")
    assert outcomes(employ(**on, SECRET_KEY="k", STATEMANAGER_API_ROLES={"admin": ["*"]}), code=1)["api"][0] == "failed"
    operator = employ(**on, SECRET_KEY="k")
    operator.states.identity_loader(lambda: None)
    found = outcomes(operator)
    assert (found["api"][0], found["admin"][0]) == ("ok", "ok")


def test_what_a_check_fails_with_is_a_finding(keeper: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Any:
        raise StorageUnavailable("The database does not answer: \x1b[31m" + "why " * 40)

    monkeypatch.setattr(keeper.runtime.lifecycle, "search_states", fail)
    found = outcomes(keeper, code=1)
    assert found["database"][0] == "failed"
    assert "\x1b" not in "\n".join(keeper.said("check", code=1))


# -- health, metrics, config -------------------------------------------------------------------------------------------


def test_health_is_told_and_unhealthy_is_exit_code_1(keeper: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    assert keeper.said("health")[:3] == ["status    healthy", "backend   sql", "states    0"]
    assert keeper.loaded("health", "--json")["status"] == "healthy"
    report = {"status": "unhealthy", "backend": "sql", "state_count": None, "cache": "off", "effects": None}
    monkeypatch.setattr(keeper.runtime, "health", lambda: {**report, "warnings": ["w"], "error": "gone"})
    assert keeper.said("health", code=1)[-2:] == ["warning   w", "error     gone"]


def test_metrics_count_what_is_there(keeper: Operator) -> None:
    keeper.run("register", "u", "user")
    keeper.run("kv", "set", "a", "1")
    found = keeper.loaded("metrics", "--json")
    assert (found["states.user.created"], found["keys.kv"], found["jobs.dead"], found["snapshots"]) == (1, 1, 0, 0)
    assert keeper.said("metrics")[0].split() == ["METRIC", "VALUE"]


def test_config_is_shown_without_secrets_and_says_where_it_is_from(
    employ: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE_MAX_SNAPSHOTS", "7")
    digest = "a" * 64
    operator = employ(
        STATEMANAGER_REDIS_URL="redis://ann:s3cret@127.0.0.1:1/0",
        STATEMANAGER_API_TOKENS={digest: {"user": "ann", "roles": ["admin"]}},
        STATE_BACKEND="memory",
        STATEMANAGER_API_BUCKETS=["kv"],
    )
    told = operator.loaded("config", "--json")
    assert told["STATEMANAGER_REDIS_URL"] == {"value": "redis://[hidden]@127.0.0.1:1/0", "from": "config"}
    assert told["STATEMANAGER_API_TOKENS"]["value"] == "[hidden]"
    assert told["STATEMANAGER_MAX_SNAPSHOTS"] == {"value": 7, "from": "environment (STATE_MAX_SNAPSHOTS)"}
    assert told["STATEMANAGER_STORES_BACKEND"]["from"] == "config (STATE_BACKEND)"
    assert told["STATEMANAGER_API_BUCKETS"]["value"] == ["kv"]
    everything = operator.run("config", "--all", "--wide").stdout
    assert "s3cret" not in everything
    assert digest not in everything
    assert operator.said("config", "redis_url") == ['"redis://[hidden]@127.0.0.1:1/0"']
    assert "was STATEMANAGER_REDIS_URL meant?" in operator.refused("config", "redis_ur")
    assert "--all" in operator.refused("config", "zzzzzz")
    assert operator.said("tokens")[1].split() == ["ann", "admin", "sha256:aaaaaaaa..."]
    assert operator.loaded("tokens", "--json")["items"][0]["hash"] == "sha256:aaaaaaaa"
    assert covered("s3://b/p?aws_secret_key=x&region=y") == "s3://b/p?aws_secret_key=[hidden]&region=y"


def test_where_nothing_is_configured_it_says_so(keeper: Operator) -> None:
    assert keeper.said("tokens") == ["No tokens are configured: 'flask state token' makes one."]
    keeper.app.config = dict.fromkeys(keeper.app.config)  # type: ignore[assignment]
    assert keeper.said("config") == ["Everything is as by default; --all shows it."]


# -- the shell ---------------------------------------------------------------------------------------------------------


def test_the_shell_runs_a_line_or_what_comes_on_standard_input(operator: Operator) -> None:
    operator.run("shell", "-c", "state_manager.register_state('u', 'user')")
    assert operator.said("shell", "-c", "state_manager.get_state('u').status") == ["'created'"]
    with operator.app.app_context():
        entry = operator.states.get_state_history("u")[0]
    assert (entry.actor, entry.source) == ("operator", "state shell")
    script = "for i in range(2):\n    kv.set(f'k{i}', i)\nprint(app.name, kv.count(), manager is state_manager)\n"
    assert operator.said("shell", stdin=script) == ["shop 2 True"]
    assert "There is no state 'x'" in operator.refused("shell", "-c", "state_manager.update_state('x')")


def test_the_shell_opens_ipython_where_there_is_one_or_pythons_own(
    keeper: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Any] = []
    fake = ModuleType("IPython")
    fake.start_ipython = lambda argv, user_ns: opened.append(user_ns)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", fake)
    monkeypatch.setattr(shell, "find_spec", lambda name: object())
    monkeypatch.setattr(shell, "_typed", lambda: True)
    monkeypatch.setattr(shell.code, "interact", lambda banner, local, exitmsg: opened.append(banner))
    keeper.run("shell")
    keeper.run("shell", "--plain")
    assert {"state_manager", "app", "kv", "manager"} <= set(opened[0])
    assert "At hand: app, g, kv, manager, state_manager" in opened[1]


def test_a_refusal_in_a_document_stays_one_document(keeper: Operator) -> None:
    assert json.loads(keeper.run("check", "--json").stdout)["ok"] is True
