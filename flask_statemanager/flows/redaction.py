"""What an audit trail leaves out: secrets, and what people say to one another."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import Struct

from ..core.record import JSON
from ..core.secrets import REDACTED

SECRETS = frozenset(
    ("token", "jwt_token", "auth", "password", "pin", "secret", "authorization", "api_key", "access_token", "cvv")
)
"""Names of fields that hold a secret, in any case."""

BODIES = frozenset(("text", "body", "message", "caption", "value", "title", "buttons"))
"""Names of fields that hold what was said; of those the audit trail keeps how long it was."""


class Redaction(Struct, frozen=True):
    """The rule.

    :param secrets: names of fields that are left out.
    :param bodies: names of fields of which the length is kept.
    """

    secrets: frozenset[str] = SECRETS
    bodies: frozenset[str] = BODIES

    def beside(self, secrets: Iterable[str] = (), bodies: Iterable[str] = ()) -> Redaction:
        """Return the rule with more names.

        :param secrets: further fields that are left out.
        :param bodies: further fields of which the length is kept.
        """
        return Redaction(
            self.secrets | {name.casefold() for name in secrets}, self.bodies | {name.casefold() for name in bodies}
        )

    def __call__(self, value: JSON) -> JSON:
        """Return a value as the audit trail may keep it.

        :param value: any JSON value; it is not changed.
        """
        if isinstance(value, dict):
            return {name: self._field(name, item) for name, item in value.items()}
        if isinstance(value, list):
            return [self(item) for item in value]
        return value

    def _field(self, name: str, item: Any) -> JSON:
        folded = name.casefold()
        if folded in self.secrets:
            return REDACTED
        if folded in self.bodies:
            return item if item is None or isinstance(item, bool) else body(item)
        return self(item)


def body(said: Any) -> dict[str, int]:
    """Return what an audit trail keeps of something that was said.

    :param said: a text, or anything else.
    """
    return {"characters": len(said) if isinstance(said, str) else len(str(said))}
