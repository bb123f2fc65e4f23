"""The operator's commands for effects and timers: what is typed, and what comes back in 80 columns."""

from __future__ import annotations

import getpass
import importlib
import inspect
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from flask import Flask

from flask_statemanager import Deadline, Machine, StateManager, Transition
from flask_statemanager.cli import state
from flask_statemanager.effects.queue import JobQueue
from flask_statemanager.testing.clock import FakeClock

Run = Callable[..., Result]
commands: Any = importlib.import_module("flask_statemanager.cli.effects")  # the package has a command of that name

# Before click 8.2 the runner mixes standard error into the output unless it is told not to.
APART = {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}


class Shop:
    """An app whose mails are refused until the server is mended, and what an operator types."""

    def __init__(self, uri: str) -> None:
        self.app = Flask("shop")
        self.app.config["STATEMANAGER_DATABASE_URI"] = uri
        self.states = StateManager(self.app)
        self.clock = FakeClock()
        self.mended = False
        self.states.use_clock(self.clock)
        self.states.define(
            "payment",
            Machine(
                initial="pending",
                transitions=[Transition("lapse", ["pending"], "lapsed")],
                deadlines=[Deadline("pending", 900, "lapse")],
            ),
        )
        self.states.register_callback("user_created", self.mail, durable=True, name="mail", retries=0)
        self.states.register_callback("user_created", lambda *call: None, durable=True, name="sync")

    def mail(self, state_id: str, *_call: Any) -> None:
        if not self.mended:
            raise RuntimeError(f"the mail server has refused the mailbox\n\x1b[31mof {state_id} for the {9:>60}th time")

    @property
    def runtime(self) -> Any:
        return self.app.extensions["statemanager"]

    def work(self) -> None:
        with self.app.app_context():
            self.states.run_worker()

    def register(self, *names: str, type: str = "user") -> None:  # noqa: A002 - the field's standard name
        with self.app.app_context():
            for name in names:
                self.states.register_state(name, type)

    def statuses(self) -> dict[int, str]:
        with self.app.app_context():
            return {effect.id: effect.status for effect in self.states.list_effects()}


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """A shop with its tables, in a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(getpass, "getuser", lambda: "operator")
    StateManager.reset_instance()
    made = Shop(f"sqlite:///{tmp_path / 'states.db'}")
    with made.app.app_context():
        made.runtime.backend.create_tables()
    yield made
    made.runtime.backend.close()
    StateManager.reset_instance()


@pytest.fixture
def run(shop: Shop) -> Run:
    """Run a command on an empty shop."""

    def run(*words: str, code: int = 0, stdin: str | None = None) -> Result:
        ended = shop.app.test_cli_runner(**APART).invoke(cli=state, args=list(words), input=stdin, prog_name="state")
        assert ended.exit_code == code, ended.output
        assert ended.exception is None or isinstance(ended.exception, SystemExit), ended.exception
        assert "\x1b" not in ended.output
        return ended

    return run


@pytest.fixture
def worked(shop: Shop, run: Run) -> Run:
    """Run a command on a shop with a dead letter and an effect that is done, for each of two users."""
    shop.register("user_1", "user_2")
    shop.work()
    assert shop.statuses() == {1: "dead", 2: "done", 3: "dead", 4: "done"}
    return run


def loaded(ended: Result) -> Any:
    return json.loads(ended.stdout)


# -- effects -----------------------------------------------------------------------------------------------------------


def test_effects_are_listed_with_their_errors_below(worked: Run) -> None:
    assert worked("effects", "list").stdout.splitlines() == [
        "ID  EFFECT  STATE   VERSION  STATUS  ATTEMPTS  DUE OR ENDED (UTC)",
        " 1  mail    user_1        1  dead           1  2026-01-01 12:00:00",
        "    RuntimeError: the mail server has refused the mailbox\\n\\x1b[31mof user_1 fo…",
        " 2  sync    user_1        1  done           1  2026-01-01 12:00:00",
        " 3  mail    user_2        1  dead           1  2026-01-01 12:00:00",
        "    RuntimeError: the mail server has refused the mailbox\\n\\x1b[31mof user_2 fo…",
        " 4  sync    user_2        1  done           1  2026-01-01 12:00:00",
    ]


def test_a_wide_listing_fits_the_terminal(shop: Shop, run: Run) -> None:
    long = "x" * 60
    shop.states.register_callback("user_created", lambda *call: None, durable=True, name=f"{long}.mail")
    shop.register(f"user/{long}")
    lines = run("effects", "list").stdout.splitlines()
    assert max(map(len, lines)) == 80
    assert all("pending" in line for line in lines[1:])


def test_the_listing_of_effects_is_narrowed_and_paged(worked: Run) -> None:
    def ids(*words: str) -> list[int]:
        return [each["id"] for each in loaded(worked("effects", "list", "--json", *words))["items"]]

    assert ids() == [1, 2, 3, 4]
    assert ids("--status", "dead") == [1, 3]
    assert ids("--status", "dead", "--status", "done") == [1, 2, 3, 4]
    assert ids("--state", "user_2", "--effect", "sync") == [4]
    assert ids("--after", "2") == [3, 4]
    page = loaded(worked("effects", "list", "--limit", "2", "--json"))
    assert ([each["id"] for each in page["items"]], page["next"]) == ([1, 2], 2)
    assert loaded(worked("effects", "list", "--limit", "2", "--after", "2", "--json"))["next"] is None
    shown = worked("effects", "list", "--limit", "2").stdout
    assert shown.endswith("\nThere are more; go on with --after 2\n")
    assert worked("effects", "list", "--state", "user_9").stdout == "No effects found.\n"
    assert loaded(worked("effects", "list", "--state", "user_9", "--json")) == {"items": [], "next": None}


def test_one_effect_is_shown_in_full_with_its_traceback(worked: Run) -> None:
    shown = worked("effects", "show", "1").stdout
    lines = shown.splitlines()
    assert lines[1] == "key          state:user_1:1:mail"
    assert lines[8] == "worker"
    assert lines[lines.index("traceback") + 1] == "Traceback (most recent call last):"
    assert "\\x1b[31mof user_1" in shown
    document = loaded(worked("effects", "show", "1", "--json"))
    assert (document["key"], document["status"]) == ("state:user_1:1:mail", "dead")
    assert document["traceback"].startswith("Traceback")
    assert "traceback" not in worked("effects", "show", "2").stdout


def test_dead_letters_are_tried_again(shop: Shop, worked: Run) -> None:
    shop.mended = True
    assert worked("effects", "retry", "1", "1").stdout == "1: mail of user_1, version 1, to be tried again.\n"
    shop.work()
    assert shop.statuses() == {1: "done", 2: "done", 3: "dead", 4: "done"}


def test_what_cannot_be_tried_again_does_not_keep_the_others_from_it(shop: Shop, worked: Run) -> None:
    ended = worked("effects", "retry", "2", "3", "99", code=1)
    assert ended.stdout == "3: mail of user_2, version 1, to be tried again.\n"
    assert ended.stderr.splitlines() == [
        "Error: The effect 2: it is done, and cannot be retried.",
        "Error: The effect 99: there is none, or it ended well and has been forgotten.",
    ]
    assert shop.statuses()[3] == "pending"


def test_all_dead_letters_are_tried_again_or_those_of_one_effect(
    shop: Shop, worked: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "_PAGE", 1)
    assert worked("effects", "retry", "--all-dead", "--effect", "sync").stdout == "0 effects to be tried again.\n"
    assert worked("effects", "retry", "--all-dead", "--effect", "mail").stdout == "2 effects to be tried again.\n"
    assert set(shop.statuses().values()) == {"pending", "done"}
    shop.work()
    assert worked("effects", "retry", "--all-dead").stdout == "2 effects to be tried again.\n"


def test_a_dead_letter_that_somebody_else_takes_meanwhile_is_passed_over(
    shop: Shop, worked: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = commands._verbs.list_effects

    def overtaken(**options: Any) -> Any:
        page = found(**options)
        shop.states.retry_effect(1)
        queue = JobQueue(shop.runtime.backend, shop.runtime.backend, shop.clock, 30.0, "w1")
        queue.claim(1)
        return page

    monkeypatch.setattr(commands._verbs, "list_effects", overtaken)
    assert worked("effects", "retry", "--all-dead").stdout == "1 effect to be tried again.\n"


def test_discarding_asks_first(shop: Shop, worked: Run) -> None:
    ended = worked("effects", "discard", "1", "3", stdin="n\n", code=1)
    assert "1: mail of user_1, version 1, dead\n3: mail of user_2, version 1, dead\nDiscard them?" in ended.stdout
    assert shop.statuses()[1] == "dead"
    assert "Discard it?" in worked("effects", "discard", "1", stdin="y\n").stdout
    assert shop.statuses()[1] == "cancelled"
    assert worked("effects", "discard", "3", "--yes").stdout == "3: mail of user_2, version 1, discarded.\n"
    assert worked("effects", "discard", "3", "--yes", code=1).stderr == (
        "Error: The effect 3: it is cancelled, and cannot be discarded.\n"
    )


def test_what_a_worker_has_is_refused_in_one_sentence(shop: Shop, run: Run) -> None:
    shop.register("user_1")
    with shop.app.app_context():
        JobQueue(shop.runtime.backend, shop.runtime.backend, shop.clock, 30.0, "w1").claim(1)
    ended = run("effects", "discard", "1", "--yes", code=1)
    assert ended.stderr == "Error: The effect 1: the worker w1 has it: wait until it ends.\n"
    assert "worker       w1" in run("effects", "show", "1").stdout


@pytest.mark.parametrize(
    "words",
    [
        ("effects", "retry"),
        ("effects", "retry", "1", "--all-dead"),
        ("effects", "retry", "1", "--effect", "mail"),
        ("effects", "retry", "one"),
        ("effects", "discard"),
        ("effects", "show"),
        ("effects", "show", "0"),
        ("effects", "list", "--status", "lost"),
        ("effects", "list", "--limit", "0"),
        ("timers", "list", "--status", "lost"),
        ("timers", "cancel"),
    ],
    ids=" ".join,
)
def test_a_command_line_that_cannot_be_understood_is_refused(run: Run, words: tuple[str, ...]) -> None:
    assert "Error: " in run(*words, code=2).stderr


@pytest.mark.parametrize(
    "words",
    [
        ("effects", "show", "99"),
        ("effects", "show", str(2**70)),
        ("effects", "list", "--state", "no id"),
        ("timers", "list", "no id"),
        ("timers", "cancel", "user_1", "--key", "a:b", "--yes"),
        ("timers", "cancel", "user_1", "--yes"),
    ],
    ids=" ".join,
)
def test_a_refusal_is_one_sentence(run: Run, words: tuple[str, ...]) -> None:
    ended = run(*words, code=1)
    assert ended.stdout == ""
    assert ended.stderr.startswith("Error: ")
    assert ended.stderr.count("\n") == 1


# -- timers ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def timed(shop: Shop, run: Run) -> Run:
    """Run a command on a shop with three timers, one of them skipped, and a deadline."""
    shop.register("pay_1", type="payment")
    shop.states.define("note")
    shop.register("note_1", type="note")
    with shop.app.app_context():
        shop.states.schedule_transition("note_1", "suspend", after=60, key="trial-end")
        shop.states.schedule_transition("note_1", "resume", after=1, key="early")
        shop.states.schedule_transition("note_1", "expire", after=3600, key="late")
    shop.clock.advance(1)
    shop.work()
    return run


def test_timers_and_deadlines_are_listed(timed: Run) -> None:
    assert timed("timers", "list").stdout.splitlines() == [
        "ID  STATE   TRANSITION  STATUS   DUE (UTC)            KEY",
        " 1  pay_1   lapse       pending  2026-01-01 12:15:00  deadline of pending",
        " 2  note_1  suspend     pending  2026-01-01 12:01:00  trial-end",
        " 4  note_1  expire      pending  2026-01-01 13:00:00  late",
    ]
    assert timed("timers", "list", "note_1", "--status", "skipped").stdout.splitlines() == [
        "ID  STATE   TRANSITION  STATUS   DUE (UTC)            KEY",
        " 3  note_1  resume      skipped  2026-01-01 12:00:01  early",
        "    The status 'created' does not allow the transition 'resume' (allowed now: a…",
    ]
    assert timed("timers", "list", "user_9").stdout == "No timers found.\n"


def test_the_listing_of_timers_is_narrowed_and_paged(timed: Run) -> None:
    page = loaded(timed("timers", "list", "--json", "--limit", "2"))
    assert ([each["id"] for each in page["items"]], page["next"]) == ([1, 2], 2)
    page = loaded(timed("timers", "list", "--json", "--status", "pending", "--status", "skipped", "--after", "2"))
    assert ([each["key"] for each in page["items"]], page["next"]) == (["early", "late"], None)


def test_cancelling_timers_asks_first_and_leaves_deadlines_alone(shop: Shop, timed: Run) -> None:
    asked = timed("timers", "cancel", "note_1", "--key", "late", "--transition", "expire", stdin="n\n", code=1)
    assert "Cancel the timer late of note_1 for the transition expire? [y/N]" in asked.stdout
    assert timed("timers", "cancel", "note_1", "--key", "late", "--yes").stdout == "1 timer cancelled.\n"
    asked = timed("timers", "cancel", "note_1", "--reason", "stays", stdin="y\n")
    assert "Cancel all timers of note_1?" in asked.stdout
    assert asked.stdout.endswith("1 timer cancelled.\n")
    with shop.app.app_context():
        assert [t.error for t in shop.states.list_timers(status="cancelled")] == [
            "cancelled by operator: stays",
            "cancelled by operator",
        ]
    ended = timed("timers", "cancel", "pay_1", "--yes", code=1)
    assert ended.stderr == "Error: There is no such timer: 'flask state timers list' shows those there are.\n"


def test_effects_and_timers_stand_in_the_help(run: Run) -> None:
    shown = run("--help").stdout
    assert "  effects  Look at durable effects" in shown
    assert "  timers   Look at timers and deadlines" in shown
    for group, names in (("effects", ("list", "show", "retry", "discard")), ("timers", ("list", "schedule", "cancel"))):
        shown = run(group, "--help").stdout
        assert all(f"  {name} " in shown for name in names)
        assert max(map(len, shown.splitlines())) <= 80
