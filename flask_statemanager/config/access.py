"""What the settings say of who may use the API: tokens, roles, origins; and where the API is.

Each function reads a value as it stands in the config, or raises ValueError with a message that goes on from "it".
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from ..errors import shown

PERMISSIONS = ("read", "write", "admin")
"""What the API asks for: to look, to change, to make and restore snapshots."""

ANYBODY = "*"
"""Stands for every role: whoever is known may."""

SCHEMES = ("sha256", "sha512")
"""The hashes that a token can be kept as; the first is taken where none is named."""

_PREFIX = re.compile(r"(/[A-Za-z0-9._~@:+=-]+)+", re.ASCII)
_MOST_TEXT = 255


class Roles(Struct, frozen=True):
    """Which roles have which permission. By default whoever is known reads, and ``admin`` does the rest.

    :param read: who may look.
    :param write: who may change.
    :param admin: who may make and restore snapshots.
    """

    read: frozenset[str] = frozenset((ANYBODY,))
    write: frozenset[str] = frozenset(("admin",))
    admin: frozenset[str] = frozenset(("admin",))


class Token(Struct, frozen=True):
    """A bearer token as it is configured: its hash, and whom it stands for.

    :param scheme: ``sha256`` or ``sha512``.
    :param digest: the hash, in small hexadecimal digits.
    :param user: who it is.
    :param roles: what they are.
    """

    scheme: str
    digest: str
    user: str
    roles: frozenset[str]


def some_tokens(value: Any) -> tuple[Token, ...]:
    """Read the bearer tokens.

    :param value: as it stands in the config.
    :raises ValueError: when it is no dict of hashes with a user each; it never shows what was written there.
    """
    tokens = value.items() if isinstance(value, Mapping) else None
    if tokens is None:
        raise ValueError("must be a dict of users by the hash of their token, as 'flask state token' prints it")
    return tuple(_token(name, given) for name, given in tokens)


def _token(name: Any, given: Any) -> Token:
    scheme, _mark, digest = name.rpartition(":") if isinstance(name, str) else ("", "", "")
    scheme, digest = scheme or SCHEMES[0], digest.lower()
    if scheme not in SCHEMES or not re.fullmatch(rf"[0-9a-f]{{{hashlib.new(scheme).digest_size * 2}}}", digest):
        raise ValueError(
            "has a key that is no hash of a token: 64 hexadecimal digits of SHA-256, or sha256: or sha512: and its "
            "digits ('flask state token' prints one)"
        )
    fields = given.keys() if isinstance(given, Mapping) else set()
    if not {"user"} <= fields <= {"user", "roles"}:
        raise ValueError('must have {"user": ..., "roles": [...]} for every token')
    user = given["user"]
    if not isinstance(user, str) or not 0 < len(user) <= _MOST_TEXT:
        raise ValueError(f"has a user that is no text of 1 to {_MOST_TEXT} characters: {shown(user)}")
    return Token(scheme, digest, user, some_words(given.get("roles", ()), "roles"))


def some_words(value: Any, what: str) -> frozenset[str]:
    """Read a list of names.

    :param value: as it stands in the config.
    :param what: how to call them in the message.
    :raises ValueError: when it is no list of text; one text is none.
    """
    if isinstance(value, list | tuple | set | frozenset) and all(isinstance(each, str) and each for each in value):
        return frozenset(value)
    raise ValueError(f"must have a list of text for the {what}, not {shown(value)}")


def some_roles(value: Any) -> Roles:
    """Read which roles have which permission; one that is left out is as by default.

    :param value: as it stands in the config.
    :raises ValueError: when it is no dict of lists.
    """
    if not isinstance(value, Mapping) or not value.keys() <= set(PERMISSIONS):
        raise ValueError("must be a dict of lists of roles for 'read', 'write' and 'admin'")
    return Roles(**{name: some_words(roles, f"permission {name!r}") for name, roles in value.items()})


def some_origins(value: Any) -> frozenset[str]:
    """Read origins, such as ``https://app.example.com``.

    :param value: as it stands in the config.
    :raises ValueError: when one of them is none.
    """
    origins = some_words(value, "origins")
    for each in origins:
        parts = urlsplit(each)
        if f"{parts.scheme}://{parts.netloc}" != each or parts.scheme not in ("http", "https") or not parts.netloc:
            raise ValueError(f"has {shown(each)} for an origin, which must be like 'https://app.example.com'")
    return frozenset(each.lower() for each in origins)


def some_buckets(value: Any) -> frozenset[str]:
    """Read the names of buckets.

    :param value: as it stands in the config.
    :raises ValueError: when it is no list of text.
    """
    return some_words(value, "buckets")


def a_url_prefix(value: Any) -> str:
    """Read the beginning of a URL's path.

    :param value: as it stands in the config.
    :raises ValueError: when it is none.
    """
    if isinstance(value, str) and _PREFIX.fullmatch(value):
        return value
    raise ValueError("must be a path that begins with a slash and does not end with one, such as '/api/v1/state'")
