"""Conversations over several processes that die, on a storage that dies: every transcript is that of some one order."""

from __future__ import annotations

import random
import signal
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from flask_statemanager import StorageError
from flask_statemanager.flows.channel import Channel
from flask_statemanager.flows.turns import digest_of
from tests.flow_application import define
from tests.processes.application import Shared, opened
from tests.processes.child import KILLED, Child, until
from tests.processes.talker import TRAPPED
from tests.servers.redis_server import RedisServer
from tests.worlds import World, build, entered

pytestmark = pytest.mark.slow

PROCESSES = 4
WORDS = ("offer", "12", "7", "ada", "eve", "yes", "no", "perhaps", "back", "retry", "restart", "menu", "join")

Delivery = dict[str, str]


def plan(conversations: int, messages: int, chance: random.Random) -> list[Delivery]:
    """Return deliveries: every message one to three times, all of them shuffled."""
    deliveries: list[Delivery] = []
    for number in range(conversations):
        who = f"visitor {number}"
        words = (*WORDS, f"Member {number}")
        for turn in range(messages):
            message = {"who": who, "message": chance.choice(words), "id": f"m{turn}"}
            deliveries += [message] * chance.randint(1, 3)
    chance.shuffle(deliveries)
    return deliveries


@pytest.fixture(params=["redis", "postgresql"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shared]:
    """An application whose conversations live in Redis, in PostgreSQL."""
    redis = request.param == "redis"
    url = f"sqlite:///{tmp_path / 'shared.db'}" if redis else request.getfixturevalue("postgres_url")
    with opened(url, redis_url=request.getfixturevalue("redis_url") if redis else None) as shared:
        shared.db.create_all()
        define(shared.states)
        yield shared


def order_of(shared: Shared) -> dict[str, Any]:
    return {"url": shared.app.config["SQLALCHEMY_DATABASE_URI"], "redis_url": shared.runtime.settings.redis_url}


def kill_in_the_middle_of_a_turn(talker: Child, who: str) -> None:
    """Kill a process that has a conversation in its hands."""
    talker.tell(TRAPPED)
    for number, message in enumerate(("menu", "offer", "12", "ada", "yes")):
        talker.tell({"who": who, "message": message, "id": f"trap {number}"})
    while talker.hear() != TRAPPED:
        pass
    talker.kill()
    assert talker.ended() == KILLED


def deliver(talkers: Sequence[Child], deliveries: Sequence[Delivery]) -> list[dict[str, Any]]:
    """Deliver everything, as fast as it is worked on; one of the processes dies over the first part of it."""
    victim, *others = talkers
    early = deliveries[: len(deliveries) // 8]
    for each in early:
        victim.tell(each)
    rest = [*deliveries[len(early) :], *early]
    kill_in_the_middle_of_a_turn(victim, "visitor 0")
    for number, each in enumerate(rest):
        others[number % len(others)].tell(each)
    answers = [answer for talker in others for answer in talker.rest()]
    assert len(answers) == len(rest)
    return answers


def committed(shared: Shared, who: str, ids: Sequence[str]) -> list[str]:
    """Return the ids of the messages of a conversation in the order in which their turns were committed."""
    bucket = shared.runtime.shelves.kept("flows").bucket
    channel = Channel("web", who)
    records = {each: bucket.find(f"message:{digest_of(channel, each)}", strong=True) for each in ids}
    return sorted(
        (each for each, record in records.items() if record is not None), key=lambda each: records[each].revision
    )


def sequential(deliveries: Sequence[Delivery]) -> list[list[Any]]:
    """Return what one process alone answers."""
    found: list[list[Any]] = []
    world: World = build("memory", "sqlite://")
    define(world.states)
    for _ in entered(world):
        receive = world.states.flows.receive
        found = [
            list(receive("web", each["who"], each["message"], message_id=each["id"]).messages) for each in deliveries
        ]
    return found


def test_every_transcript_is_that_of_a_sequential_run_in_the_order_of_the_commits(shared: Shared) -> None:
    full = shared.runtime.settings.redis_url is not None
    conversations, messages = (30, 30) if full else (6, 8)
    deliveries = plan(conversations, messages, random.Random(7))
    with ExitStack() as stack:
        talkers = [stack.enter_context(Child("talker", order_of(shared))) for _ in range(PROCESSES)]
        assert [talker.hear() for talker in talkers] == ["ready"] * PROCESSES
        answers = deliver(talkers, deliveries)
    told: dict[str, dict[str, list[Any]]] = defaultdict(dict)
    for answer in answers:
        known = told[answer["who"]].setdefault(answer["id"], answer["messages"])
        assert known == answer["messages"], "a repetition gets the same answer"
    trap = [{"who": "visitor 0", "message": m, "id": f"trap {n}"} for n, m in enumerate(("menu", "offer", "12", "ada"))]
    said = {(each["who"], each["id"]): each for each in (*deliveries, *trap)}
    orders = {who: committed(shared, who, [name for w, name in said if w == who]) for who in sorted(told)}
    assert {who: len(order) for who, order in orders.items()} == {
        who: messages + (4 if who == "visitor 0" else 0) for who in orders
    }
    assert len(orders) == conversations
    replay = [said[who, name] for who, order in orders.items() for name in order]
    for each, expected in zip(replay, sequential(replay), strict=True):
        if not each["id"].startswith("trap"):
            assert told[each["who"]][each["id"]] == expected, each


def test_a_storage_that_is_killed_in_a_conversation_fails_the_turn_which_is_repeated_when_it_is_back(
    durable_redis: RedisServer, tmp_path: Path
) -> None:
    with opened(f"sqlite:///{tmp_path / 'shared.db'}", redis_url=durable_redis.url) as shared:
        shared.db.create_all()
        define(shared.states)
        receive = shared.states.flows.receive
        for number, message in enumerate(("offer", "12", "ada")):
            receive("web", "v1", message, message_id=str(number))
        durable_redis.signal(signal.SIGKILL)
        until(lambda: not durable_redis.running, "Redis is gone")
        with pytest.raises(StorageError):
            receive("web", "v1", "yes", message_id="3")
        durable_redis.start()
        answer = receive("web", "v1", "yes", message_id="3")
        assert answer.messages == ("Offer 1 is made.", "Welcome, stranger.")
        assert receive("web", "v1", "yes", message_id="3").repeated
        assert receive("web", "v1", "ada", message_id="2").messages == ("Offer 12 to ada?",)
