"""The command line: what an operator types, and what comes back in 80 columns."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from flask import Flask
from marshmallow import Schema, fields

from flask_statemanager import Machine, StateManager, Transition
from flask_statemanager.cli import state
from flask_statemanager.cli.registry import COMMANDS
from flask_statemanager.cli.tables import Column, breadth, printable, say, shortened, table

Run = Callable[..., Result]

# Before click 8.2 the runner mixes standard error into the output unless it is told not to.
APART = {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}
NEWEST = "0006"
"""The newest revision of the tables."""
NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)


class SteppingClock:
    """A clock that stands still until the next command, which comes a minute later."""

    def __init__(self) -> None:
        self.moment = NOON

    def now(self) -> datetime:
        return self.moment

    def step(self) -> None:
        self.moment += timedelta(minutes=1)


class Invoice(Schema):
    amount = fields.Float(required=True)


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A terminal of 80 columns, and a manager of its own."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LOGNAME", "operator")
    StateManager.reset_instance()
    yield
    StateManager.reset_instance()


@pytest.fixture
def clock() -> SteppingClock:
    """The time."""
    return SteppingClock()


@pytest.fixture
def shop(tmp_path: Path, clock: SteppingClock) -> Iterator[Flask]:
    """An app on an SQLite file, without tables."""
    made = Flask("shop")
    made.config["STATEMANAGER_DATABASE_URI"] = f"sqlite:///{tmp_path / 'states.db'}"
    manager = StateManager(made)
    manager.use_clock(clock)
    manager.define(
        "payment",
        Machine(
            initial=["pending", "held"],
            transitions=[
                Transition("complete", ["pending", "held"], "completed"),
                Transition("fail", ["pending"], "failed"),
            ],
            final=["failed"],
        ),
    )
    manager.register_schema("payment", Invoice)
    manager.register_validator("payment", lambda envelope: envelope["data"]["amount"] >= 0)
    yield made
    made.extensions["statemanager"].backend.close()


@pytest.fixture
def bare(shop: Flask, clock: SteppingClock) -> Run:
    """Run a command on the app without tables."""

    def run(*words: str, code: int = 0, stdin: str | None = None) -> Result:
        clock.step()
        ended = shop.test_cli_runner(**APART).invoke(cli=state, args=list(words), input=stdin, prog_name="state")
        assert ended.exit_code == code, ended.output
        assert ended.exception is None or isinstance(ended.exception, SystemExit), ended.exception
        assert "Traceback" not in ended.output
        return ended

    return run


@pytest.fixture
def run(bare: Run) -> Run:
    """Run a command on the app with its tables."""
    bare("db", "upgrade")
    return bare


@pytest.fixture
def filled(run: Run) -> Run:
    """Run a command on an app with some states."""
    run("register", "user_1", "user", "--data", '{"email": "a@example.com", "age": 30}', "--owner", "alice")
    run("register", "user_2", "user", "--data", '{"email": "b@example.com", "age": 40, "code": "007"}')
    run("register", "pay_1", "payment", "--data", '{"amount": 12.5}', "--status", "held", "--reason", "by hand")
    run("transition", "user_1", "activate", "--data", '{"age": 31, "tags": ["new"]}', "--reason", "verified")
    return run


def loaded(ended: Result) -> Any:
    return json.loads(ended.stdout)


def sentence(ended: Result) -> str:
    """The error, which is one line on standard error."""
    assert ended.stdout == ""
    lines = ended.stderr.strip().split("\n")
    assert lines[-1].startswith("Error: ")
    return lines[-1].removeprefix("Error: ")


# -- reading -----------------------------------------------------------------------------------------------------------


def test_types_lists_the_declared_types(run):
    lines = run("types").stdout.splitlines()
    assert lines[0] == "TYPE          STATUSES                             RULES"
    assert lines[2] == "payment       pending, held, completed, failed     schema, 1 validator"
    found = {each["type"]: each for each in loaded(run("types", "--json"))}
    payment = found["payment"]
    assert (payment["initial"], payment["final"]) == (["pending", "held"], ["failed"])
    assert (payment["schema"], payment["validators"]) == ("Invoice", 1)
    assert {"transition": "fail", "source": "pending", "target": "failed"} in payment["transitions"]


def test_list_draws_a_table(filled):
    assert filled("list").stdout.splitlines() == [
        "ID      TYPE     STATUS   VERSION  UPDATED (UTC)        OWNER",
        "user_1  user     active         2  2026-01-31 12:05:00  alice",
        "user_2  user     created        1  2026-01-31 12:03:00",
        "pay_1   payment  held           1  2026-01-31 12:04:00",
    ]


def test_list_takes_type_status_and_owner(filled):
    def ids(*words: str) -> list[str]:
        return [each["state_id"] for each in loaded(filled("list", "--json", *words))["items"]]

    assert ids("user") == ["user_1", "user_2"]
    assert ids("--status", "held", "--status", "active") == ["user_1", "pay_1"]
    assert ids("--owner", "alice") == ["user_1"]
    assert filled("list", "session").stdout == "No states found.\n"
    assert "There is no type 'users'" in sentence(filled("list", "users", code=1))


def test_list_goes_on_behind_a_cursor(filled):
    first = filled("list", "--limit", "2").stdout
    [cursor] = re.findall(r"There are more; go on with --after (\S+)", first)
    rest = filled("list", "--limit", "2", "--after", cursor).stdout
    assert "pay_1" in rest
    assert "--after" not in rest
    page = loaded(filled("list", "--limit", "2", "--json"))
    assert page["next"] == cursor
    assert loaded(filled("list", "--after", cursor, "--json"))["next"] is None
    assert "Not a cursor" in sentence(filled("list", "--after", "nonsense", code=1))
    filled("list", "--limit", "0", code=2)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--where", "data.email=a@example.com"], ["user_1"]),
        (["--where", "data.age__gte=31"], ["user_1", "user_2"]),
        (["--where", "data.age__gte=31", "--where", "data.age__lt=40"], ["user_1"]),
        (["--where", "data.code=007"], ["user_2"]),
        (["--where", 'data.code="007"'], ["user_2"]),
        (["--where", 'data.age__in=[40, "x"]'], ["user_2"]),
        (["--where", "data.code=NaN"], []),
        (["user", "--where", "updated_at__gte=2001-01-01T00:00:00Z"], ["user_1", "user_2"]),
        (["--where", "created_at__lt=2001-01-01T00:00:00+02:00"], []),
        (["user", "--order", "-state_id"], ["user_2", "user_1"]),
        (["--status", "held"], ["pay_1"]),
        (["--owner", "alice"], ["user_1"]),
    ],
)
def test_search_takes_conditions(filled, words, expected):
    assert [each["state_id"] for each in loaded(filled("search", "--json", *words))["items"]] == expected
    if len(expected) == 1:
        assert filled("search", *words).stdout.splitlines()[1].startswith(f"{expected[0]} ")


def test_search_refuses_what_is_no_condition(filled):
    assert "no condition" in sentence(filled("search", "--where", "data.age", code=2))
    twice = filled("search", "--where", "data.age=1", "--where", "data.age=2", code=2)
    assert "given twice" in sentence(twice)
    assert "Must be a moment" in sentence(filled("search", "--where", "updated_at__gt=yesterday", code=2))
    assert "below 'data' or 'metadata'" in sentence(filled("search", "--where", "status=active", code=1))
    assert "is no order" in sentence(filled("search", "--order", "age", code=1))


def test_show_writes_everything_about_a_state(filled):
    lines = filled("show", "user_1").stdout.splitlines()
    assert lines[0] == "state_id     user_1"
    assert "status       active" in lines
    assert "owner        alice" in lines
    assert "transitions  suspend, expire, update, delete" in lines
    assert lines[lines.index("data") - 1 :][:4] == ["", "data", "{", '  "email": "a@example.com",']
    assert "metadata" not in lines
    shown = loaded(filled("show", "user_1", "--json"))
    assert shown["data"] == {"email": "a@example.com", "age": 31, "tags": ["new"]}
    assert shown["version"] == 2


def test_show_goes_back_in_time(filled):
    assert loaded(filled("show", "user_1", "--at", "1", "--json"))["data"]["age"] == 30
    assert loaded(filled("show", "user_1", "--at", "2026-01-31T12:04:30Z", "--json"))["version"] == 1
    assert "transitions" not in filled("show", "user_1", "--at", "1").stdout
    assert "no state 'user_1' at version 9" in sentence(filled("show", "user_1", "--at", "9", code=1))
    past = sentence(filled("show", "user_1", "--at", "2020-01-01T00:00:00Z", code=1))
    assert "no state 'user_1' at 2020-01-01T00:00:00.000000Z" in past
    for word in ("2026-01-31T12:00:00", "yesterday"):
        assert "no moment with a time zone" in sentence(filled("show", "user_1", "--at", word, code=2))


def test_history_lists_changes_oldest_first(filled):
    assert filled("history", "user_1").stdout.splitlines() == [
        "VERSION  WHEN (UTC)           TRANSITION  STATUS            ACTOR     REASON",
        "      1  2026-01-31 12:02:00  create      created           operator",
        "      2  2026-01-31 12:05:00  activate    created > active  operator  verified",
    ]
    found = loaded(filled("history", "user_1", "--json"))
    assert [entry["version"] for entry in found] == [1, 2]
    assert "diff" not in found[0]


def test_history_shows_differences(filled):
    filled("transition", "user_1", "update", "--data", '{"email": null, "about": "' + "long " * 30 + '"}')
    lines = filled("history", "user_1", "--diff").stdout.splitlines()
    assert '         + /tags ["new"]' in lines
    assert "         ~ /age 31" in lines
    assert "         - /email" in lines
    assert max(map(len, lines)) <= 80
    [first, *_] = loaded(filled("history", "user_1", "--diff", "--json"))
    assert {"op": "add", "path": "/age", "value": 30} in first["diff"]


def test_history_shows_the_newest_changes_and_says_that_there_are_more(filled):
    said = filled("history", "user_1", "--limit", "1").stdout
    assert "activate" in said
    assert said.endswith("These are the newest 1; --limit shows more.\n")
    assert "newest" not in filled("history", "user_1", "--limit", "2").stdout


def test_history_outlives_its_state_and_an_unknown_id_has_none(filled):
    filled("delete", "user_2", "--yes")
    assert "delete" in filled("history", "user_2").stdout
    assert "no state 'nobody'" in sentence(filled("history", "nobody", code=1))


def test_diagram_draws_a_machine(run):
    assert "    pending --> failed : fail" in run("diagram", "payment").stdout.splitlines()
    assert run("diagram", "payment", "--format", "dot").stdout.startswith('digraph "payment" {')
    assert "deleted" in run("diagram", "payment", "--deletion").stdout
    found = loaded(run("diagram", "payment", "--json"))
    assert (found["type"], found["format"], found["text"][:15]) == ("payment", "mermaid", "stateDiagram-v2")
    assert "There is no type 'nothing'" in sentence(run("diagram", "nothing", code=1))
    run("diagram", "payment", "--format", "png", code=2)


# -- writing -----------------------------------------------------------------------------------------------------------


def test_register_creates_a_state(run, tmp_path):
    metadata = tmp_path / "metadata.json"
    metadata.write_text('{"source": "paper"}')
    words = ["--name", "Ann", "--metadata", f"@{metadata}", "--ttl", "60", "--owner", "bob"]
    assert run("register", "u/1", "user", *words).stdout == "u/1: created, version 1\n"
    shown = loaded(run("show", "u/1", "--json"))
    assert (shown["name"], shown["metadata"], shown["owner"]) == ("Ann", {"source": "paper"}, "bob")
    assert "expires_at" in shown


def test_register_reads_standard_input_and_never_takes_data_for_an_envelope(run):
    run("register", "u1", "user", "--data", "-", stdin='{"data": {"x": 1}, "name": "n"}')
    assert loaded(run("show", "u1", "--json"))["data"] == {"data": {"x": 1}, "name": "n"}


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("{", "This is not JSON"),
        ("[1]", "A JSON object is needed"),
        ("@missing.json", "'missing.json' cannot be read"),
        ("[" * 200_000, "This is not JSON"),
    ],
)
def test_data_that_is_no_json_object_is_a_usage_error(run, word, said):
    assert said in sentence(run("register", "u1", "user", "--data", word, code=2))


def test_data_from_a_file_in_another_encoding_is_a_usage_error(run, tmp_path):
    path = tmp_path / "latin"
    path.write_bytes(b'{"a": "\xe9"}')
    assert "not UTF-8" in sentence(run("register", "u1", "user", "--data", f"@{path}", code=2))


def test_refusals_are_one_sentence(filled):
    refusals = {
        "exists already": ["register", "user_1", "user"],
        "is not a state id": ["register", "a//b", "user"],
        "amount: ": ["register", "pay_2", "payment"],
        "allowed now: complete": ["transition", "pay_1", "fail"],
        "There is no 'fly' here": ["transition", "user_1", "fly"],
        "no state 'nobody'": ["transition", "nobody", "activate"],
        "changed by somebody else": ["transition", "user_1", "suspend", "--expect", "1"],
        "no state 'nobody': check": ["delete", "nobody"],
        "There is no state 'ghost'": ["delete", "ghost", "--yes"],
        "There is no state 'user_1'": ["rollback", "user_1", "--to-version", "9"],
    }
    for said, words in refusals.items():
        assert said in sentence(filled(*words, code=1))


def test_transition_merges_or_replaces(filled):
    assert filled("transition", "user_2", "update", "--data", '{"age": null}').stdout == "user_2: created, version 2\n"
    assert loaded(filled("show", "user_2", "--json"))["data"] == {"email": "b@example.com", "code": "007"}
    filled("transition", "user_2", "activate", "--data", '{"x": 1}', "--replace", "--expect", "2")
    assert loaded(filled("show", "user_2", "--json"))["data"] == {"x": 1}
    assert "--replace needs --data" in sentence(filled("transition", "user_2", "suspend", "--replace", code=2))


def test_the_history_names_the_operator_and_the_command(filled):
    entry = loaded(filled("history", "user_1", "--json"))[-1]
    assert (entry["actor"], entry["source"], entry["reason"]) == ("operator", "state transition", "verified")


def test_rollback_restores_a_version_or_a_moment(filled):
    assert filled("rollback", "user_1", "--to-version", "1").stdout == "user_1: created, version 3\n"
    assert filled("rollback", "user_1", "--at", "2026-01-31T12:05:30Z").stdout == "user_1: active, version 4\n"
    for words in ([], ["--to-version", "1", "--at", "2026-01-31T12:05:30Z"]):
        assert "either --to-version or --at" in sentence(filled("rollback", "user_1", *words, code=2))


def test_delete_asks_first(filled):
    asked = filled("delete", "user_1", stdin="n\n", code=1)
    assert "Delete user_1 (user, active, version 2)? [y/N]" in asked.stdout
    assert filled("delete", "user_1", stdin="y\n").stdout.endswith("user_1: deleted, version 3\n")
    filled("show", "user_1", code=1)
    assert filled("rollback", "user_1", "--to-version", "2", "--undelete").stdout == "user_1: active, version 4\n"
    assert filled("delete", "user_1", "--yes", "--expect", "4", "--reason", "gone").stdout.startswith("user_1: del")


def test_delete_removes_only_what_was_asked_about(filled, monkeypatch):
    def meanwhile(*_words: Any, **_options: Any) -> bool:
        StateManager().update_state("user_1", {"age": 32})
        return True

    monkeypatch.setattr(click, "confirm", meanwhile)
    assert "changed by somebody else" in sentence(filled("delete", "user_1", code=1))


def test_what_the_application_raises_to_refuse_is_shown_without_a_traceback(run):
    def veto(*_arguments: object) -> None:
        raise RuntimeError("not \x1b[31mtoday")

    StateManager().register_callback("user", veto, when="before")
    said = sentence(run("register", "user_1", "user", code=1))
    assert said == "The application refused the write (RuntimeError: not \\x1b[31mtoday); nothing was written."
    run("show", "user_1", code=1)


# -- the database ------------------------------------------------------------------------------------------------------


def test_the_tables_come_and_go(bare):
    assert bare("db", "current").stdout == "base (no revision noted)\n"
    assert "The tables are missing" in bare("db", "check", code=1).stdout
    assert "flask state db upgrade" in sentence(bare("list", code=1))
    assert bare("db", "upgrade").stdout == f"Upgraded from base (no revision noted) to {NEWEST}.\n"
    assert bare("db", "upgrade").stdout == f"Nothing to do: the tables are at revision {NEWEST}.\n"
    assert bare("db", "current").stdout == f"{NEWEST}\n"
    assert bare("db", "check").stdout == "The tables are what they must be.\n"
    assert "every state and its history" in bare("db", "downgrade", "base", stdin="n\n", code=1).stdout
    assert bare("db", "current").stdout == f"{NEWEST}\n"
    assert bare("db", "downgrade", "base", "--yes").stdout == f"Downgraded from {NEWEST} to base (no revision noted).\n"
    assert f"known revisions are base, 0001, 0002, 0003, 0004, 0005, {NEWEST}" in sentence(
        bare("db", "upgrade", "0815", code=1)
    )
    bare("db", "downgrade", code=2)


def test_tables_that_exist_are_adopted(shop, bare):
    shop.extensions["statemanager"].backend.create_tables()
    assert bare("db", "check").stdout == "The tables are what they must be.\n"
    assert (
        bare("db", "upgrade").stdout == f"The tables existed and are what they must be: noted as revision {NEWEST}.\n"
    )


def test_a_backend_without_tables_says_so():
    app = Flask("memory")
    app.config["STATEMANAGER_BACKEND"] = "memory"
    StateManager(app)
    ended = app.test_cli_runner().invoke(cli=state, args=["db", "upgrade"])
    assert (ended.exit_code, "'memory' has no tables" in ended.output) == (1, True)


def test_an_app_without_the_extension_is_told_so():
    ended = Flask("bare").test_cli_runner().invoke(cli=state, args=["list"])
    assert (ended.exit_code, "call state_manager.init_app(app)" in ended.output) == (1, True)


# -- the terminal ------------------------------------------------------------------------------------------------------


def test_hostile_text_cannot_steer_the_terminal(filled):
    hostile = "\x1b[2J\x07red\r\nline\u202egnp\x9b\x7f"
    filled("register", "bad", "user", "--name", hostile, "--owner", hostile, "--reason", hostile)
    filled("transition", "bad", "update", "--data", json.dumps({hostile: hostile}))
    for words in (["list"], ["show", "bad"], ["history", "bad", "--diff"], ["show", "bad", "--json"]):
        said = filled(*words).stdout
        assert all(character.isprintable() or character == "\n" for character in said)
        assert "[2J" in said
    assert len(filled("list").stdout.splitlines()) == 5
    assert loaded(filled("show", "bad", "--json"))["name"] == hostile


def test_long_tables_fit_the_terminal(filled):
    filled("register", "a" * 200, "user", "--owner", "o" * 100, "--reason", "r" * 300)
    for words in (["list"], ["history", "a" * 200], ["types"]):
        lines = filled(*words).stdout.splitlines()
        assert max(map(breadth, lines)) <= 80
    assert "…" in filled("list").stdout


def test_help_names_every_command_in_80_columns(run):
    said = run("--help").stdout
    for section in COMMANDS:
        assert f"\n{section.title}:\n" in said
        for name in section.commands:
            assert re.search(rf"^  {name} +\S", said, re.MULTILINE)
    known = "types list show register transition history rollback delete search diagram prune worker effects timers"
    known += " index snapshot export import flows token db"
    assert {*known.split()} <= {name for section in COMMANDS for name in section.commands}
    assert "..." not in said.partition("Options:")[2]
    run("nonsense", code=2)


def test_a_table_gives_room_to_firm_columns_first(monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    columns = (Column("ID", firm=True), Column("N", right=True), Column("EMPTY"), Column("TEXT"))
    drawn = table(columns, [("a" * 14, 7, "", "word " * 9), ("b", 12, None, "日本語" * 9)])
    assert drawn.splitlines() == [
        "ID               N  TEXT",
        "aaaaaaaaaaaaaa   7  word word…",
        "b               12  日本語日…",
    ]
    monkeypatch.setenv("COLUMNS", "20")
    assert max(map(breadth, table(columns, [("a" * 50, 7, "", "word " * 9)]).splitlines())) <= 20


def test_a_table_without_rows_is_a_heading():
    assert table((Column("ID"), Column("TYPE")), []) == "ID"


def test_text_is_cut_by_terminal_columns():
    assert shortened("e\u0301te\u0301", 3) == "e\u0301te\u0301"
    assert shortened("日本語", 4) == "日…"
    assert printable(None) == ""
    assert printable("a\ud800\u2028") == "a\\ud800\\u2028"


def test_characters_that_the_terminal_lacks_are_escaped(capfdbinary):
    program = "from flask_statemanager.cli.tables import say; say('Zo\\xeb \\u2026')"
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=True,
    )
    assert ended.stdout.strip() == rb"Zo\xeb \u2026"
    say("Zoë")


@pytest.mark.slow
def test_the_entry_point_puts_the_group_under_flask(tmp_path):
    (tmp_path / "shop.py").write_text(
        "from flask import Flask\nfrom flask_statemanager import StateManager\napp = Flask('shop')\nStateManager(app)\n"
    )

    def flask(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "flask", "--app", "shop", "state", *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert flask("db", "upgrade").returncode == 0
    assert flask("register", "user_1", "user").stdout == "user_1: created, version 1\n"
    missing = flask("show", "user_2")
    assert (missing.returncode, missing.stdout, missing.stderr.count("\n")) == (1, "", 1)
