"""A client goes on where it was and then hears what is new: nothing is left out and nothing comes twice.

However the reading of the log, the telling of others and the client's own way lie in between one another.
"""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any

import pytest

from flask_statemanager import Change, Compacted, Key, Record, StorageUnavailable
from flask_statemanager.core.clock import SystemClock
from flask_statemanager.core.follows import Page, Wait, Watches
from flask_statemanager.core.record import Origin
from flask_statemanager.tracking.propagation import Propagation
from flask_statemanager.web.live.client import Client
from flask_statemanager.web.live.cursors import reaches, read
from flask_statemanager.web.live.interest import EVERYTHING, Audience, Interest
from flask_statemanager.web.live.listening import Listening
from flask_statemanager.web.live.live import Live
from flask_statemanager.web.live.log import Log, Source
from flask_statemanager.web.live.mailbox import Bounds, Farewell, Mailbox
from flask_statemanager.web.live.terms import Terms

NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
PATIENCE = 60.0


def change_of(bucket: str, name: str, revision: int, owner: str | None = None, before: Record | None = None) -> Change:
    key = Key(bucket, name)
    after = Record(key, name, "kv", "set", {"value": revision}, {}, 1, revision, owner, 1, NOON, NOON)
    return Change(revision, key, 1, "set", before, after, Origin("system"), NOON)


class Tape(Watches):
    """A log whose revisions are counted shard by shard, read some entries at a time; something happens in between."""

    def __init__(self, shards: int, *, one_log: bool = True) -> None:
        self.one_log = one_log
        self.entries: list[tuple[int, Change]] = []
        self.tops = [0] * shards
        self.lost = [0] * shards
        self.hook: Callable[[], None] = lambda: None
        self.failures: list[Exception] = []
        self.dice = random.Random(0)
        self.added = threading.Condition()

    def add(self, bucket: str, shard: int, owner: str | None = None, before: Record | None = None) -> Change:
        with self.added:
            self.tops[shard] += 1
            name = f"{bucket}:{shard}:{self.tops[shard]}"
            change = change_of(bucket, name, self.tops[shard], owner, before)
            self.entries.append((shard, change))
            self.added.notify_all()
        return change

    def position(self, bucket: str) -> str:
        return ".".join(map(str, self.tops))

    def follow(self, bucket: str, cursor: str, *, prefix: str = "", limit: int = 500) -> Page:
        self.hook()
        if self.failures:
            raise self.failures.pop()
        at = [0] * len(self.tops) if cursor == "0" else [int(each) for each in cursor.split(".")]
        if any(here < lost for here, lost in zip(at, self.lost, strict=True)):
            raise Compacted(cursor, self.position(bucket))
        behind = self._shuffled([(shard, change) for shard, change in self.entries if change.revision > at[shard]])
        page, cursors = [], []
        for shard, change in behind[:2]:
            at[shard] = change.revision
            if change.key.bucket == bucket:
                page.append(change)
                cursors.append(".".join(map(str, at)))
        return Page(page, ".".join(map(str, at)), len(behind) > 2, cursors if len(at) > 1 else [])

    def _shuffled(self, entries: list[tuple[int, Change]]) -> list[tuple[int, Change]]:
        """Put the entries of shards in another order, as their clocks differ; those of one shard stay in theirs."""
        shards = [shard for shard, _change in entries]
        self.dice.shuffle(shards)
        waiting = {shard: iter([each for each in entries if each[0] == shard]) for shard in set(shards)}
        return [next(waiting[shard]) for shard in shards]

    @contextmanager
    def following(self, bucket: str) -> Iterator[Wait]:
        def wait(cursor: str, seconds: float) -> bool:
            with self.added:
                return self.added.wait_for(lambda: self.position(bucket) != cursor, seconds)

        yield wait


class Stage:
    """Some tapes, the streams of them, and clients; nothing happens by itself."""

    def __init__(self, tapes: dict[str, tuple[str, Tape]], *, still: bool = True) -> None:
        self.tapes = tapes
        self.live = (Still if still else Live)(
            lambda bucket: Source(*tapes[bucket]), Propagation(), Terms(frozenset(), 10_000), SystemClock()
        )

    def client(self, audience: Audience = EVERYTHING, buckets: tuple[str, ...] = ()) -> Client:
        wanted = buckets or tuple(sorted(self.tapes))
        box = Mailbox(lambda frame: frame.text + b"\n", Bounds(100_000, 2**30), lambda: None)
        return Client(audience, Interest(wanted), self.live.logs(wanted), box)

    def dispatch(self) -> None:
        """Read and tell one piece of each log, as its reader does."""
        for log in {log for log, _tape in self.tapes.values()}:
            wanted = self.live.hub.wanted(log)
            if wanted is not None:
                cursor, buckets = wanted
                self.live.hub.deliver(log, buckets, Log(log, self.live._source).read(cursor, buckets))


class Still(Live):
    """Live events that nobody reads by himself."""

    between: Callable[[], None] = staticmethod(lambda: None)

    def admit(self, client: Client, *, held: bool) -> None:
        self.between()
        fresh = {name: self.log(name).position(client.logs[name][0]) for name in self.hub.unread(client)}
        assert self.hub.admit(client, fresh, held=held) is not None
        self.between()


def told(text: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def changes_in(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [message for message in messages if message["type"] == "state_change"]


TAPES: dict[str, Callable[[], dict[str, tuple[str, Tape]]]] = {
    "one log": lambda: {"kv": ("sql", Tape(1))},
    "two buckets of one log": lambda: dict.fromkeys(("kv", "state"), ("sql", Tape(1))),
    "shards": lambda: {"kv": ("redis.kv", Tape(3))},
    "two logs": lambda: {"kv": ("redis.kv", Tape(2)), "state": ("sql", Tape(1))},
}


class Chance:
    """Lets something happen now and then: somebody writes, or a piece of a log is read and told.

    :param stage: where.
    :param seed: of the dice.
    """

    def __init__(self, stage: Stage, seed: int) -> None:
        self.stage = stage
        self.dice = random.Random(seed)
        self.over = False

    def write(self) -> None:
        bucket = self.dice.choice(sorted(self.stage.tapes))
        tape = self.stage.tapes[bucket][1]
        tape.add(bucket, self.dice.randrange(len(tape.tops)))

    def __call__(self, most: int = 3) -> None:
        if self.over:
            return
        self.over = True
        for _ in range(self.dice.randrange(most + 1)):
            self.dice.choice((self.write, self.stage.dispatch))()
        self.over = False


@pytest.mark.parametrize("kind", TAPES)
@pytest.mark.parametrize("seed", range(20))
def test_a_client_that_comes_again_gets_everything_once_and_in_order(kind: str, seed: int) -> None:
    stage = Stage(TAPES[kind]())
    chance = Chance(stage, seed)
    stage.live.admit(stage.client(), held=False)
    chance(30)
    for _log, tape in stage.tapes.values():
        tape.hook = chance
    stage.live.between = chance  # type: ignore[attr-defined]
    client = stage.client()
    messages: list[dict[str, Any]] = []
    with Listening(stage.live, client, "0") as listening:
        for frame in listening.catch_up():
            messages += told(frame.text)
            if len(messages) < 60:
                chance()
        for _ in range(20):
            chance()
        chance.over = True
        for _ in range(200):
            stage.dispatch()
    messages += told(client.mailbox.take())
    check(changes_in(messages), messages, stage)


def test_what_comes_between_the_last_look_and_the_joining_is_told() -> None:
    stage = Stage(TAPES["one log"]())
    tape, client, hub = stage.tapes["kv"][1], stage.client(), stage.live.hub
    settle = hub.settle

    def late(*arguments: Any) -> None:
        tape.add("kv", 0)
        stage.dispatch()
        settle(*arguments)

    hub.settle = late  # type: ignore[method-assign]
    with Listening(stage.live, client, "0") as listening:
        assert list(listening.catch_up()) == []
        kinds = [message["type"] for message in told(client.mailbox.take())]
        assert kinds == ["state_change", "subscribed"]


def check(heard: list[dict[str, Any]], messages: list[dict[str, Any]], stage: Stage) -> None:
    """Everything once, each shard in order, and every cursor stands behind what was told and before what was not."""
    logs = sorted({log for log, _tape in stage.tapes.values()})
    places: dict[str, tuple[str, int, int]] = {}
    for log, tape in stage.tapes.values():
        places |= {change.key.name: (log, shard, change.revision) for shard, change in tape.entries}
    names = [message["data"]["key"] for message in heard]
    assert sorted(names) == sorted(places)
    for log, shard in {place[:2] for place in places.values()}:
        revisions = [places[name][2] for name in names if places[name][:2] == (log, shard)]
        assert revisions == sorted(revisions)
    seen = 0
    for message in messages:
        seen += message["type"] == "state_change"
        cursor = {log: [int(each) for each in text.split(".")] for log, text in read(message["cursor"], logs).items()}
        behind = [cursor[places[name][0]][places[name][1]] >= places[name][2] for name in names]
        assert behind == [True] * seen + [False] * (len(names) - seen)


def test_clients_are_told_the_same_bytes() -> None:
    stage = Stage(TAPES["one log"]())
    clients = [stage.client(audience) for audience in (EVERYTHING, EVERYTHING, Audience("ada"), Audience("bob"))]
    for client in clients:
        stage.live.admit(client, held=False)
        client.mailbox.take()
    tape = stage.tapes["kv"][1]
    first = tape.add("kv", 0, "ada")
    tape.add("kv", 0, "bob", before=first.after)
    stage.dispatch()
    texts = [client.mailbox.take() for client in clients]
    assert texts[0] == texts[1]
    assert [len(told(text)) for text in texts] == [2, 2, 2, 1]
    assert [message["data"]["new_value"] for message in told(texts[2])] == [1, None]
    assert [message["data"]["old_value"] for message in told(texts[2])] == [None, 1]
    assert [(each["data"]["old_value"], each["data"]["new_value"]) for each in told(texts[3])] == [(None, 2)]
    assert stage.live.hub.delivered == 7
    for client in clients:
        stage.live.leave(client)
        stage.live.leave(client)
    assert (stage.live.hub.clients, stage.live.hub.wanted("sql")) == (0, None)


def test_what_is_everybodys_on_one_side_is_told_on_that_side() -> None:
    stage = Stage(TAPES["one log"]())
    tape = stage.tapes["kv"][1]
    stage.live._parts.get().hub._propagation = Propagation(prefixes=["kv:0:1"])
    client = stage.client(Audience("bob"))
    stage.live.admit(client, held=False)
    first = tape.add("kv", 0)
    second = tape.add("kv", 0)
    tape.entries[1] = (0, change_of("kv", "x", 2, before=first.after))
    stage.dispatch()
    assert second.key.name == "kv:0:2"
    told_of = changes_in(told(client.mailbox.take()))
    assert [(each["data"]["key"], each["data"]["old_value"]) for each in told_of] == [("kv:0:1", None), ("x", 1)]


def test_who_asks_for_another_bucket_makes_the_reader_read_again() -> None:
    stage = Stage(TAPES["two buckets of one log"]())
    first = stage.client(buckets=("kv",))
    stage.live.admit(first, held=False)
    stage.tapes["kv"][1].add("state", 0)
    cursor, buckets = stage.live.hub.wanted("sql") or ("", ())
    stretch = Log("sql", stage.live._source).read(cursor, buckets)
    second = stage.client(buckets=("state",))
    stage.live.admit(second, held=False)
    assert not stage.live.hub.deliver("sql", buckets, stretch)
    stage.dispatch()
    assert len(changes_in(told(second.mailbox.take()))) == 1
    assert changes_in(told(first.mailbox.take())) == []


@pytest.mark.parametrize("kind", ["one log", "shards"])
def test_what_is_lost_is_told_to_everybody_and_gone_on_from(kind: str) -> None:
    stage = Stage(TAPES[kind]())
    log, tape = stage.tapes["kv"]
    live, late, there = stage.client(), stage.client(), stage.client()
    stage.live.admit(live, held=False)
    tape.add("kv", 0)
    with Listening(stage.live, late, "0") as listening:
        assert [frame.kind for frame in listening.catch_up()] == ["state_change"]
        tape.add("kv", 0)
        tape.lost[0] = 2
        stage.live.hub.compacted(log, tape.position("kv"))
        tape.add("kv", 0)
        stage.dispatch()
        kinds = [message["type"] for message in told(late.mailbox.take())]
        assert kinds == ["subscribed", "compacted", "state_change"]
        assert [message["type"] for message in told(live.mailbox.take())] == ["subscribed", "compacted", "state_change"]
    with Listening(stage.live, there, "0") as listening:
        found = [message for frame in listening.catch_up() for message in told(frame.text)]
        assert [message["type"] for message in found] == ["compacted"]
        assert found[0]["cursor"] == tape.position("kv")


def test_what_is_lost_while_a_client_catches_up_is_told_in_its_place() -> None:
    stage = Stage(TAPES["one log"]())
    tape, client = stage.tapes["kv"][1], stage.client()
    stage.live.admit(stage.client(), held=False)
    with Listening(stage.live, client, "0") as listening:

        def between() -> None:
            if stage.live.hub.clients == 2:
                stage.live.between = lambda: None  # type: ignore[attr-defined]
                tape.add("kv", 0)
                stage.dispatch()
                stage.live.hub.compacted("sql", "7")

        stage.live.between = between  # type: ignore[attr-defined]
        frames = [frame.kind for frame in listening.catch_up()]
        assert frames == ["state_change"]
        assert [(each["type"], each["cursor"]) for each in told(client.mailbox.take())] == [
            ("compacted", "7"),
            ("subscribed", "7"),
        ]


def test_a_client_that_is_behind_what_was_removed_is_as_far_as_the_others() -> None:
    """The tail of the log is gone, rolled back or removed, so that its end cannot be reached by reading."""
    stage = Stage(TAPES["one log"]())
    tape, client = stage.tapes["kv"][1], stage.client()
    tape.add("kv", 0)
    tape.tops[0] = 9
    with Listening(stage.live, client, "0") as listening:
        assert [frame.cursor for frame in listening.catch_up()] == ["1"]
        assert [message["cursor"] for message in told(client.mailbox.take())] == ["9"]


def test_who_is_told_nothing_on_the_way_is_told_how_far_it_has_come() -> None:
    stage = Stage(TAPES["one log"]())
    for _ in range(5):
        stage.tapes["kv"][1].add("other", 0)
    client = stage.client()
    with Listening(stage.live, client, "0") as listening:
        assert [(frame.kind, frame.cursor) for frame in listening.catch_up()] == [
            ("heartbeat", "2"),
            ("heartbeat", "4"),
        ]
        listening.heartbeat()
        assert [message["type"] for message in told(client.mailbox.take())] == ["subscribed", "heartbeat"]


def test_too_much_that_is_held_ends_the_stay() -> None:
    stage = Stage(TAPES["one log"]())
    client = stage.client()
    hub = stage.live.hub
    hub._terms = Terms(most_held=2)
    stage.live.admit(client, held=True)
    for _ in range(3):
        stage.tapes["kv"][1].add("kv", 0)
        stage.dispatch()
    stage.dispatch()
    hub.heartbeat(client)
    assert client.mailbox.farewell is Farewell.SLOW


# -- the reader's thread -----------------------------------------------------------------------------------------------


def eventually(found: Callable[[], bool]) -> None:
    """Wait for something to be so."""
    for _ in range(int(PATIENCE * 100)):
        if found():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it has not come to that")


def test_the_reader_goes_on_through_outages_and_ends_when_nobody_listens(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage(TAPES["one log"](), still=False)
    tape, client = stage.tapes["kv"][1], stage.client()
    stage.live.admit(client, held=False)
    assert stage.live.read() == ["sql"]
    tape.add("kv", 0)
    eventually(lambda: stage.live.hub.delivered == 1)
    tape.failures = [StorageUnavailable("no"), ZeroDivisionError("bug")]
    for _ in range(50):
        tape.add("kv", 0)
    eventually(lambda: stage.live.hub.delivered == 51)
    messages = told(client.mailbox.take())
    assert [message["data"]["revision"] for message in changes_in(messages)] == list(range(1, 52))
    assert {message["type"] for message in messages} == {"state_change", "subscribed"}
    assert caplog.text.count("Reading the log sql for live events fails") == 1
    tape.lost, tape.failures = [52], [Compacted("51", "52")]
    tape.tops = [52]
    tape.add("kv", 0)
    eventually(lambda: stage.live.hub.delivered == 52)
    assert "compacted" in [message["type"] for message in told(client.mailbox.take())]
    counts = {name: number() for name, number in stage.live.counts().items()}
    assert (counts["live.clients"], counts["live.delivered"]) == (1, 52)
    assert counts["live.lag_ms"] > 0
    stage.live.leave(client)
    eventually(lambda: stage.live.read() == [])
    stage.live.admit(client, held=False)
    assert stage.live.read() == ["sql"]
    stage.live.close()
    assert (stage.live.read(), client.mailbox.farewell) == ([], Farewell.CLOSING)
    stage.live.admit(stage.client(), held=False)
    assert stage.live.read() == ["sql"]
    stage.live.close()


def test_closing_ends_a_reader_that_waits_for_the_storage() -> None:
    stage = Stage(TAPES["one log"](), still=False)
    stage.live.close()
    tape, client = stage.tapes["kv"][1], stage.client()
    failed = threading.Event()

    def fail() -> None:
        failed.set()
        raise StorageUnavailable("no")

    tape.hook = fail
    stage.live.admit(client, held=False)
    assert failed.wait(PATIENCE)
    stage.live.close()
    assert stage.live.read() == []


def test_a_server_that_ends_ends_the_streams() -> None:
    tapes = TAPES["one log"]()
    live = Live(lambda bucket: Source(*tapes[bucket]), Propagation(), Terms(), SystemClock(), lambda: True)
    box = Mailbox(lambda frame: frame.text, Bounds(10, 10_000), lambda: None)
    live.admit(Client(EVERYTHING, Interest(("kv",)), live.logs(("kv",)), box), held=False)
    eventually(lambda: box.farewell is Farewell.CLOSING)
    live.close()


def test_where_there_is_no_thread_to_be_had_the_client_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(TAPES["one log"](), still=False)

    def fail(thread: Any) -> None:
        raise RuntimeError("can't start new thread")

    client = stage.client()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        with pytest.raises(StorageUnavailable, match="no thread"):
            stage.live.admit(client, held=False)
    assert client.mailbox.farewell is Farewell.CLOSING
    stage.live.leave(client)
    assert stage.live.hub.unread(client) == ["sql"]


def test_a_log_that_is_left_while_somebody_comes_is_begun_again(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(TAPES["one log"](), still=False)
    hub = stage.live.hub
    monkeypatch.setattr(hub, "unread", lambda client: [])
    with pytest.raises(StorageUnavailable, match="connect again"):
        stage.live.admit(stage.client(), held=False)
    assert hub.clients == 0
    assert reaches("1", "0")
