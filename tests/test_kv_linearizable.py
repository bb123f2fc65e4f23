"""What several processes see of a key could have happened one by one, whoever is killed and whatever goes away."""

from __future__ import annotations

import random
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.linearizability import Operation
from tests.processes.application import opened
from tests.processes.child import LONG, until
from tests.processes.chronicle import SCRIBES, Chronicle, assert_all_linearizable, histories, meetings
from tests.processes.scribe import KEYS, Scribe
from tests.servers.postgres_server import PostgresServer
from tests.servers.proxy import TcpProxy
from tests.servers.redis_server import RedisServer
from tests.test_crashes import restart
from tests.worlds import SHARED_KV_KINDS, World, build, entered

ROUNDS = 10 if LONG else 1
EACH = 100
"""How often each thread acts, before it is looked at whether they have met often enough."""

THREADS = 4
MET = 50
"""How many operations have to meet another one of the same key; without it a history would prove nothing."""

pytestmark = pytest.mark.slow


def check(found: dict[str, list[Operation]], *, lost: bool) -> None:
    """See that histories are linearizable, and worth it: about all keys, at once, and with lost answers."""
    assert set(found) == set(KEYS)
    everything = [each for history in found.values() for each in history]
    assert {each.verb for each in everything} == {"get", "look", "set", "create", "swap", "remove", "increment"}
    assert any(each.ended is None for each in everything) is lost
    assert meetings(found) >= MET
    assert_all_linearizable(found)


@pytest.fixture(params=[*SHARED_KV_KINDS, "cluster"])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str | None]:
    """The database and the Redis of keys and values, empty and with tables."""
    postgres = request.param == "postgresql"
    url = request.getfixturevalue("postgres_url") if postgres else f"sqlite:///{tmp_path / 'shared.db'}"
    servers = {"redis": "redis_url", "cluster": "redis_cluster_url"}
    redis_url = request.getfixturevalue(servers[request.param]) if request.param in servers else None
    made(url, redis_url)
    return url, redis_url


def made(url: str, redis_url: str | None = None) -> None:
    """Make the tables of a database."""
    with opened(url, redis_url=redis_url) as shared:
        shared.db.create_all()


@pytest.fixture
def restless() -> Iterator[None]:
    """Let threads take turns after microseconds, in the middle of whatever they do."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.usefixtures("restless")
def test_threads_on_memory_see_a_linearizable_history() -> None:
    for turn in range(ROUNDS):
        for world in entered(build("memory", "sqlite://")):
            notes: list[dict[str, Any]] = []

            def met(world: World = world, notes: list[dict[str, Any]] = notes, turn: int = turn) -> bool:
                notes += written_by_threads(world, f"t{turn}-{len(notes)}")
                return meetings(histories(notes)) >= MET

            until(met, "threads have met")
            check(histories(notes), lost=False)


def written_by_threads(world: World, name: str) -> list[dict[str, Any]]:
    """Return what threads of this process have written down."""
    notes: list[dict[str, Any]] = []
    barrier = threading.Barrier(THREADS)

    def write(number: int) -> None:
        with world.app.app_context():
            scribe = Scribe(world.states.kv, f"{name}.{number}", notes.append)
            for _ in range(EACH):
                barrier.wait(30)
                scribe.act()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    assert not [note for note in notes if "unexpected" in note]
    assert sum("answer" in note for note in notes) == THREADS * EACH
    return notes


def test_processes_of_which_some_are_killed_see_a_linearizable_history(stores: tuple[str, str | None]) -> None:
    for turn in range(ROUNDS):
        with Chronicle(*stores, f"p{turn}") as chronicle:

            def kill(chronicle: Chronicle = chronicle) -> None:
                chronicle.go_on(random.randint(5, 20))
                chronicle.kill()

            chronicle.lose(kill, least=4)
            chronicle.meet(MET)
            found = chronicle.finish()
        check(found, lost=True)


@pytest.mark.parametrize("how", [signal.SIGQUIT, signal.SIGKILL], ids=["immediate", "killed"])
def test_processes_whose_postgresql_is_ended_hard_see_a_linearizable_history(
    mortal_postgres: PostgresServer, how: signal.Signals
) -> None:
    url = mortal_postgres.create_database()
    made(url)
    with Chronicle(url, None, "p") as chronicle:

        def crash() -> None:
            chronicle.go_on(20)
            restart(mortal_postgres, how)

        chronicle.lose(crash, least=2)
        chronicle.meet(MET)
        found = chronicle.finish()
    check(found, lost=True)


def test_processes_whose_redis_is_killed_see_a_linearizable_history(durable_redis: RedisServer, tmp_path: Path) -> None:
    """It writes its log to the disk before it answers, and reads it when it comes back."""
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    made(url, durable_redis.url)
    with Chronicle(url, durable_redis.url, "p") as chronicle:

        def crash() -> None:
            chronicle.go_on(20)
            restart(durable_redis, signal.SIGKILL)

        chronicle.lose(crash, least=2)
        chronicle.meet(MET)
        found = chronicle.finish()
    check(found, lost=True)


def test_processes_whose_lines_to_redis_break_see_a_linearizable_history(redis_proxy: TcpProxy, tmp_path: Path) -> None:
    """Of what was asked on a broken line nobody knows whether it was done, and nothing is done a second time."""
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    made(url, redis_proxy.url())
    with Chronicle(url, redis_proxy.url(), "p") as chronicle:

        def break_off() -> None:
            chronicle.go_on(10)
            redis_proxy.reset()

        chronicle.lose(break_off, least=8)
        chronicle.meet(MET)
        found = chronicle.finish()
    check(found, lost=True)


def test_processes_whose_redis_is_frozen_see_a_linearizable_history(redis_proxy: TcpProxy, tmp_path: Path) -> None:
    """What was sent into the frost happens at the thaw, long after its sender has been told that nobody knows."""
    url, redis_url = f"sqlite:///{tmp_path / 'shared.db'}", f"{redis_proxy.url()}?socket_timeout=0.5"
    made(url, redis_url)
    with Chronicle(url, redis_url, "p") as chronicle:

        def freeze() -> None:
            chronicle.go_on(20)
            redis_proxy.freeze()
            chronicle.fail(SCRIBES)
            redis_proxy.thaw()

        chronicle.lose(freeze, least=2)
        chronicle.meet(MET)
        found = chronicle.finish()
    check(found, lost=True)
