"""The live tail: what it tells, in which order, where it ends, how it goes on."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from flask_statemanager.cli import feed as feeds
from flask_statemanager.cli.feed import Feed, Heard
from flask_statemanager.errors import StorageUnavailable
from tests.cli_operator import Operator

pytest_plugins = ["tests.cli_operator"]

ALL = ("watch", "--since", "0", "--timeout", "0")
APP = """
from flask import Flask
from flask_statemanager import StateManager

app = Flask("shop")
app.config["STATEMANAGER_DATABASE_URI"] = {uri!r}
StateManager(app)
"""


@pytest.fixture
def filled(keeper: Operator) -> Operator:
    """An operator of an app in which something has happened."""
    keeper.run("register", "user_1", "user", "--data", '{"plan": "free", "password": "s3cret"}')
    keeper.run("transition", "user_1", "activate", "--data", '{"plan": "pro"}', "--reason", "paid")
    keeper.run("kv", "set", "a", '"' + "long " * 20 + '"')
    keeper.run("kv", "remove", "a", "--yes")
    keeper.run("delete", "user_1", "--yes")
    return keeper


def test_it_tells_what_has_happened_line_by_line(filled: Operator) -> None:
    lines = filled.said(*ALL)
    assert lines[0] == "12:00:00  create      state user_1  created v1 by operator"
    assert lines[1] == "12:00:00  activate    state user_1  created > active v2 by operator (paid)"
    assert lines[2] == '12:00:00  create      kv a  "long long long long long lon… v1 by operator'
    assert [line.split()[1] for line in lines[3:]] == ["remove", "delete"]


def test_the_end_says_how_to_go_on_and_going_on_misses_nothing(filled: Operator) -> None:
    first = filled.run(*ALL, "--limit", "2")
    cursor = first.stderr.strip().removeprefix("Go on with --since ")
    rest = filled.said("watch", "--since", cursor, "--timeout", "0")
    assert first.stdout.splitlines() + rest == filled.said(*ALL)
    assert "is not a position" in filled.refused("watch", "--since", "nonsense", "--timeout", "0")


def test_json_is_an_object_a_line_with_its_cursor_and_without_secrets(filled: Operator) -> None:
    told = [json.loads(line) for line in filled.run(*ALL, "--json").stdout.splitlines()]
    assert [(each["bucket"], each["event"]) for each in told][:2] == [("state", "create"), ("state", "activate")]
    assert (told[1]["old_status"], told[1]["new_status"], told[1]["reason"]) == ("created", "active", "paid")
    assert "s3cret" not in json.dumps(told)
    again = filled.run("watch", "--since", told[3]["cursor"], "--timeout", "0", "--json").stdout
    assert json.loads(again) == told[4]


def test_what_is_wanted_is_narrowed(filled: Operator) -> None:
    assert len(filled.said(*ALL, "--bucket", "kv")) == 2
    assert len(filled.said(*ALL, "--bucket", "state", "--event", "activate", "--event", "delete")) == 2
    assert len(filled.said(*ALL, "--type", "payment")) == 0
    assert len(filled.said(*ALL, "--id", "a")) == 2
    assert len(filled.said(*ALL, "--prefix", "user_")) == 3
    assert "nothing" in filled.refused("watch", "--bucket", "nothing", "--timeout", "0")
    assert filled.said("kv", "watch", "b", "--since", "0", "--timeout", "0") == []


def test_differences_are_shown_below(filled: Operator) -> None:
    lines = filled.said(*ALL, "--bucket", "state", "--diff", "--limit", "2")
    assert lines[1:] == ['         + /plan "free"', lines[2], '         ~ /plan "pro"']


def test_from_now_on_it_waits_and_ends_in_silence(filled: Operator) -> None:
    ended = filled.run("watch", "--timeout", "0.01")
    assert ended.stdout == ""
    assert ended.stderr.startswith("Go on with --since ")


def test_it_is_off_where_live_events_are(operator: Operator) -> None:
    operator.runtime.settings.__dict__["broadcast_changes"] = False
    assert "STATEMANAGER_BROADCAST_CHANGES" in operator.refused("watch", "--timeout", "0")


def test_what_is_not_kept_any_more_is_told_and_it_goes_on(filled: Operator) -> None:
    filled.clock.advance(3600)
    filled.run("register", "user_2", "user")
    filled.run("prune", "--history-before", "2026-01-01T12:30:00Z", "--yes")
    ended = filled.run("watch", "--since", "1", "--timeout", "0", "--bucket", "state")
    assert "Some changes are not kept any more; it goes on behind" in ended.stderr


def test_an_outage_of_the_storage_ends_nothing(filled: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    read, failures = feeds.Log.read, iter([True, True])

    def failing(self: Any, cursor: str, buckets: Any) -> Any:
        if next(failures, False):
            raise StorageUnavailable("gone")
        return read(self, cursor, buckets)

    monkeypatch.setattr(feeds.Log, "read", failing)
    with filled.app.app_context():
        feed = Feed(filled.runtime, ["state"], "0", 0.0, pause=pauses.append)
        told = list(feed)
    assert (len(pauses), len(told)) == (2, 3)
    assert all(isinstance(each, Heard) for each in told)


def test_buckets_in_several_logs_are_told_together(operator: Operator) -> None:
    operator.states.define_bucket("other", backend="memory")
    with operator.app.app_context():
        feed = Feed(operator.runtime, ["state", "other"], None, 0.0)
        operator.states.register_state("u", "user")
        operator.states.bucket("other").kv.set("k", 1)
        told = {each.change.key.name for each in feed if each.change is not None}
    assert told == {"u", "k"}


# -- in processes of their own -----------------------------------------------------------------------------------------


@pytest.fixture
def place(filled: Operator, tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A folder with the app, and the environment of a terminal."""
    (tmp_path / "app.py").write_text(APP.format(uri=filled.app.config["STATEMANAGER_DATABASE_URI"]))
    environ = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    return tmp_path, {**environ, "TERM": "xterm-256color", "COLUMNS": "80"}


def flask(*words: str) -> list[str]:
    return [sys.executable, "-m", "flask", "--app", "app", "state", *words]


def until(descriptor: int, wanted: str) -> str:
    """Read until a text comes; the process that writes is bound by its own timeout."""
    seen = ""
    while wanted not in seen:
        piece = os.read(descriptor, 65536)
        assert piece, seen
        seen += piece.decode()
    return seen


@pytest.mark.slow
def test_ctrl_c_ends_it_with_130_on_a_terminal_in_colour(place: tuple[Path, dict[str, str]]) -> None:
    folder, environ = place
    terminal, side = pty.openpty()
    words = flask("watch", "--since", "0", "--timeout", "120")
    with subprocess.Popen(words, stdout=side, stderr=side, stdin=side, cwd=folder, env=environ) as process:
        os.close(side)
        seen = until(terminal, "delete")
        process.send_signal(signal.SIGINT)
        seen += until(terminal, "Go on with --since ")
        assert process.wait(timeout=60) == 130
    os.close(terminal)
    assert "\x1b[32mcreate" in seen
    assert "Traceback" not in seen
    assert max(len(click.unstyle(line).rstrip()) for line in seen.splitlines()) <= 80


@pytest.mark.slow
def test_whoever_reads_may_go_and_no_colour_is_asked_for(place: tuple[Path, dict[str, str]]) -> None:
    folder, environ = place
    watching = flask("watch", "--since", "0", "--timeout", "120", "--json")
    with subprocess.Popen(watching, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=folder, env=environ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert b"user_1" in process.stdout.readline()
        process.stdout.close()
        subprocess.run(flask("register", "user_3", "user"), cwd=folder, env=environ, timeout=120, check=True)
        assert process.wait(timeout=120) == 1
        assert process.stderr.read() == b""
    terminal, side = pty.openpty()
    plain = {**environ, "NO_COLOR": "1"}
    subprocess.run(flask(*ALL), stdout=side, cwd=folder, env=plain, timeout=120, check=True, stderr=subprocess.PIPE)
    os.close(side)
    seen = os.read(terminal, 65536).decode()
    os.close(terminal)
    assert "user_1" in seen
    assert "\x1b" not in seen
