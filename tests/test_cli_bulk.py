"""The command that moves many states: what it asks, what it says, in 80 columns."""

from __future__ import annotations

import inspect
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from flask import Flask

from flask_statemanager import Guard, Machine, StateManager, Transition
from flask_statemanager.cli import state

Run = Callable[..., Result]

# Before click 8.2 the runner mixes standard error into the output unless it is told not to.
APART = {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}

APP = """
from flask import Flask
from flask_statemanager import StateManager

app = Flask("shop")
app.config["STATEMANAGER_DATABASE_URI"] = {uri!r}
StateManager(app)
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flask]:
    """An app with thirty users, of whom u00 to u04 are suspended, and an account that a rule guards."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LOGNAME", "operator")
    StateManager.reset_instance()
    made = Flask("shop")
    made.config["STATEMANAGER_DATABASE_URI"] = f"sqlite:///{tmp_path / 'states.db'}"
    manager = StateManager(made)
    guards = Guard.where({"data.balance__gte": 10})
    manager.define("account", Machine(transitions=[Transition("pay", ["created"], "paid", guards=guards)]))
    with made.app_context():
        made.extensions["statemanager"].backend.create_tables()
        manager.register_many(
            "user", [{"state_id": f"u{i:02}", "data": {"plan": "pro" if i % 2 else "free"}} for i in range(30)]
        )
        manager.transition_many([f"u{i:02}" for i in range(5)], "suspend")
        manager.register_state("acc", "account", {"balance": 9})
    yield made
    made.extensions["statemanager"].backend.close()
    StateManager.reset_instance()


@pytest.fixture
def run(shop: Flask) -> Run:
    """Run the command."""

    def run(*words: str, code: int = 0, stdin: str | None = None) -> Result:
        ended = shop.test_cli_runner(**APART).invoke(
            cli=state, args=["transition", *words], input=stdin, prog_name="state"
        )
        assert ended.exit_code == code, ended.output
        assert max(map(len, ended.stdout.splitlines()), default=0) <= 80
        return ended

    return run


def counted(shop: Flask, **search: object) -> int:
    with shop.app_context():
        return StateManager().search_states(**search).count()  # type: ignore[arg-type]


def test_it_counts_and_asks_and_moves(run: Run, shop: Flask) -> None:
    ended = run("suspend", "--where", "data.plan=pro", "--status", "created", "--reason", "unpaid", stdin="y\n")
    assert "Move 13 states along 'suspend'? [y/N]: y" in ended.stdout
    assert ended.stdout.endswith("Moved 13 states.\n")
    assert counted(shop, status="suspended") == 18
    with shop.app_context():
        entry = StateManager().get_state_history("u07")[-1]
    assert (entry.actor, entry.source, entry.reason) == ("operator", "state transition", "unpaid")


def test_no_is_an_answer(run: Run, shop: Flask) -> None:
    ended = run("suspend", "--where", "data.plan=pro", code=1, stdin="n\n")
    assert "Aborted!" in ended.stderr
    assert counted(shop, status="suspended") == 5


def test_yes_asks_nothing_and_data_is_merged_into_each(run: Run, shop: Flask) -> None:
    ended = run("update", "--status", "suspended", "--yes", "--data", '{"note": 1}')
    assert ended.stdout == "Moved 5 states.\n"
    assert counted(shop, filters={"data.note": 1, "data.plan__exists": True}) == 5


def test_where_nothing_is_found_nothing_is_asked(run: Run) -> None:
    assert run("suspend", "--where", "data.plan=none").stdout == "Moved 0 states.\n"


def test_refusals_are_listed_up_to_twenty_and_end_with_one(run: Run) -> None:
    ended = run("suspend", "--type", "user", "--yes", code=1)
    head, blank, title, *lines = ended.stdout.splitlines()
    assert (head, blank, title) == ("Moved 25 states.", "", "REFUSED")
    assert lines[0:10:2] == ["u00", "u01", "u02", "u03", "u04"]
    assert lines[-1] == "5 states refused."
    ended = run("suspend", "--type", "user", "--yes", code=1)
    assert ended.stdout.splitlines()[-1] == "30 states refused, the first 20 are shown."
    assert len([line for line in ended.stdout.splitlines() if line.startswith("u")]) == 20


def test_the_reason_has_a_line_of_its_own_below_the_longest_id(run: Run, shop: Flask) -> None:
    name = "x" * 70
    with shop.app_context():
        StateManager().register_state(name, "user")
        StateManager().update_state(name, transition="suspend")
    lines = run("suspend", "--type", "user", "--status", "suspended", "--yes", code=1).stdout.splitlines()
    assert lines[lines.index(name) + 1].startswith(
        "    The status 'suspended' does not allow the transition 'suspend' (allowed"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["fly", "--type", "user"], "Error: The type 'user' has no transition 'fly'; known are"),
        (["pay", "--type", "user"], "Error: The type 'user' has no transition 'pay'; known are"),
        (["fly", "--where", "data.plan=pro"], "Error: No type has a transition 'fly'; known are activate,"),
        (["no way", "--status", "created"], "Error: No type has a transition 'no way'; known are"),
    ],
)
def test_a_transition_that_no_type_has_is_refused_once_and_before_asking(
    run: Run, shop: Flask, words: list[str], said: str
) -> None:
    ended = run(*words, code=2, stdin="y\n")
    assert said in ended.stderr
    assert ended.stderr.count("no transition") + ended.stderr.count("has a transition") == 1
    assert "[y/N]" not in ended.stdout + ended.stderr
    assert "Moved" not in ended.stdout
    assert counted(shop, status="suspended") == 5


def test_a_transition_of_one_type_is_asked_of_all_that_are_found(run: Run) -> None:
    ended = run("pay", "--where", "data.balance__gte=9", "--yes", code=1)
    assert "Moved 0 states." in ended.stdout


def test_a_rule_that_refuses_is_named(run: Run) -> None:
    ended = run("pay", "--type", "account", "--yes", code=1)
    assert "Moved 0 states." in ended.stdout
    assert "The guard 'data.balance__gte=10' refuses" in ended.stdout
    assert ended.stdout.splitlines()[-1] == "1 state refused."


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["suspend"], "Which states? Put an ID before the transition"),
        (["u10", "suspend", "--type", "user"], "Give either an ID, or --where, --type and --status."),
        (["u10", "suspend", "extra"], "Got unexpected extra argument (extra)"),
        (["suspend", "--type", "user", "--expect", "1"], "--expect needs an ID."),
        (["suspend", "--type", "user", "--replace", "--data", "{}"], "--replace needs an ID."),
        (["suspend", "--where", "data.plan"], "is no condition"),
        ([], "Missing argument"),
    ],
)
def test_words_that_do_not_fit_are_usage_errors(run: Run, words: list[str], said: str) -> None:
    assert said in run(*words, code=2).stderr


@pytest.mark.parametrize("words", [["suspend", "--type", "nothing"], ["suspend", "--where", "plan=pro"]])
def test_an_unusable_search_is_one_sentence(run: Run, words: list[str]) -> None:
    ended = run(*words, code=1)
    assert ended.stdout == ""
    assert ended.stderr.startswith("Error: ")


def test_a_single_state_is_moved_as_before(run: Run) -> None:
    assert run("u10", "suspend").stdout == "u10: suspended, version 2\n"


def test_a_bar_is_drawn_on_a_terminal_only(shop: Flask, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP.format(uri=shop.config["STATEMANAGER_DATABASE_URI"]), encoding="utf-8")
    command = [sys.executable, "-m", "flask", "--app", "app", "state", "transition", "update", "--type", "user"]
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    terminal, side = pty.openpty()
    with os.fdopen(terminal, "rb", buffering=0) as seen:
        drawn = subprocess.run(
            [*command, "--yes"], stdout=subprocess.PIPE, stderr=side, cwd=tmp_path, env=env, timeout=120, check=True
        )
        os.close(side)
        bar = seen.read(65536).decode()
    assert drawn.stdout == b"Moved 30 states.\n"
    assert "30/30" in bar
    plain = subprocess.run([*command, "--yes"], capture_output=True, cwd=tmp_path, env=env, timeout=120, check=True)
    assert (plain.stdout, plain.stderr) == (b"Moved 30 states.\n", b"")
