"""The parts of live events: cursors, messages, mailboxes, openings, places."""

from __future__ import annotations

import base64
import json
import signal
import socket
import sys
import threading
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from flask_statemanager import StateValidationError
from flask_statemanager.web.live import cursors, places
from flask_statemanager.web.live.client import PATIENCE, Client
from flask_statemanager.web.live.interest import EVERYTHING, Interest
from flask_statemanager.web.live.mailbox import Bounds, Farewell, Mailbox
from flask_statemanager.web.live.messages import CHANGE, HEARTBEAT, Frame, text_frame
from flask_statemanager.web.live.places import Places
from flask_statemanager.web.live.stay import Conversation, Once
from flask_statemanager.web.live.upgrade import TOKEN, Upgrade, is_welcome, token_offered
from flask_statemanager.web.live.waker import Waker
from flask_statemanager.web.live.wire import Wire, bound, break_off, socket_in

# -- cursors -----------------------------------------------------------------------------------------------------------


def test_a_cursor_of_one_log_is_the_logs_own() -> None:
    assert cursors.written({"sql": "12", "redis.kv": "3"}, ["sql"]) == "12"
    assert cursors.read("12", ["sql"]) == {"sql": "12"}
    assert cursors.read("1.2.3", ["redis.kv"]) == {"redis.kv": "1.2.3"}


def test_a_cursor_of_several_logs_names_them() -> None:
    text = cursors.written({"sql": "12", "redis.kv": "3.4"}, ["redis.kv", "sql"])
    assert text == "redis.kv=3.4,sql=12"
    assert cursors.read(text, ["redis.kv", "sql"]) == {"redis.kv": "3.4", "sql": "12"}
    assert cursors.read(text, ["sql"]) == {"sql": "12"}
    assert cursors.read("0", ["redis.kv", "sql"]) == {"redis.kv": "0", "sql": "0"}


@pytest.mark.parametrize("text", ["", "x", "1,2", "sql=1", "sql=1,redis.kv=x", "12", "=1", "sql=1,redis.kv=1..2", "-1"])
def test_what_is_no_cursor_of_these_logs_is_refused(text: str) -> None:
    with pytest.raises(StateValidationError, match="not a position"):
        cursors.read(text, ["redis.kv", "sql"])


def test_positions_are_compared_shard_by_shard() -> None:
    assert cursors.reaches("5.3", "5.2")
    assert not cursors.reaches("5.3", "4.6")
    assert cursors.reaches("5.3", "0")
    assert cursors.furthest("5.3", "4.6") == "5.6"
    assert cursors.is_behind(("5.2", "5.3"), "6.2")
    assert not cursors.is_behind(("5.2", "5.3"), "4.6")


# -- messages ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_a_frame_has_the_length_that_it_says(size: int) -> None:
    frame = text_frame(b"x" * size)
    lengths = {126: (2, 4), 127: (2, 10)}
    first, last = lengths.get(frame[1], (1, 2))
    assert (frame[0], int.from_bytes(frame[first:last], "big")) == (0x81, size)
    assert frame[last:] == b"x" * size


def test_a_message_is_the_same_on_every_transport() -> None:
    frame = Frame(CHANGE, "7", b'{"a":1}')
    assert json.loads(frame.text) == {"type": "state_change", "cursor": "7", "data": {"a": 1}}
    assert frame.websocket.endswith(frame.text)
    assert frame.event == b"id: 7\ndata: " + frame.text + b"\n\n"
    assert frame.websocket is frame.websocket


def test_a_heartbeat_of_an_event_stream_only_tells_the_cursor() -> None:
    assert Frame(HEARTBEAT, "7").event == b": heartbeat\nid: 7\n\n"


# -- mailboxes ---------------------------------------------------------------------------------------------------------


class Pipe:
    """Takes some bytes at a time, and none when it is full."""

    def __init__(self, room: int) -> None:
        self.room, self.got = room, b""

    def send(self, data: bytes) -> int:
        taken = data[: self.room]
        self.got += taken
        self.room -= len(taken)
        return len(taken)


def mailbox(events: int = 3, size: int = 1000) -> tuple[Mailbox, list[int]]:
    rings: list[int] = []
    return Mailbox(lambda frame: frame.text, Bounds(events, size), lambda: rings.append(1)), rings


def frames(number: int) -> list[Frame]:
    return [Frame(CHANGE, str(each + 1)) for each in range(number)]


def test_what_waits_is_taken_in_order_with_the_cursor_behind_it() -> None:
    box, rings = mailbox()
    first, second = frames(2)
    box.offer(first)
    box.offer(second)
    assert (box.waits, len(rings), box.cursor) == (True, 2, "0")
    assert box.take() == first.text + second.text
    assert (box.waits, box.cursor, box.delivered, box.take()) == (False, "2", 2, b"")


def test_what_can_be_sent_at_once_wakes_nobody() -> None:
    box, rings = mailbox()
    pipe = Pipe(10_000)
    box.send = pipe.send
    for frame in frames(5):
        box.offer(frame)
    assert (rings, box.cursor, box.delivered) == ([], "5", 5)
    assert pipe.got.count(b"state_change") == 5


@pytest.mark.parametrize("bounds", [(3, 10_000), (1000, 100)])
def test_a_slow_client_is_cut_off_behind_what_it_was_given(bounds: tuple[int, int]) -> None:
    box, _rings = mailbox(*bounds)
    pipe = Pipe(20)
    box.send = pipe.send
    for frame in frames(8):
        box.offer(frame)
    assert box.farewell is Farewell.SLOW
    box.last_words(b"closed")
    pipe.room = 10_000
    assert box.flush(pipe.send)
    assert pipe.got == Frame(CHANGE, "1").text + Frame("goodbye", "1", b'{"reason":"slow"}').text + b"closed"
    assert box.cursor == "1"


def test_a_single_message_may_be_larger_than_what_may_wait() -> None:
    box, _rings = mailbox(size=1)
    box.offer(frames(1)[0])
    assert box.farewell is None
    box.offer(frames(1)[0])
    assert box.farewell is Farewell.SLOW
    assert not box.waits


def test_what_is_sent_in_part_is_sent_to_its_end_first() -> None:
    box, rings = mailbox()
    pipe = Pipe(10)
    box.send = pipe.send
    first, second = frames(2)
    box.offer(first)
    box.answer(b"pong")
    box.offer(second)
    assert len(rings) == 2
    assert not box.flush(pipe.send)
    pipe.room = 20
    assert not box.flush(pipe.send)
    pipe.room = 10_000
    assert box.flush(pipe.send)
    assert pipe.got == first.text + b"pong" + second.text


def test_a_client_that_is_gone_is_left_to_its_thread() -> None:
    box, rings = mailbox()

    def gone(data: bytes) -> int:
        raise BrokenPipeError

    box.send = gone
    for frame in frames(5):
        box.offer(frame)
    assert (len(rings), box.farewell, box.cursor) == (1, None, "0")
    with pytest.raises(BrokenPipeError):
        box.flush(gone)


def test_behind_the_end_nothing_comes_in() -> None:
    box, _rings = mailbox()
    box.offer(frames(1)[0])
    box.end(Farewell.EXPIRED)
    box.end(Farewell.SLOW)
    box.offer(frames(1)[0])
    box.answer(b"pong")
    assert box.put(frames(1)[0]) == 0
    assert (box.farewell, box.waits) == (Farewell.EXPIRED, False)


def test_a_client_that_does_not_read_is_ended_and_then_broken_off() -> None:
    box, _rings = mailbox()
    aborted: list[int] = []
    client = Client(EVERYTHING, Interest(("kv",)), {"memory": ("kv",)}, box, lambda: aborted.append(1))
    assert not client.watch_over(0.0)
    box.offer(frames(1)[0])
    assert not client.watch_over(100.0)
    assert not client.watch_over(100.0 + PATIENCE - 1)
    box.take()
    box.offer(frames(1)[0])
    assert not client.watch_over(200.0)
    assert client.watch_over(200.0 + PATIENCE)
    assert box.farewell is Farewell.SLOW
    assert not client.watch_over(201.0 + PATIENCE)
    assert not client.watch_over(202.0 + 2 * PATIENCE)
    assert aborted == [1]


# -- the opening -------------------------------------------------------------------------------------------------------

OPENING = {
    "HTTP_HOST": "localhost",
    "HTTP_UPGRADE": "websocket",
    "HTTP_CONNECTION": "Upgrade",
    "HTTP_SEC_WEBSOCKET_KEY": "dGhlIHNhbXBsZSBub25jZQ==",
    "HTTP_SEC_WEBSOCKET_VERSION": "13",
    "wsgi.multithread": True,
}


def test_an_opening_is_answered_as_the_standard_says() -> None:
    _connection, answer = Upgrade({**OPENING, "HTTP_SEC_WEBSOCKET_PROTOCOL": "chat, statemanager.v1"}).accept()
    assert answer.startswith(b"HTTP/1.1 101")
    assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in answer
    assert b"statemanager.v1" in answer
    _connection, answer = Upgrade({**OPENING, "HTTP_SEC_WEBSOCKET_PROTOCOL": "chat"}).accept()
    assert b"protocol" not in answer.lower().replace(b"switching protocols", b"")


@pytest.mark.parametrize("name", ["HTTP_SEC_WEBSOCKET_KEY", "HTTP_CONNECTION", "HTTP_SEC_WEBSOCKET_VERSION"])
def test_what_is_no_opening_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"header|version|request"):
        Upgrade({key: value for key, value in OPENING.items() if key != name})


@pytest.mark.parametrize(
    ("origin", "welcome"),
    [
        (None, True),
        ("https://shop.example", True),
        ("http://SHOP.example", True),
        ("https://app.example", True),
        ("https://app.example:444", False),
        ("http://app.example", False),
        ("https://shop.example.evil.example", False),
        ("null", False),
        ("", False),
    ],
)
def test_pages_of_other_origins_may_not_listen(origin: str | None, welcome: bool) -> None:
    assert is_welcome(origin, "shop.example", ["https://app.example/"]) is welcome
    assert is_welcome(origin, "shop.example", ["*"])


def test_a_token_is_offered_as_a_subprotocol() -> None:
    encoded = base64.urlsafe_b64encode(b"s3cret?>").decode().rstrip("=")
    assert token_offered(f"statemanager.v1, {TOKEN}{encoded}") == "s3cret?>"
    assert token_offered("statemanager.v1") is None
    assert token_offered(f"{TOKEN}a") is None
    assert token_offered(TOKEN + base64.urlsafe_b64encode("é".encode()).decode()) is None


# -- places ------------------------------------------------------------------------------------------------------------


class BaseWorker:
    alive = True

    def __init__(self, threads: int, connections: int) -> None:
        self.cfg = SimpleNamespace(threads=threads, worker_connections=connections)

    def handle_exit(self, number: int, frame: Any) -> None:
        """As gunicorn's workers have it."""


class AsyncWorker(BaseWorker):
    """One with greenlets."""


@pytest.fixture
def gunicorn(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Puts a worker in the place in which gunicorn's is found."""
    for name, worker in (("base", BaseWorker), ("base_async", AsyncWorker)):
        module = ModuleType(name)
        setattr(module, "Worker" if name == "base" else "AsyncWorker", worker)
        monkeypatch.setitem(sys.modules, f"gunicorn.workers.{name}", module)

    def put(worker: BaseWorker) -> BaseWorker:
        monkeypatch.setattr(signal, "getsignal", lambda number: worker.handle_exit)
        return worker

    return put


def test_gunicorn_says_how_many_threads_it_has(gunicorn: Any) -> None:
    gunicorn(BaseWorker(8, 1000))
    assert places.server_threads({"wsgi.multithread": True}) == 8
    gunicorn(BaseWorker(8, 5))
    assert places.server_threads({"wsgi.multithread": True}) == 5
    worker = gunicorn(AsyncWorker(1, 1000))
    assert places.server_threads({"wsgi.multithread": True}) == 1000
    assert not places.is_ending()
    worker.alive = False
    assert places.is_ending()


def test_a_server_without_a_thread_for_listeners_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    one_at_a_time = {"wsgi.multithread": False}
    full = Places(100, None, 0)
    assert [full.take(one_at_a_time) for _turn in range(2)] == [True, False]
    assert not caplog.records
    reserved = Places(100, None, 2)
    assert [reserved.take(one_at_a_time) for _turn in range(2)] == [False, False]
    assert [record.getMessage().count("gunicorn --threads 100") for record in caplog.records] == [1]


def test_another_server_does_not_say_it() -> None:
    assert places.server_threads({"wsgi.multithread": True}) is None
    assert places.server_threads({"wsgi.multithread": False}) == 1
    assert not places.is_ending()


def test_some_threads_are_left_for_requests() -> None:
    found = Places(100, 4, 2)
    environ = {"wsgi.multithread": True}
    assert [found.take(environ) for _ in range(3)] == [True, True, False]
    found.leave()
    assert found.take(environ)
    assert not Places(100, None, 2).take({"wsgi.multithread": False})
    assert Places(100, None, 2).take(environ)
    assert not Places(0, None, 2).take(environ)


# -- wires and stays ---------------------------------------------------------------------------------------------------


def test_a_waker_is_readable_until_it_is_cleared() -> None:
    waker, other = Waker(), threading.Event()
    here, there = socket.socketpair()
    wire = Wire(here)
    try:
        for _ in range(3):
            waker.ring()
        waker.clear()
        waker.clear()
        threading.Thread(target=lambda: (other.wait(60), wire.ring())).start()
        other.set()
        assert not wire.wait(60, writable=False)
        there.sendall(b"hello")
        assert wire.wait(60, writable=True)
        assert wire.receive() == b"hello"
        assert wire.receive() == b""
        assert not wire.wait(0, writable=True)
        bound(here)
        there.close()
        assert wire.receive() is None
    finally:
        waker.close()
        wire.close()
        here.close()


def test_a_wire_takes_what_there_is_room_for() -> None:
    here, there = socket.socketpair()
    wire = Wire(here)
    try:
        sent = 0
        while taken := wire.send(b"x" * 65536):
            sent += taken
        assert sent > 0
        there.close()
        with pytest.raises(BrokenPipeError):
            wire.send(b"x")
    finally:
        wire.close()
        here.close()
    break_off(here)


def test_the_connection_is_found_where_servers_put_it() -> None:
    here, there = socket.socketpair()
    with here, there:
        assert socket_in({"gunicorn.socket": here}) is here
        assert socket_in({"werkzeug.socket": there}) is there
        assert socket_in({}) is None


def test_a_stay_ends_once() -> None:
    ends: list[str] = []
    end = Once(lambda: ends.append("one"), lambda: ends.append("two"))
    body = Conversation(lambda: ends.append("spoken"), end, lambda status, headers: ends.append(status))
    assert list(body) == []
    body.close()
    assert ends == ["spoken", "one", "two", "200 OK"]
