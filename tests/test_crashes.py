"""Kill -9 at every named point: nothing committed is lost, nothing is done for what was rolled back, nothing sticks."""

from __future__ import annotations

import random
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import redis
from sqlalchemy import text

from flask_statemanager.core.jobs import Job, JobQuery
from flask_statemanager.testing.clock import FakeClock
from tests.processes.application import LEASE, Shared, opened
from tests.processes.child import KILLED, LONG, Child, until
from tests.processes.load import STATES, Load
from tests.processes.traps import AROUND_COMMIT, AROUND_EFFECT, AROUND_JOB, CLAIMED, COMMITTED, COMMITTING
from tests.servers import PostgresServer, RedisServer, ServerFailed
from tests.servers.process import Server

ROUNDS = 4 if LONG else 1
VICTIMS = 3
STATES_IN_ROUND = VICTIMS * (VICTIMS + 1) + 2
"""More than all victims can claim, each two jobs at a time for its two threads, before the last one is killed."""

pytestmark = pytest.mark.slow


@dataclass
class Scene:
    """A database with durable effects.

    :param shared: the application in this process.
    :param url: the database.
    :param paper: the file that one of the effects writes to.
    :param nursery: starts processes that will not live long.
    """

    shared: Shared
    url: str
    paper: Path
    nursery: Child

    @property
    def states(self) -> Any:
        """The state manager."""
        return self.shared.states

    def victims(self, *orders: dict[str, Any]) -> None:
        """Start processes, all at once, and see each of them killed.

        :param orders: what each of them is told beside the database.
        """
        here = {"url": self.url, "paper": str(self.paper)}
        self.nursery.tell([{**here, **order} for order in orders])
        assert self.nursery.hear() == [KILLED] * len(orders), self.nursery.printed()

    def jobs(self) -> list[Job]:
        """Return all effects and timers."""
        backend = self.shared.runtime.backend
        with backend.reading() as unit:
            found: list[Job] = backend.jobs(unit, JobQuery())
        return found

    def pending(self) -> list[Job]:
        """Return the effects and timers that are not done."""
        return [job for job in self.jobs() if job.status == "pending"]

    def work_off(self) -> None:
        """Have a clean worker do what is left, which is due when the leases of the dead are over."""
        left = self.pending()
        assert left
        assert max(job.due_at for job in left) <= datetime.now(timezone.utc) + timedelta(seconds=LEASE)

        def nothing_left() -> bool:
            self.states.run_worker(threads=2)
            return not self.pending()

        until(nothing_left, lambda: f"every job is done: {self.pending()}")

    def lines(self) -> Counter[str]:
        """Return how often each key was written to the paper."""
        return Counter(self.paper.read_text().splitlines()) if self.paper.exists() else Counter()

    def logged(self) -> set[str]:
        """Return ``bucket:name:version`` of every change of a session that is in the log."""
        with self.shared.db.engine.connect() as connection:
            found = connection.execute(
                text("SELECT bucket, name, version FROM statemanager_history WHERE type = 'session'")
            )
            return {f"{bucket}:{name}:{version}" for bucket, name, version in found}


@pytest.fixture(scope="module")
def nursery() -> Iterator[Child]:
    with Child("nursery") as nursery:
        yield nursery


@pytest.fixture(params=["sqlite", "postgresql"])
def scene(request: pytest.FixtureRequest, tmp_path: Path, nursery: Child) -> Iterator[Scene]:
    postgres = request.param == "postgresql"
    url = request.getfixturevalue("postgres_url") if postgres else f"sqlite:///{tmp_path / 'shared.db'}"
    paper = tmp_path / "paper"
    with opened(url, paper=str(paper)) as shared:
        shared.db.create_all()
        yield Scene(shared, url, paper, nursery)


def commit_and_roll_back(scene: Scene, turn: int) -> set[str]:
    """Make changes, some of which are rolled back.

    :returns: ``bucket:name:version`` of those that were committed.
    """
    states, session = scene.states, scene.shared.db.session
    made = []
    for number in range(STATES_IN_ROUND):
        made.append(states.register_state(f"s{turn}.{number}", "session"))
        made.append(states.update_state(f"s{turn}.{number}", {"a": 1}))
    with states.transaction(session):
        states.register_state(f"gone{turn}", "session")
        states.update_state(f"s{turn}.0", {"b": 1})
    session.rollback()
    with states.transaction(session):
        made.append(states.update_state(f"s{turn}.1", {"b": 1}))
        savepoint = session.begin_nested()
        states.update_state(f"s{turn}.1", {"c": 1})
        savepoint.rollback()
    session.commit()
    return {f"state:{state.state_id}:{state.version}" for state in made}


def check_effects(scene: Scene, committed: set[str]) -> None:
    """See that every effect has taken place as often as is promised."""
    assert scene.logged() == committed
    assert set(scene.lines()) == {f"{key}:paper" for key in committed}, "at least once, and only for what was committed"
    assert scene.shared.notes() == sorted(f"{key}:note" for key in committed), "exactly once"
    effects = scene.states.list_effects(limit=10_000)
    assert len(effects) == 2 * len(committed)
    assert {effect.status for effect in effects} == {"done"}


def workers(point: str) -> list[dict[str, Any]]:
    """Return the orders of several workers, of which each is killed at a pass of its own."""
    return [{"program": "worker", "point": point, "turn": turn} for turn in range(1, VICTIMS + 1)]


# -- workers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("point", AROUND_EFFECT)
def test_effects_survive_workers_that_are_killed(scene: Scene, point: str) -> None:
    committed: set[str] = set()
    for turn in range(ROUNDS):
        committed |= commit_and_roll_back(scene, turn)
        scene.victims(*workers(point))
        scene.work_off()
        check_effects(scene, committed)


def test_effects_survive_a_worker_that_is_killed_at_any_moment(scene: Scene) -> None:
    committed: set[str] = set()
    chance = random.Random(7)
    for turn in range(2 * ROUNDS):
        with Child("worker", {"url": scene.url, "paper": str(scene.paper)}) as victim:
            assert victim.hear() == "ready"
            committed |= commit_and_roll_back(scene, turn)
            threading.Event().wait(chance.uniform(0, 0.1))
            victim.kill()
    scene.work_off()
    check_effects(scene, committed)


@pytest.mark.parametrize("point", AROUND_JOB)
def test_a_timer_fires_once_although_workers_are_killed_round_its_firing(scene: Scene, point: str) -> None:
    states = scene.states
    for turn in range(ROUNDS):
        names = [f"t{turn}.{number}" for number in range(STATES_IN_ROUND)]
        for name in names:
            states.register_state(name, "ticker")
            states.schedule_transition(name, "tick", after=0, data={"fired": True})
        scene.victims(*workers(point))
        scene.work_off()
        for name in names:
            assert [entry["transition_type"] for entry in states.get_state_history(name)] == ["create", "tick"]
            assert states.get_state(name).data == {"fired": True}
            assert [timer.status for timer in states.list_timers(name, status=None)] == ["done"]


def test_a_dead_workers_jobs_are_left_alone_until_its_lease_is_over(scene: Scene) -> None:
    scene.states.register_state("s1", "session")
    scene.victims({"program": "worker", "point": CLAIMED, "turn": 1})
    leased = [job for job in scene.jobs() if job.worker is not None]
    clock = FakeClock()
    scene.states.use_clock(clock)
    clock.set(min(job.due_at for job in leased) - timedelta(microseconds=1))
    scene.states.run_worker()
    assert [job for job in scene.jobs() if job.worker is not None] == leased
    clock.set(max(job.due_at for job in leased))
    scene.states.run_worker()
    assert {job.status for job in scene.jobs()} == {"done"}
    assert {job.attempts for job in scene.jobs() if job.id in {job.id for job in leased}} == {2}


# -- writers -----------------------------------------------------------------------------------------------------------

_TRACES = text(
    """
    SELECT (SELECT version FROM statemanager_state WHERE name = :name),
           (SELECT count(*) FROM statemanager_history WHERE name = :name),
           (SELECT count(*) FROM statemanager_outbox WHERE name = :name AND version = 2),
           (SELECT count(*) FROM statemanager_idempotency),
           (SELECT count(*) FROM note)
    """
)


def traces(scene: Scene, name: str) -> tuple[int, ...]:
    """Return what is stored of a write, as one moment shows it: version, changes, jobs, remembered requests, notes."""
    with scene.shared.db.engine.connect() as connection:
        return tuple(connection.execute(_TRACES, {"name": name}).one())


@pytest.mark.parametrize("joined", [False, True], ids=["own", "joined"])
@pytest.mark.parametrize("point", AROUND_COMMIT)
def test_a_writer_that_is_killed_leaves_everything_or_nothing_and_a_retry_makes_one_change(
    scene: Scene, point: str, joined: bool
) -> None:
    session = scene.shared.db.session
    for turn in range(ROUNDS):
        name, key = f"s{turn}", f"event-{turn}"
        scene.states.register_state(name, "session")
        nothing = (1, 1, 0, turn, turn * joined)
        everything = (2, 2, 2, turn + 1, (turn + 1) * joined)
        scene.victims({"program": "writer", "state": name, "key": key, "joined": joined, "point": point})
        allowed = {COMMITTING: {nothing}, COMMITTED: {everything}}.get(point, {nothing, everything})
        assert traces(scene, name) in allowed

        def again(name: str = name, key: str = key) -> Any:
            call = {"transition": "activate", "actor": "gateway", "idempotency_key": key}
            with scene.states.transaction(session):
                answer = scene.states.update_state(name, {"paid": True}, **call)
                if joined and session.query(scene.shared.note).filter_by(text=key).count() == 0:
                    session.add(scene.shared.note(text=key))
            session.commit()
            return answer

        answer = again()
        assert again() == answer
        assert (answer.version, answer.status, answer.data) == (2, "active", {"paid": True})
        assert traces(scene, name) == everything
    session.query(scene.shared.note).delete()
    session.commit()
    scene.work_off()
    check_effects(scene, {f"state:s{turn}:{version}" for turn in range(ROUNDS) for version in (1, 2)})


# -- servers -----------------------------------------------------------------------------------------------------------


def check_load(scene: Scene, load: Load) -> None:
    """See that what was acknowledged is there, that every write was made once, and that its effects take place."""
    for name in STATES:
        told = [each for each in load.acknowledged if each["state"] == name]
        history = scene.states.get_state_history(name, limit=100_000)
        stored = {entry["version"]: entry["new_data"].get("number") for entry in history}
        assert list(stored) == list(range(1, len(history) + 1)), "no gap"
        assert [stored[each["version"]] for each in told] == [each["number"] for each in told], "nothing is lost"
        assert list(stored.values()) == [None, *range(1, len(told) + 1)], "once each, and nothing else"

    def worked_off() -> bool:
        assert load.worker.heard() == []  # it raises when the worker has died
        return not scene.pending()

    until(worked_off, lambda: f"the worker has come back and done everything: {scene.pending()}")
    check_effects(scene, scene.logged())
    load.worker.rest()


def restart(server: Server, how: signal.Signals) -> None:
    """End a server the hard way, and start it again."""
    server.signal(how)
    until(lambda: not server.running, "the server is gone")

    def back() -> bool:
        # The processes of a killed PostgreSQL take a moment to notice, and until then its memory is theirs.
        with suppress(ServerFailed):
            server.start()
        return server.running

    until(back, "the server is back")


@pytest.mark.parametrize("how", [signal.SIGQUIT, signal.SIGKILL], ids=["immediate", "killed"])
def test_postgresql_that_is_ended_hard_during_load_loses_nothing_acknowledged(
    mortal_postgres: PostgresServer, nursery: Child, tmp_path: Path, how: signal.Signals
) -> None:
    """The writers repeat what was not acknowledged under its idempotency key, so that every write is made once."""
    url, paper = mortal_postgres.create_database(), tmp_path / "paper"
    with opened(url, paper=str(paper)) as shared:
        shared.db.create_all()
        scene = Scene(shared, url, paper, nursery)
        for name in STATES:
            scene.states.register_state(name, "session")
        with Load(url, str(paper)) as load:
            load.go_on(10)
            for _ in range(min(3, ROUNDS)):
                restart(mortal_postgres, how)
                load.go_on(10)
            load.stop_writing()
            assert any(each["failures"] for each in load.acknowledged), "somebody was writing when the server ended"
            shared.db.engine.dispose()
            check_load(scene, load)


def test_redis_that_is_killed_under_the_read_cache_during_load_loses_nothing_acknowledged(
    scene: Scene, mortal_redis: RedisServer
) -> None:
    """Nor does anybody who has written read what was before, whatever the cache has missed."""
    for name in STATES:
        scene.states.register_state(name, "session")
    with Load(scene.url, str(scene.paper), {"SHARED_CACHE_URL": mortal_redis.url}) as load:
        load.go_on(10)
        assert cached(mortal_redis)
        for _ in range(min(3, ROUNDS)):
            mortal_redis.signal(signal.SIGKILL)
            until(lambda: not mortal_redis.running, "the server is gone")
            load.go_on(10)
            mortal_redis.start()
            load.go_on(10)
        until(lambda: cached(mortal_redis), "the cache is in use again")
        load.stop_writing()
        check_load(scene, load)


def cached(server: RedisServer) -> bool:
    """Tell whether the cache holds anything."""
    with redis.Redis.from_url(server.url) as client:
        return bool(client.dbsize())
