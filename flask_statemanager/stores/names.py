"""Under which name a store lies: whose it is, and what it is called. No two pairs of them share a name."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from urllib.parse import quote

from ..errors import StateValidationError, shown

LONGEST = 1024
"""Characters of the id of a store, or of a user."""

_WHOLE = 90
"""Characters up to which a part of a name stands there as it is."""


def store_name(prefix: str, owner: str | None, store_id: object) -> str:
    """Return the name of a store.

    :param prefix: what all names begin with.
    :param owner: whose store it is; None for everybody's.
    :param store_id: what it is called.
    :raises StateValidationError: when it cannot be called so.
    """
    return f"{names_of(prefix, owner)}s:{name_part(checked(store_id, 'store_id'))}"


def names_of(prefix: str, owner: str | None) -> str:
    """Return what the names of all stores of an owner begin with.

    :param prefix: what all names begin with.
    :param owner: whose stores; None for those of everybody.
    """
    everybodys, users = prefixes(prefix)
    return everybodys if owner is None else f"{users}{name_part(owner)}/"


def prefixes(prefix: str) -> tuple[str, str]:
    """Return what the names of the stores of everybody, and of all users, begin with.

    :param prefix: what all names begin with; another one may begin alike.
    """
    return f"{prefix}all/", f"{prefix}u:"


def checked(value: object, field: str) -> str:
    """Return the id of a store or of a user, or refuse it.

    :param value: what the caller passed.
    :param field: how to name it in an error.
    :raises StateValidationError: when it is no text, empty, or too long.
    """
    if isinstance(value, str) and 0 < len(value) <= LONGEST and value.isprintable():
        return str.__str__(value)
    raise StateValidationError({field: [f"{shown(value)} is no id: pass 1 to {LONGEST} printable characters."]})


@lru_cache(maxsize=1024)
def name_part(text: str) -> str:
    """Write any text with the characters of keys: ``~`` and two digits stand for others, ``~h`` for a long rest.

    :param text: the text.
    :returns: at most 90 characters; no two texts share them.
    """
    written = quote(text, safe="@+=").replace("~", "%7E").replace("%", "~")
    if len(written) <= _WHOLE:
        return written
    return f"{written[:20].rstrip('~')}~h{hashlib.sha256(text.encode()).hexdigest()}"
