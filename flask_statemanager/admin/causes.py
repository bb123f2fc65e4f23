"""Causes: the change that an effect is about, as an operator may see it, and errors without the secrets in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from msgspec import Struct

from ..core.buckets import FLOWS
from ..core.held import VALUE
from ..core.query import ChangeQuery
from ..core.record import JSON, Change, JSONObject, Key, Record
from ..core.secrets import REDACTED, without
from ..flows.redaction import Redaction
from ..lifecycle.parts import BUCKET
from .visit import Visit

_SHORTEST = 4
"""Characters of a text that is looked for in errors: shorter ones stand everywhere."""


class Cause(Struct, frozen=True):
    """The change that an effect is about.

    :param change: the change; None where the history does not reach back to it.
    :param before: what the record held before, covered; None where there was none.
    :param after: what it holds since, covered.
    :param hidden: texts that were covered.
    """

    change: Change | None = None
    before: JSONObject | None = None
    after: JSONObject | None = None
    hidden: tuple[str, ...] = ()

    def discreet(self, text: str | None) -> str | None:
        """Return an error or a traceback without the secrets of the record.

        :param text: the text.
        """
        found: Any = text
        for secret in self.hidden:
            found = without(found, secret)
        return found if found is None else str(found)


def cause_of(visit: Visit, bucket: str, name: str, version: int) -> Cause:
    """Find the change that an effect is about.

    :param visit: the visit.
    :param bucket: the collection.
    :param name: the record.
    :param version: its version.
    :raises StorageError: when the storage fails.
    """
    parts = visit.runtime.lifecycle.parts
    with parts.bucket.reading() as unit:
        found = parts.history.changes(unit, ChangeQuery(bucket, Key(bucket, name), version))
    if not found:
        return Cause()
    change, paths = found[0], _secrets_of(visit, bucket)
    before = None if change.before is None else _shown(visit, change.before, paths)
    after = _shown(visit, change.after, paths)
    pairs = [(_held(change.after), after["data"])]
    if change.before is not None and before is not None:
        pairs.append((_held(change.before), before["data"]))
    hidden = {text for whole, covered in pairs for text in _covered(whole, covered)}
    return Cause(change, before, after, tuple(sorted(hidden, key=len, reverse=True)))


def _secrets_of(visit: Visit, bucket: str) -> Sequence[str]:
    declared = visit.runtime.declarations.buckets.find(bucket)
    return () if declared is None else declared.secrets


def _held(record: Record) -> JSON:
    return record.data if record.key.bucket == BUCKET else record.data.get(VALUE)


def _shown(visit: Visit, record: Record, paths: Sequence[str]) -> JSONObject:
    data = visit.covered(_held(record), paths)
    if record.key.bucket == FLOWS and not visit.revealed:
        data = Redaction()(data)  # what people say to one another is theirs
    return {"status": record.status, "data": data, "metadata": visit.covered(record.metadata)}


def _covered(whole: JSON, covered: JSON) -> Iterator[str]:
    """Yield the texts that stand in a value and not in what is shown of it."""
    if isinstance(whole, dict) and isinstance(covered, dict):
        for name, part in whole.items():
            yield from _covered(part, covered.get(name, REDACTED))
    elif isinstance(whole, list) and isinstance(covered, list) and len(whole) == len(covered):
        for part, shown in zip(whole, covered, strict=True):
            yield from _covered(part, shown)
    elif whole != covered:
        yield from _texts(whole)


def _texts(value: JSON) -> Iterator[str]:
    if isinstance(value, str) and len(value) >= _SHORTEST:
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts(part)
