"""Who a caller is, and what that allows: users, roles, permissions, bearer tokens kept as hashes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from typing import Any

from msgspec import Struct

from ..config.access import ANYBODY, PERMISSIONS, Roles, Token
from ..errors import ConfigurationError, shown

_HASHES = {"sha256": hashlib.sha256, "sha512": hashlib.sha512}

IdentityLoader = Callable[[], Any]
"""Returns the present user during a request: an id, ``(id, roles)``, an :class:`Identity`, or None for nobody."""


class Identity(Struct, frozen=True):
    """A caller that is known.

    :param user: the user's or program's id, which is the ``actor`` of what is written.
    :param roles: what they are.
    :param permissions: what that allows, of ``read``, ``write`` and ``admin``.
    """

    user: str
    roles: frozenset[str] = frozenset()
    permissions: frozenset[str] = frozenset()

    def may(self, permission: str) -> bool:
        """Tell whether something is allowed.

        :param permission: ``read``, ``write`` or ``admin``.
        """
        return permission in self.permissions


class IdentitySource:
    """How an application names the present user with their roles.

    :param loader: returns them during a request; None where there is none.
    """

    def __init__(self, loader: IdentityLoader | None = None) -> None:
        self.loader = loader


class Access:
    """Turns roles into permissions, and bearer tokens into identities.

    :param roles: which roles have which permission.
    :param tokens: the configured tokens.
    """

    def __init__(self, roles: Roles, tokens: Iterable[Token]) -> None:
        self._roles = {permission: getattr(roles, permission) for permission in PERMISSIONS}
        # Kept under a keyed hash: how long a look-up takes tells nothing of what is stored.
        self._secret = os.urandom(32)
        self._tokens: dict[bytes, Identity] = {}
        self._schemes: tuple[str, ...] = ()
        for token in tokens:
            self._tokens[self._place(token.scheme, bytes.fromhex(token.digest))] = self.known(token.user, token.roles)
            self._schemes = tuple(sorted({*self._schemes, token.scheme}))

    @property
    def everything(self) -> frozenset[str]:
        """All permissions."""
        return frozenset(PERMISSIONS)

    @property
    def has_tokens(self) -> bool:
        """Whether there are tokens."""
        return bool(self._tokens)

    def known(self, user: str, roles: Iterable[str] = ()) -> Identity:
        """Return the identity of a user.

        :param user: who it is.
        :param roles: what they are.
        """
        had = frozenset(roles)
        allowed = (name for name, wanted in self._roles.items() if ANYBODY in wanted or had & wanted)
        return Identity(user, had, frozenset(allowed))

    def bearer(self, token: str) -> Identity | None:
        """Return whom a bearer token stands for, or None for one that is not known.

        :param token: as the caller sent it.
        """
        written = token.encode("utf-8", "surrogateescape")
        for scheme in self._schemes:
            found = self._tokens.get(self._place(scheme, _HASHES[scheme](written).digest()))
            if found is not None:
                return found
        return None

    def loaded(self, answer: Any) -> Identity | None:
        """Return the identity that an application's loader has answered with.

        :param answer: an id (text or a number), an id with its roles, an :class:`Identity`, or None.
        :raises ConfigurationError: when it is anything else.
        """
        if answer is None:
            return None
        if isinstance(answer, Identity):
            return self.known(answer.user, answer.roles)
        user, roles = answer if isinstance(answer, tuple) and len(answer) == 2 else (answer, ())
        if not _is_user(user) or not _are_roles(roles):
            raise ConfigurationError(
                f"The identity loader returned {shown(answer)}: return the user's id, (id, roles), or None."
            )
        return self.known(str(user), roles)

    def _place(self, scheme: str, digest: bytes) -> bytes:
        return hashlib.blake2b(digest, key=self._secret, person=scheme.encode()).digest()


def _is_user(value: Any) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool) and value != ""


def _are_roles(value: Any) -> bool:
    return isinstance(value, list | tuple | set | frozenset) and all(isinstance(role, str) for role in value)
