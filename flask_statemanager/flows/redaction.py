"""What an audit trail leaves out: secrets, and what people say to one another."""

from __future__ import annotations

import re
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
            return item if item is None or isinstance(item, bool) or _is_length(item) else body(item)
        return self(item)


def body(said: Any) -> dict[str, int]:
    """Return what an audit trail keeps of something that was said.

    :param said: a text, or anything else.
    """
    return {"characters": len(said) if isinstance(said, str) else len(str(said))}


def unsaid(text: str, said: JSON) -> str:
    """Return a text, for example why an input was refused, without what was said in it.

    >>> unsaid("'four' is no number", "four")
    "'[redacted]' is no number"

    :param text: the text.
    :param said: a message: a text, or an object with texts.
    """
    for word in said.values() if isinstance(said, dict) else (said,):
        if isinstance(word, str) and word.strip():
            text = re.sub(rf"(?<!\w){re.escape(word.strip())}(?!\w)", REDACTED, text, flags=re.IGNORECASE)
    return text


def _is_length(item: Any) -> bool:
    return isinstance(item, dict) and item.keys() == {"characters"} and type(item["characters"]) is int
