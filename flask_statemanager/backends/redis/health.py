"""What a Redis is not set up for, in sentences for an operator."""

from __future__ import annotations

from typing import Any

from redis.exceptions import ResponseError

from ...core.buckets import BucketDefinition
from .link import Link

_EVICTION = (
    "Redis may throw away keys of the bucket {!r} when its memory is full (maxmemory-policy {}): set "
    "maxmemory-policy noeviction, so that writes are refused instead."
)
_NOTHING = (
    "What is written to the bucket {!r} does not outlive a restart of Redis, which keeps neither a log nor snapshots: "
    "set appendonly yes, or save."
)
_SNAPSHOTS = (
    "What was written to the bucket {!r} since Redis's last snapshot is lost when it crashes: set appendonly yes, or "
    "live with it."
)


def warnings_of(link: Link, definition: BucketDefinition) -> list[str]:
    """Tell what contradicts that a bucket keeps what is written to it.

    :param link: to Redis; a server that forbids ``CONFIG`` is asked with ``INFO``.
    :param definition: the bucket.
    :returns: a sentence each, nothing where all is well or where Redis does not tell.
    :raises StorageError: when Redis fails.
    """
    found: dict[str, None] = {}
    for memory, persistence, settings in zip(
        link.ask_all(("INFO", "memory"), refused=True),
        link.ask_all(("INFO", "persistence"), refused=True),
        link.ask_all(("CONFIG", "GET", "save"), refused=True),
        strict=True,
    ):
        told = {**_lines(memory), **_lines(persistence)}
        found |= dict.fromkeys(_eviction(definition, told) + _durability(definition, told, _pairs(settings)))
    return list(found)


def _eviction(definition: BucketDefinition, told: dict[str, str]) -> list[str]:
    policy = told.get("maxmemory_policy", "noeviction")
    # The other policies take only keys with an expiry of Redis's own, and there are none.
    evicts = told.get("maxmemory", "0") != "0" and policy.startswith("allkeys-")
    return [_EVICTION.format(definition.name, policy)] if evicts else []


def _durability(definition: BucketDefinition, told: dict[str, str], settings: dict[str, str] | None) -> list[str]:
    if told.get("aof_enabled", "1") != "0":
        return []
    kept = settings is None or bool(settings.get("save"))
    return [(_SNAPSHOTS if kept else _NOTHING).format(definition.name)]


def _lines(answer: Any) -> dict[str, str]:
    if isinstance(answer, ResponseError):
        return {}
    pairs = (line.partition(":") for line in answer.decode().splitlines())
    return {name: value for name, mark, value in pairs if mark}


def _pairs(answer: Any) -> dict[str, str] | None:
    if isinstance(answer, ResponseError):
        return None
    words = [word.decode() for word in answer]
    return dict(zip(words[::2], words[1::2], strict=True))
