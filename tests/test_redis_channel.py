"""One connection to Redis, said and heard on directly: every kind of answer, of any size, and how it ends."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis
from redis.exceptions import BusyLoadingError, NoScriptError, ResponseError
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import TimeoutError as TimedOut

from flask_statemanager.redis_channel import Channel
from flask_statemanager.redis_line import Command, PrivateLine, packed
from tests.servers.proxy import TcpProxy


@pytest.fixture
def channel(redis_url: str) -> Iterator[Channel]:
    with redis.Redis.from_url(redis_url) as client:
        channel = Channel(PrivateLine(client).connect())
        yield channel
        channel.close()


def asked(channel: Channel, *commands: Command) -> list[object]:
    return channel.exchange(b"".join(map(packed, commands)), len(commands))


@pytest.mark.parametrize("size", [0, 1, 2, 65_533, 65_536, 65_537, 5_000_000])
def test_text_of_any_size_comes_back(channel: Channel, size: int) -> None:
    text = b"\r\n" * (size // 2) + b"x" * (size % 2)
    assert asked(channel, ("ECHO", text), ("ECHO", b"behind")) == [text, b"behind"]
    assert asked(channel, ("ECHO", b"later")) == [b"later"]


def test_every_kind_of_answer(channel: Channel) -> None:
    nested = "return {1, {'a', {}, false}, redis.status_reply('fine'), -7}"
    assert asked(channel, ("PING",), ("GET", b"nothing"), ("EVAL", nested, 0), ("LPOP", b"nothing", 2)) == [
        b"PONG",
        None,
        [1, [b"a", [], None], b"fine", -7],
        None,
    ]


def test_a_refusal_is_an_answer_and_the_others_follow(channel: Channel) -> None:
    refused, unknown, last = asked(channel, ("NONSENSE",), ("EVALSHA", "0" * 40, 0), ("PING",))
    assert type(refused) is ResponseError
    assert type(unknown) is NoScriptError
    assert last == b"PONG"


def test_a_server_that_is_loading_counts_as_away(channel: Channel) -> None:
    with pytest.raises(BusyLoadingError):
        asked(channel, ("EVAL", "return redis.error_reply('LOADING Redis is loading')", 0))
    with pytest.raises(Disconnected):
        asked(channel, ("PING",))


def test_what_is_over_is_seen_without_asking(redis_proxy: TcpProxy) -> None:
    with redis.Redis.from_url(redis_proxy.url()) as client:
        channel = Channel(PrivateLine(client).connect())
        assert asked(channel, ("PING",)) == [b"PONG"]
        assert not channel.ended
        channel.close()
        assert channel.ended


def test_an_answer_that_does_not_come_in_time_ends_the_connection(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        channel = Channel(PrivateLine(client, timeout=0.05).connect())
        with pytest.raises(TimedOut):
            asked(channel, ("BLPOP", b"nothing", 0))
        assert channel.ended
