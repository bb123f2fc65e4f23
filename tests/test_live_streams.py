"""The routes of live events, on Flask's own server in this process."""

from __future__ import annotations

import base64
import gc
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import websocket
from werkzeug.serving import make_server

from flask_statemanager import Reach, StorageUnavailable
from flask_statemanager.web.live import client as client_module
from flask_statemanager.web.live import web_socket
from flask_statemanager.web.live.log import Log
from tests.listeners import PATH, PATIENCE, sockets, streams
from tests.test_live_servers import bearing, token
from tests.worlds import World, build, entered

TOKENS = token("of-the-operator", "operator", "admin") | token("of-ada", "ada") | token("of-bob", "bob")
OPERATOR, ADA = bearing("of-the-operator"), bearing("of-ada")


@dataclass
class Service:
    """An application behind Flask's own server."""

    world: World
    address: str
    stack: ExitStack = field(default_factory=ExitStack)

    @property
    def kv(self) -> Any:
        return self.world.states.kv

    @property
    def counters(self) -> Any:
        return self.world.runtime.counters

    def socket(self, query: str = "", headers: dict[str, str] = OPERATOR, **more: Any) -> websocket.WebSocket:
        """Open a WebSocket that is closed behind the test."""
        made = websocket.create_connection(
            f"ws://{self.address}{PATH}{query}", timeout=PATIENCE, header=headers, **more
        )
        self.stack.callback(made.shutdown)
        return made

    def get(self, path: str, headers: dict[str, str] = OPERATOR) -> httpx.Response:
        # A stream that was not refused would never end.
        with httpx.stream("GET", f"http://{self.address}{path}", headers=headers, timeout=PATIENCE) as answer:
            if answer.status_code >= 400:
                answer.read()
            return answer

    def told(self, way: Callable[..., Iterator[Any]], query: dict[str, str], headers: dict[str, str] = OPERATOR) -> Any:
        """The messages of a stream, which is closed behind the test."""
        messages = way(self.address, query, headers)
        self.stack.callback(messages.close)
        return messages


@pytest.fixture
def serve() -> Iterator[Callable[..., Service]]:
    with ExitStack() as stack:

        def begin(ssl_context: Any = None, **config: Any) -> Service:
            given = {"STATEMANAGER_API_ENABLED": True, "STATEMANAGER_API_TOKENS": TOKENS, **config}
            world = next(running := entered(build("memory", "sqlite://", **given)))
            stack.callback(lambda: next(running, None))
            server = make_server("127.0.0.1", 0, world.app, threaded=True, ssl_context=ssl_context)
            thread = threading.Thread(target=server.serve_forever, daemon=True)
            thread.start()
            stack.callback(thread.join, PATIENCE)
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
            return Service(world, f"127.0.0.1:{server.port}", stack.enter_context(ExitStack()))

        yield begin


def until(found: Callable[[], bool]) -> None:
    """Wait for something to be so."""
    ends = time.monotonic() + PATIENCE
    while not found():
        assert time.monotonic() < ends
        time.sleep(0.01)


def message(opened: websocket.WebSocket) -> Any:
    return json.loads(opened.recv())


@pytest.mark.parametrize("way", [sockets, streams])
def test_a_stream_tells_what_was_asked_for_from_where_it_was_asked_for(
    serve: Callable[..., Service], way: Callable[..., Any]
) -> None:
    service = serve()
    states = service.world.states
    states.define_bucket("other")
    service.kv.set("a:1", {"n": 1}, "the test")
    states.register_state("a:u", "user", {"plan": "pro"}, owner="ada")
    states.update_state("a:u", transition="activate")
    states.bucket("other").kv.set("a:2", 2)
    service.kv.set("b:3", 3)
    everything = service.told(way, {"since": "0"})
    first = next(everything)
    assert (first["type"], first["cursor"]) == ("state_change", "1")
    assert (
        first["data"].items()
        >= {
            "key": "a:1",
            "old_value": None,
            "new_value": {"n": 1},
            "source": "the test",
            "bucket": "kv",
            "event": "create",
            "version": 1,
            "revision": 1,
            "existed": False,
            "exists": True,
        }.items()
    )
    assert type(first["data"]["timestamp"]) is int
    assert [next(everything)["data"]["key"] for _ in range(4)] == ["a:u", "a:u", "a:2", "b:3"]
    assert next(everything)["cursor"] == "5"
    for query, keys in (
        ({"since": "0", "prefix": "a:"}, ["a:1", "a:u", "a:u", "a:2"]),
        ({"since": "0", "bucket": "other"}, ["a:2"]),
        ({"since": "0", "bucket": "other,kv"}, ["a:1", "a:2", "b:3"]),
        ({"since": "2"}, ["a:u", "a:2", "b:3"]),
    ):
        messages = service.told(way, query)
        assert [next(messages)["data"]["key"] for _ in keys] == keys
        assert next(messages)["type"] in ("subscribed", "heartbeat")
    users = service.told(way, {"since": "0", "type": "user"})
    statuses = [next(users)["data"] for _ in range(2)]
    assert [(each["old_status"], each["new_status"]) for each in statuses] == [(None, "created"), ("created", "active")]
    next(users)
    states.delete_state("a:u")
    last = next(users)["data"]
    assert (last["old_value"], last["new_value"], last["existed"], last["exists"]) == (
        {"plan": "pro"},
        None,
        True,
        False,
    )


@pytest.mark.parametrize("way", [sockets, streams])
def test_a_user_is_told_what_is_theirs_and_by_the_rule_of_the_application(
    serve: Callable[..., Service], way: Callable[..., Any]
) -> None:
    service = serve(STATEMANAGER_LIVE_PUBLIC_PREFIXES=["news:"], STATEMANAGER_LIVE_SECRETS=["Pin"])
    service.world.states.propagation_rule(
        lambda record, reach: Reach(reach.everyone, reach.users | {"ada"}) if record.key.name == "team:1" else reach
    )
    for key in ("user:ada:x", "user:adam:x", "news:1", "market:1", "team:1", "last:ada"):
        service.kv.set(key, {"pin": 1, "text": [{"PIN": 2, "open": 3}]})
    messages = service.told(way, {"since": "0"}, ADA)
    keys = ["user:ada:x", "news:1", "team:1", "last:ada"]
    heard = [next(messages)["data"] for _ in keys]
    assert [each["key"] for each in heard] == keys
    assert heard[0]["new_value"] == {"text": [{"open": 3}]}
    assert next(messages)["type"] in ("subscribed", "heartbeat")
    service.kv.set("user:bob", 1)
    service.kv.set("user:ada", 2)
    assert next(messages)["data"]["key"] == "user:ada"


def test_a_stream_shows_that_it_lives_and_ends_at_its_age(serve: Callable[..., Service]) -> None:
    service = serve(STATEMANAGER_LIVE_HEARTBEAT=0.5, STATEMANAGER_LIVE_MAX_AGE=1.4)
    service.kv.set("a", 1)
    for way in (sockets, streams):
        messages = list(service.told(way, {}))
        kinds = [each["type"] for each in messages]
        assert kinds[-1] == "goodbye"
        assert "heartbeat" in kinds
        assert messages[-1]["data"] == {"reason": "expired"}
        assert {each["cursor"] for each in messages} == {"1"}
    opened = service.socket()
    while opened.connected:
        opcode, data = opened.recv_data(control_frame=True)
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            assert int.from_bytes(data[:2], "big") == 1012
            break


@pytest.mark.parametrize(
    ("path", "status", "name"),
    [
        ("?bucket=nowhere", 422, "invalid"),
        ("?since=x", 422, "invalid"),
        ("?since=1.2", 422, "invalid"),
        ("?prefix=%00", 422, "invalid"),
        ("?more=1", 422, "invalid"),
        ("?since=1&since=2", 400, "malformed-request"),
    ],
)
def test_what_cannot_be_served_is_a_problem(serve: Callable[..., Service], path: str, status: int, name: str) -> None:
    service = serve(STATEMANAGER_API_BUCKETS=["kv"])
    answer = service.get(f"{PATH}/stream{path}")
    assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (status, name)
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        service.socket(path)
    assert refused.value.status_code == status
    assert service.counters.value("live.clients") == 0


def test_who_is_not_known_or_comes_from_elsewhere_is_refused(serve: Callable[..., Service]) -> None:
    service = serve(STATEMANAGER_WS_ORIGINS=["https://app.example"], STATEMANAGER_API_ROLES={"read": ["admin"]})
    assert service.get(f"{PATH}/stream", {}).status_code == 401
    assert service.get(f"{PATH}/stream", ADA).status_code == 403
    for headers, origin, status in (({}, None, 401), (ADA, None, 403), (OPERATOR, "https://evil.example", 403)):
        with pytest.raises(websocket.WebSocketBadStatusException) as refused:
            service.socket(headers=headers, origin=origin)
        assert refused.value.status_code == status
    for origin in ("https://app.example", f"http://{service.address}"):
        assert message(service.socket(origin=origin))["type"] == "subscribed"


def test_a_page_offers_its_token_as_a_subprotocol(serve: Callable[..., Service]) -> None:
    service = serve()
    encoded = base64.urlsafe_b64encode(b"of-ada").decode().rstrip("=")
    opened = service.socket(headers={}, subprotocols=["statemanager.v1", f"statemanager.token.{encoded}"])
    assert opened.subprotocol == "statemanager.v1"
    assert message(opened)["type"] == "subscribed"
    service.kv.set("of:bob", 1)
    service.kv.set("of:ada", 2)
    assert message(opened)["data"]["key"] == "of:ada"
    with pytest.raises(websocket.WebSocketBadStatusException):
        service.socket(headers={}, subprotocols=["statemanager.v1", "statemanager.token.bm90aGluZw"])


def test_what_is_no_websocket_is_told_what_to_do(serve: Callable[..., Service]) -> None:
    service = serve()
    answer = service.get(PATH)
    assert (answer.status_code, answer.headers["Upgrade"]) == (426, "websocket")
    client = service.world.app.test_client()
    upgrade = {**OPERATOR, "Upgrade": "websocket", "Connection": "Upgrade"}
    assert client.get(PATH, headers=upgrade).status_code == 501
    old = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "8", "Sec-WebSocket-Key": "x"}
    refused = service.get(PATH, {**OPERATOR, **old})
    assert (refused.status_code, "version 13" in refused.text) == (400, True)
    head = client.head(f"{PATH}/stream", headers=OPERATOR)
    assert (head.status_code, head.mimetype) == (200, "text/event-stream")
    assert client.get(f"{PATH}/stream", headers=OPERATOR).status_code == 503
    off = serve(STATEMANAGER_BROADCAST_CHANGES=False)
    assert off.get(f"{PATH}/stream").status_code == 404


def test_places_are_given_back(serve: Callable[..., Service]) -> None:
    service = serve(STATEMANAGER_SERVER_THREADS=4, STATEMANAGER_RESERVED_THREADS=2)
    for _ in range(2):
        opened = [service.socket(), service.socket()]
        assert [message(each)["type"] for each in opened] == ["subscribed"] * 2
        assert service.get(f"{PATH}/stream").status_code == 503
        assert service.counters.value("live.clients") == 2
        for each in opened:
            each.close()
        until(lambda: service.counters.value("live.clients") == 0)
    with closing(streams(service.address, {}, OPERATOR)) as messages:
        next(messages)
        assert service.counters.value("live.clients") == 1
    # Whether somebody still reads an event stream shows when something is written to it.
    until(lambda: bool(service.kv.set("a", 1)) and service.counters.value("live.clients") == 0)
    assert service.counters.value("live.refused") == 2


def test_a_place_is_given_back_when_the_application_fails_behind_it(
    serve: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    service = serve()
    failing = threading.Event()

    @service.world.app.after_request
    def fail(response: Any) -> Any:
        if failing.is_set():
            raise ZeroDivisionError
        return response

    failing.set()
    service.world.app.config["PROPAGATE_EXCEPTIONS"] = False
    # pytest keeps what is logged, and by its traceback the response. The logger is that of every app of this name.
    monkeypatch.setattr(service.world.app.logger, "disabled", True)
    assert service.get(f"{PATH}/stream").status_code == 500
    with pytest.raises(websocket.WebSocketBadStatusException):
        service.socket()
    failing.clear()
    gc.collect()
    until(lambda: service.counters.value("live.clients") == 0)
    assert message(service.socket())["type"] == "subscribed"


def test_a_client_speaks_and_is_answered(serve: Callable[..., Service]) -> None:
    service = serve()
    opened = service.socket()
    assert message(opened)["type"] == "subscribed"
    opened.send("nobody listens to this")
    opened.ping("are you there?")
    assert opened.recv_data(control_frame=True) == (websocket.ABNF.OPCODE_PONG, b"are you there?")
    opened.send_close(1000)
    opcode, _data = opened.recv_data(control_frame=True)
    assert opcode == websocket.ABNF.OPCODE_CLOSE
    wrong = service.socket()
    message(wrong)
    wrong.sock.sendall(b"\x81\x05hello")
    opcode, data = wrong.recv_data(control_frame=True)
    assert (opcode, int.from_bytes(data[:2], "big")) == (websocket.ABNF.OPCODE_CLOSE, 1002)
    until(lambda: service.counters.value("live.clients") == 0)


def test_a_client_that_answers_no_ping_is_gone(serve: Callable[..., Service]) -> None:
    service = serve(STATEMANAGER_LIVE_HEARTBEAT=0.05)
    opened = service.socket()
    until(lambda: service.counters.value("live.clients") == 1)
    until(lambda: service.counters.value("live.clients") == 0)
    assert opened.connected


def _lazy(service: Service, query: str = "", room: int = 4096) -> socket.socket:
    """A WebSocket that is not read from, with as little room on the way as there can be."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
    host, _colon, port = service.address.partition(":")
    made.connect((host, int(port)))
    service.stack.callback(made.close)
    made.sendall(
        f"GET {PATH}{query} HTTP/1.1\r\nHost: {service.address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        "Authorization: Bearer of-the-operator\r\n\r\n".encode()
    )
    made.settimeout(PATIENCE)
    return made


def test_a_client_that_only_asks_is_not_answered_without_bounds(serve: Callable[..., Service]) -> None:
    service = serve(STATEMANAGER_LIVE_QUEUE_EVENTS=5, STATEMANAGER_LIVE_HEARTBEAT=3600)
    lazy = _lazy(service)
    until(lambda: service.counters.value("live.clients") == 1)
    [client] = hub_of(service)._everyone()
    append, waiting = client.mailbox._append, []

    def watched(data: bytes, cursor: str) -> None:
        append(data, cursor)
        waiting.append(len(client.mailbox._waiting))

    client.mailbox._append = watched
    lazy.sendall(b"\x89\x80\0\0\0\0" * 5000 + b"\x88\x82\0\0\0\0\x03\xe8")
    until(lambda: service.counters.value("live.clients") == 0)
    assert 5 <= max(waiting) <= 5 + 1  # and the answer to the end


def _texts(data: bytes) -> list[Any]:
    """The messages in what a server has sent."""
    data = data.partition(b"\r\n\r\n")[2]
    found = []
    while data and data[0] == 0x81:
        first, last = {126: (2, 4), 127: (2, 10)}.get(data[1], (1, 2))
        size = int.from_bytes(data[first:last], "big")
        found.append(json.loads(data[last : last + size]))
        data = data[last + size :]
    return found


def _rest(made: socket.socket) -> bytes:
    data = b""
    while piece := made.recv(65536):
        data += piece
    return data


def test_a_slow_client_is_told_and_cut_off_and_goes_on_without_loss(serve: Callable[..., Service]) -> None:
    service = serve(STATEMANAGER_LIVE_QUEUE_EVENTS=5, STATEMANAGER_LIVE_HEARTBEAT=3600)
    lazy = _lazy(service)
    until(lambda: service.counters.value("live.clients") == 1)
    [client] = hub_of(service)._everyone()
    number = 0
    while client.mailbox.farewell is None:
        number += 1
        service.kv.set("big", {"n": number, "text": "x" * 300_000})
        until(lambda told=number: service.counters.value("live.delivered") == told)
    messages = _texts(_rest(lazy))
    assert messages[-1]["type"] == "goodbye"
    assert messages[-1]["data"] == {"reason": "slow"}
    heard = [each["data"]["new_value"]["n"] for each in messages if each["type"] == "state_change"]
    again = service.told(sockets, {"since": messages[-1]["cursor"]})
    while heard[-1:] != [number]:
        heard.append(next(again)["data"]["new_value"]["n"])
    assert heard == list(range(1, number + 1))
    until(lambda: service.counters.value("live.cut_off") == 1)


def hub_of(service: Service) -> Any:
    """The hub of the application in this process."""
    [live] = [each.__self__ for each in service.world.runtime.closing if type(each.__self__).__name__ == "Live"]
    return live.hub


def test_a_client_that_takes_nothing_is_broken_off(serve: Callable[..., Service], monkeypatch: Any) -> None:
    monkeypatch.setattr(client_module, "PATIENCE", 0.2)
    service = serve(STATEMANAGER_LIVE_QUEUE_EVENTS=2, STATEMANAGER_LIVE_HEARTBEAT=3600)
    made = socket.create_connection(service.address.split(":"), PATIENCE)
    service.stack.callback(made.close)
    made.sendall(f"GET {PATH}/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer of-the-operator\r\n\r\n".encode())
    until(lambda: service.counters.value("live.clients") == 1)
    while service.counters.value("live.clients"):
        service.kv.set("big", "x" * 500_000)
    until(lambda: service.counters.value("live.cut_off") == 1)


def test_a_long_log_is_caught_up_with_at_the_clients_pace(serve: Callable[..., Service]) -> None:
    service = serve(STATEMANAGER_LIVE_QUEUE_EVENTS=2)
    for number in range(20):
        service.kv.set("big", {"n": number, "text": "x" * 100_000})
    lazy = _lazy(service, "?since=0", room=2**16)
    data = b""
    while b'"subscribed"' not in data[-200:]:
        data += lazy.recv(65536)
    heard = [each["data"]["new_value"]["n"] for each in _texts(data) if each["type"] == "state_change"]
    assert heard == list(range(20))


@pytest.mark.parametrize("way", [sockets, streams])
def test_a_storage_that_fails_on_the_way_sends_the_client_to_come_again(
    serve: Callable[..., Service], way: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    service = serve()
    service.kv.set("a", 1)
    read, calls = Log.read, []

    def fail(log: Log, *arguments: Any) -> Any:
        calls.append(1)
        if len(calls) > 1:
            raise StorageUnavailable("gone")
        return read(log, *arguments)

    monkeypatch.setattr(Log, "read", fail)
    found = list(service.told(way, {"since": "0"}))
    assert [each["type"] for each in found] == ["state_change", "goodbye"]
    assert (found[-1]["cursor"], found[-1]["data"]) == ("1", {"reason": "unavailable"})
    if way is streams:
        answer = service.get(f"{PATH}/stream?since=0")
        assert answer.status_code == 503
        assert service.counters.value("live.clients") == 0


def test_the_end_of_the_application_ends_the_streams(serve: Callable[..., Service], monkeypatch: Any) -> None:
    monkeypatch.setattr(web_socket, "_LINGER", 0.1)
    service = serve()
    both = [service.told(way, {}) for way in (sockets, streams)]
    for messages in both:
        next(messages)
    service.world.runtime.close()
    for messages in both:
        *_rest_of, last = messages
        assert last["data"] == {"reason": "closing"}


def test_a_websocket_under_tls(serve: Callable[..., Service]) -> None:
    service = serve(ssl_context="adhoc", STATEMANAGER_LIVE_HEARTBEAT=5)
    opened = websocket.create_connection(
        f"wss://{service.address}{PATH}?since=0",
        timeout=PATIENCE,
        header=OPERATOR,
        sslopt={"cert_reqs": ssl.CERT_NONE, "check_hostname": False},
    )
    service.stack.callback(opened.shutdown)
    assert message(opened)["type"] == "subscribed"
    for number in range(3):
        service.kv.set("big", {"n": number, "text": "x" * 400_000})
    heard = []
    while len(heard) < 3:
        found = message(opened)
        heard += [found["data"]["new_value"]["n"]] if found["type"] == "state_change" else []
    assert heard == [0, 1, 2]
    opened.ping("still there?")
    while opened.recv_data(control_frame=True)[1] != b"still there?":
        pass
    opened.close()


def test_where_nothing_is_propagated_only_administrators_are_told(serve: Callable[..., Service]) -> None:
    service = serve(STATEMANAGER_PROPAGATE_STATE=False)
    for name in ("user:ada", "global:motd"):
        service.kv.set(name, 1)
    told = service.told(streams, {"since": "0"})
    assert [next(told)["data"]["key"] for _ in range(2)] == ["user:ada", "global:motd"]
    # The end of what there is comes without any of it before.
    assert next(service.told(sockets, {"since": "0"}, ADA))["type"] in ("subscribed", "heartbeat")
