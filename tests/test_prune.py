"""Old history and what is over are removed by one command, and nothing else is."""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import MetaData, create_engine

from flask_statemanager import StateNotFound
from flask_statemanager.backends.memory import MemoryBackend
from flask_statemanager.backends.sql.backend import SqlBackend
from flask_statemanager.backends.sql.tables import declare
from flask_statemanager.cli import prune, state
from flask_statemanager.core.idempotency import Request
from flask_statemanager.core.jobs import CANCELLED, DEAD, DONE, EFFECT, PENDING, SKIPPED, TIMER, Job
from flask_statemanager.core.record import Key
from flask_statemanager.errors import StateConflict, StorageTimeout
from flask_statemanager.testing.clock import START
from flask_statemanager.testing.contract import Store
from flask_statemanager.testing.contract.history import Log
from flask_statemanager.testing.contract.store import BUCKET
from tests.worlds import World

# Before click 8.2 the runner mixes standard error into the output unless it is told not to.
APART = {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}
DAY = timedelta(days=1)
LATER = START + DAY
Run = Callable[..., Result]


def job(
    name: str, version: int, status: str = PENDING, *, kind: str = EFFECT, bucket: str = "state", **more: Any
) -> Job:
    due_at = more.get("finished_at") or START
    return Job(kind, Key(bucket, name), "mail", version, due_at, START, status=status, **more)


def enqueue(backend: Any, *jobs: Job) -> None:
    with backend.writing() as unit:
        backend.enqueue(unit, jobs)


# -- what jobs need ----------------------------------------------------------------------------------------------------


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """Each backend that keeps history and jobs."""
    if request.param == "memory":
        yield MemoryBackend()
        return
    uri = f"sqlite:///{tmp_path / 'states.db'}"
    if request.param == "postgresql":
        uri = request.getfixturevalue("postgres_url")
    made = SqlBackend(create_engine(uri), declare(MetaData()), owned=True)
    made.create_tables()
    yield made
    made.close()


@pytest.fixture
def log(backend: Any) -> Log:
    """Two records with six versions each."""
    store = Store(backend)
    for name in ("a", "b"):
        store.create(name)
        for _ in range(5):
            store.update(name)
    return Log(backend)


@pytest.mark.parametrize("status", [PENDING, DEAD])
def test_what_an_effect_has_yet_to_look_at_stays_with_all_that_came_later(backend: Any, log: Log, status: str) -> None:
    enqueue(backend, job("a", 4, status, bucket=BUCKET), job("a", 5, status, bucket=BUCKET))
    assert len(log.forget(LATER)) == 2 + 5
    assert log.listed() == ["a3", "a4", "a5", "a6", "b6"]
    assert [change.before and change.before.version for change in log.changes(after=log.changes()[0].revision)] == [
        3,
        4,
        5,
        None,
    ]


@pytest.mark.parametrize("status", [DONE, SKIPPED, CANCELLED])
def test_an_effect_that_is_over_keeps_nothing(backend: Any, log: Log, status: str) -> None:
    enqueue(backend, job("a", 4, status, bucket=BUCKET, finished_at=START))
    assert len(log.forget(LATER)) == 10
    assert log.listed() == ["a6", "b6"]


def test_a_timer_and_an_effect_of_another_record_keep_nothing(backend: Any, log: Log) -> None:
    enqueue(backend, job("a", 4, kind=TIMER, bucket=BUCKET), job("a", 4), job("c", 4, bucket=BUCKET))
    log.forget(LATER)
    assert log.listed() == ["a6", "b6"]


def test_an_effect_of_the_first_version_keeps_everything(backend: Any, log: Log) -> None:
    enqueue(backend, job("a", 1, bucket=BUCKET))
    log.forget(LATER)
    assert log.listed() == ["a1", "a2", "a3", "a4", "a5", "a6", "b6"]


def test_a_job_that_ends_between_two_batches_opens_no_gap(backend: Any, log: Log) -> None:
    [kept] = [change.revision for change in log.changes(key=Key(BUCKET, "a")) if change.version == 4]
    enqueue(backend, job("a", 3, bucket=BUCKET))
    assert log.forget(LATER, limit=1) == [log.changes()[0].revision - 1]
    with backend.writing() as unit:
        [stored] = backend.claim(unit, now=START, until=LATER, worker="w", limit=1)
        assert backend.save(unit, stored.ended(DONE, START))
    assert len(log.forget(LATER, after=kept)) == 5
    assert log.listed() == ["a2", "a3", "a4", "a5", "a6", "b6"]


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(world: World, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LOGNAME", "operator")

    def run(*words: str, code: int = 0, stdin: str | None = None) -> Result:
        ended = world.app.test_cli_runner(**APART).invoke(cli=state, args=list(words), input=stdin, prog_name="state")
        assert ended.exit_code == code, ended.output
        assert ended.exception is None or isinstance(ended.exception, SystemExit), ended.exception
        assert "Traceback" not in ended.output
        assert all(len(line) <= 80 for line in ended.stdout.splitlines())
        return ended

    return run


def lived(world: World, state_id: str = "user_1", versions: int = 4) -> None:
    """Give a state some versions, one a day."""
    world.states.register_state(state_id, "user", {"n": 1})
    for number in range(2, versions + 1):
        world.clock.advance(DAY.total_seconds())
        world.states.update_state(state_id, {"n": number})


def left(world: World, state_id: str = "user_1") -> list[int]:
    return [entry.version for entry in world.states.get_state_history(state_id)]


def test_without_options_the_history_stays(world: World, run: Run) -> None:
    lived(world)
    world.clock.advance(10 * 365 * DAY.total_seconds())
    assert run("prune").stdout.splitlines() == [
        "Removed 0 expired idempotency keys.",
        "Removed 0 finished effects and timers.",
    ]
    assert left(world) == [1, 2, 3, 4]


def test_expired_keys_and_finished_jobs_are_removed_and_others_stay(world: World, run: Run) -> None:
    backend, now = world.runtime.backend, world.clock.now()
    old, fresh = now - timedelta(days=8), now - timedelta(days=6)
    with backend.writing() as unit:
        for key, ttl in (("short", timedelta(hours=1)), ("long", timedelta(days=30))):
            request = Request("me", "update_state", key, "f" * 64, ttl)
            assert backend.recall(unit, request, now) is None
            backend.remember(unit, request, "done")
    enqueue(
        backend,
        *(job("u1", n, status, finished_at=old) for n, status in enumerate((DONE, SKIPPED, CANCELLED), 1)),
        job("u1", 4, DEAD, finished_at=old),
        job("u1", 5),
        job("u1", 6, DONE, finished_at=fresh),
    )
    world.clock.advance(3601)
    for removed in ((1, 3), (0, 0)):
        assert run("prune").stdout.splitlines() == [
            f"Removed {removed[0]} expired idempotency keys.",
            f"Removed {removed[1]} finished effects and timers.",
        ]


def test_history_from_before_a_moment_is_removed(world: World, run: Run) -> None:
    lived(world)
    moment = (START + 2 * DAY).isoformat()
    assert run("prune", "--history-before", moment, "--yes").stdout.splitlines()[-1] == (
        "Removed 2 changes from the history."
    )
    assert left(world) == [3, 4]


def test_history_older_than_some_days_is_removed(world: World, run: Run) -> None:
    lived(world)
    run("prune", "--history-days", "1", "--yes")
    assert left(world) == [3, 4]
    run("prune", "--history-days", "1", "--yes")
    assert left(world) == [3, 4]


def test_more_than_a_batch_is_removed_in_batches(world: World, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        lived(world, f"user_{number}")
    monkeypatch.setattr(prune, "BATCH", 3)
    sizes: list[int] = []
    plain = world.runtime.backend.forget_changes

    def forget(*arguments: Any) -> list[int]:
        found: list[int] = plain(*arguments)
        sizes.append(len(found))
        return found

    monkeypatch.setattr(world.runtime.backend, "forget_changes", forget)
    enqueue(world.runtime.backend, *(job("u1", n, DONE, finished_at=START - 8 * DAY) for n in range(1, 8)))
    said = run("prune", "--history-before", world.clock.now().isoformat(), "--yes").stdout.splitlines()
    assert said[1:] == ["Removed 7 finished effects and timers.", "Removed 12 changes from the history."]
    assert sizes == [3, 3, 3, 3, 0]
    assert [left(world, f"user_{number}") for number in range(4)] == [[4]] * 4


def test_it_asks_before_it_removes_history(world: World, run: Run) -> None:
    lived(world)
    asked = run("prune", "--history-days", "1", stdin="n\n", code=1)
    assert "Remove the history from before 2026-01-03 12:00:00 UTC, for good?" in asked.stdout
    assert "Removed" not in asked.stdout
    assert left(world) == [1, 2, 3, 4]
    run("prune", "--history-days", "1", stdin="y\n")
    assert left(world) == [3, 4]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--history-days", "1", "--history-before", "2026-01-01T00:00:00Z"], "Give either --history-before or"),
        (["--history-before", "2999-01-01T00:00:00Z"], "must not be in the future"),
        (["--history-before", "2026-01-01"], "no moment with a time zone"),
        (["--history-days", "0"], "0 is not in the range"),
    ],
)
def test_what_it_cannot_understand_removes_nothing(world: World, run: Run, words: list[str], sentence: str) -> None:
    lived(world)
    enqueue(world.runtime.backend, job("u1", 1, DONE, finished_at=START - 8 * DAY))
    assert sentence in " ".join(run("prune", *words, "--yes", code=2).stderr.split())
    assert left(world) == [1, 2, 3, 4]
    assert "Removed 1 finished" in run("prune").stdout


def test_removing_history_is_logged_with_who_did_it(world: World, run: Run, caplog: pytest.LogCaptureFixture) -> None:
    lived(world)
    with caplog.at_level(logging.INFO, "flask_statemanager.operations"):
        run("prune")
        assert [record for record in caplog.records if "history_pruned" in record.message] == []
        run("prune", "--history-days", "1", "--yes")
    [record] = [record for record in caplog.records if "history_pruned" in record.message]
    assert record.levelno == logging.INFO
    assert (record.removed, record.actor, record.before) == (2, "operator", "2026-01-03T12:00:00.000000Z")  # type: ignore[attr-defined]


def failing(world: World, monkeypatch: pytest.MonkeyPatch, error: Exception, at: int) -> None:
    """Let one of the retention's batches fail."""
    plain, calls = world.runtime.backend.forget_changes, []

    def forget(*arguments: Any) -> Any:
        calls.append(arguments)
        found = plain(*arguments)
        if len(calls) == at:
            raise error
        return found

    monkeypatch.setattr(prune, "BATCH", 1)
    monkeypatch.setattr(world.runtime.backend, "forget_changes", forget)


def test_a_batch_that_fails_is_rolled_back_and_those_before_it_are_told_and_logged(
    world: World, run: Run, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    lived(world)
    failing(world, monkeypatch, StorageTimeout("The database is busy."), at=2)
    with caplog.at_level(logging.INFO, "flask_statemanager.operations"):
        ended = run("prune", "--history-before", world.clock.now().isoformat(), "--yes", code=1)
    assert "Removed 1 changes from the history." in ended.stdout
    assert ended.stderr == "Error: The database is busy.\n"
    assert "removed=1" in caplog.text
    assert left(world) == [2, 3, 4]


def test_a_batch_that_loses_a_race_is_tried_again(world: World, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    lived(world)
    failing(world, monkeypatch, StateConflict("The record", None, None), at=2)
    said = run("prune", "--history-before", world.clock.now().isoformat(), "--yes").stdout
    assert "Removed 3 changes from the history." in said
    assert left(world) == [4]


def test_a_backend_without_jobs_and_keys_has_nothing_of_the_kind_to_remove(
    world: World, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for power in ("Idempotent", "Enqueues"):
        monkeypatch.setattr(prune, power, type(power, (), {}))
    assert run("prune").stdout == ""


# -- reading after it --------------------------------------------------------------------------------------------------


def test_what_is_left_reads_as_before_and_what_is_gone_as_if_it_had_never_been(world: World, run: Run) -> None:
    lived(world)
    world.states.delete_state("user_1")
    present = world.states.register_state("user_1", "user", {"n": 6})
    run("prune", "--history-before", (START + 2 * DAY).isoformat(), "--yes")
    states = world.states
    assert left(world) == [3, 4, 5, 6]
    assert states.get_state("user_1") == present
    assert [states.get_state("user_1", at=version) for version in (1, 2)] == [None, None]
    assert states.get_state("user_1", at=START + DAY) is None
    assert states.get_state("user_1", at=START + 2 * DAY).data == {"n": 3}  # type: ignore[union-attr]
    oldest, *_, newest = states.get_state_history("user_1")
    assert (oldest.version, oldest.old_data, oldest.new_data) == (3, {}, {"n": 3})
    assert (newest.version, newest.transition_type) == (6, "create")
    assert [entry.version for entry in states.get_recent_changes("user_1", 10)] == [6, 5, 4, 3]
    with pytest.raises(StateNotFound, match=re.escape("get_state_history() lists what is")):
        states.rollback_state("user_1", 2)
    back = states.rollback_state("user_1", 3)
    assert (back.version, back.data) == (7, {"n": 3})


def test_a_state_that_has_rested_for_years_keeps_its_version(world: World, run: Run) -> None:
    lived(world, versions=1)
    deleted = world.states.register_state("gone", "user")
    world.states.delete_state("gone")
    world.clock.advance(3 * 365 * DAY.total_seconds())
    run("prune", "--history-days", "1", "--yes")
    assert world.states.get_state("user_1", at=1).data == {"n": 1}  # type: ignore[union-attr]
    assert left(world, "gone") == [2]
    assert world.states.register_state("gone", "user").version == deleted.version + 2
    assert world.states.get_state("user_1", at=world.clock.now()) is not None
