"""What the value of a setting may look like.

Each function reads a value as it stands in the config, or raises ValueError with a message that goes on from "it".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from .indexed import IndexedField

_LONGEST = 10 * 365 * 86400


def a_text(value: Any) -> str:
    """Read text.

    :param value: as it stands in the config.
    :raises ValueError: when it is none, or empty.
    """
    if isinstance(value, str) and value:
        return value
    raise ValueError("must be text and not empty")


def a_flag(value: Any) -> bool:
    """Read True or False, which may be written as in an environment variable.

    :param value: as it stands in the config.
    :raises ValueError: when it is neither.
    """
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("1", "true", "yes", "on", "0", "false", "no", "off"):
        return value.lower() in ("1", "true", "yes", "on")
    raise ValueError("must be True or False")


def some_bytes(value: Any) -> int:
    """Read a number of bytes.

    :param value: as it stands in the config.
    :raises ValueError: when it is none above 0.
    """
    if not isinstance(value, bool) and str(value).isdigit() and int(value) > 0:
        return int(value)
    raise ValueError("must be a whole number of bytes above 0")


def some_seconds(value: Any) -> float:
    """Read a number of seconds.

    :param value: as it stands in the config.
    :raises ValueError: when it is none above 0, or more than ten years.
    """
    seconds = _number_of(value)
    if 0 < seconds <= _LONGEST:
        return seconds
    raise ValueError("must be a number of seconds above 0, of at most ten years")


def a_pace(value: Any) -> float:
    """Read the seconds between two of what is done again and again.

    :param value: as it stands in the config.
    :raises ValueError: when they are not from 0.05 to 3600.
    """
    seconds = _number_of(value)
    if 0.05 <= seconds <= 3600:
        return seconds
    raise ValueError("must be a number of seconds from 0.05 to 3600")


def a_wait(value: Any) -> float:
    """Read the seconds that a request may be kept waiting.

    :param value: as it stands in the config.
    :raises ValueError: when they are not from 0.05 to 60.
    """
    seconds = _number_of(value)
    if 0.05 <= seconds <= 60:
        return seconds
    raise ValueError("must be a number of seconds from 0.05 to 60")


def a_cache_url(value: Any) -> str:
    """Read the URL of a single Redis.

    :param value: as it stands in the config.
    :raises ValueError: when it is none.
    """
    parts = urlsplit(a_text(value))
    if parts.scheme not in ("redis", "rediss", "unix"):
        raise ValueError("must be a URL such as redis://host:6379/0")
    if parts.port == 0:  # reading the port refuses what is no number, too
        raise ValueError("must name a port above 0")
    return str(value)


_REDIS = frozenset(("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster"))


def a_redis_url(value: Any) -> str:
    """Read the URL of a Redis of any kind, a cluster and one behind sentinels too.

    :param value: as it stands in the config.
    :raises ValueError: when it is none.
    """
    found = a_text(value)
    scheme, mark, rest = found.partition("://")
    if not mark or not rest or scheme not in _REDIS:
        raise ValueError("must be a URL such as redis://host:6379/0")
    return found


def a_key_prefix(value: Any) -> str:
    """Read what keys in Redis begin with; braces would tell a cluster where to put them.

    :param value: as it stands in the config.
    :raises ValueError: when it cannot be the beginning of a key.
    """
    found = a_text(value)
    if not found.isascii() or not found.isprintable() or any(mark in found for mark in "{} "):
        raise ValueError("must be printable ASCII text without braces and spaces")
    return found


def some_fields(value: Any) -> tuple[IndexedField, ...]:
    """Read the fields that have indexes, by type.

    :param value: as it stands in the config.
    :raises ValueError: when it is no dict of lists of fields.
    """
    if not isinstance(value, Mapping) or not all(isinstance(names, list | tuple) for names in value.values()):
        raise ValueError("must be a dict of lists, such as {'user': ['data.plan', 'data.amount:number']}")
    return tuple(dict.fromkeys(IndexedField.parse(name, each) for name, names in value.items() for each in names))


_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~\[\]-]{1,100}")


def some_names(value: Any) -> tuple[str, ...]:
    """Read names, such as those of headers.

    :param value: as it stands in the config.
    :raises ValueError: when it is no list of them.
    """
    names = value if isinstance(value, list | tuple | set | frozenset) else [None]
    if all(isinstance(name, str) and _NAME.fullmatch(name) for name in names):
        return tuple(names)
    raise ValueError("must be a list of names, such as ['Content-Type', 'User-Agent']")


def some_percentages(value: Any) -> dict[str, float]:
    """Read percentages by name, which may be written as in an environment variable: ``filters=25,notes=100``.

    :param value: as it stands in the config.
    :raises ValueError: when it is no dict of numbers from 0 to 100.
    """
    found = dict(_pair(part) for part in value.split(",")) if isinstance(value, str) else value
    if isinstance(found, Mapping) and all(isinstance(name, str) and name for name in found):
        shares = {name: _number_of(share) for name, share in found.items()}
        if all(0.0 <= share <= 100.0 for share in shares.values()):
            return shares
    raise ValueError("must be a dict of numbers from 0 to 100, such as {'filters': 25}")


def _pair(text: str) -> tuple[str, str]:
    name, _mark, number = text.rpartition("=")
    return name.strip(), number


def a_share(value: Any) -> float:
    """Read a share of a whole.

    :param value: as it stands in the config.
    :raises ValueError: when it is none from 0 to 1.
    """
    share = _number_of(value)
    if 0.0 <= share <= 1.0:
        return share
    raise ValueError("must be a number from 0 to 1")


def one_of(*words: str) -> Callable[[Any], str]:
    """Return what reads one of some words.

    :param words: the words.
    :raises ValueError: from what is returned, for any other.
    """

    def read(value: Any) -> str:
        if value in words:
            return str(value)
        raise ValueError(f"must be {' or '.join(repr(word) for word in words)}")

    return read


def a_count(least: int, most: int) -> Callable[[Any], int]:
    """Return what reads a whole number between bounds.

    :param least: the lowest.
    :param most: the highest.
    :raises ValueError: from what is returned, for anything else.
    """

    def read(value: Any) -> int:
        if not isinstance(value, bool) and str(value).isdigit() and least <= int(value) <= most:
            return int(value)
        raise ValueError(f"must be a whole number from {least} to {most}")

    return read


def _number_of(value: Any) -> float:
    try:
        return float("nan") if isinstance(value, bool) else float(value)
    except (ValueError, TypeError, OverflowError):
        return float("nan")
