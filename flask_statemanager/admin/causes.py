"""Causes: the change that an effect is about, as an operator may see it, and errors without the secrets in it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from msgspec import Struct

from ..core.buckets import FLOWS
from ..core.held import VALUE
from ..core.query import ChangeQuery
from ..core.record import JSON, Change, JSONObject, Key, Record
from ..core.secrets import REDACTED, without
from ..effects.outbox import Effect
from ..flows.redaction import Redaction
from ..lifecycle.parts import BUCKET
from ..lifecycle.scheduling import Timer
from .visit import Visit

_SHORTEST = 4
"""Characters of what is looked for in errors: shorter ones stand everywhere."""


class Cause(Struct, frozen=True):
    """The change that an effect is about.

    :param change: the change; None where the history does not reach back to it.
    :param before: what the record held before, covered; None where there was none.
    :param after: what it holds since, covered.
    :param hidden: texts that were covered.
    :param unknown: whether nobody can say what is a secret in errors, as the change is not known any more.
    """

    change: Change | None = None
    before: JSONObject | None = None
    after: JSONObject | None = None
    hidden: tuple[str, ...] = ()
    unknown: bool = False

    def discreet(self, text: str | None) -> str | None:
        """Return an error or a traceback without the secrets of the record.

        :param text: the text.
        """
        if text is not None and self.unknown:
            return REDACTED
        return discreet(text, self.hidden)


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
        return Cause(unknown=not visit.revealed)
    change, paths = found[0], _secrets_of(visit, bucket)
    before = None if change.before is None else _shown(visit, change.before, paths)
    after = _shown(visit, change.after, paths)
    pairs = [(_held(change.after), after["data"])]
    if change.before is not None and before is not None:
        pairs.append((_held(change.before), before["data"]))
    return Cause(change, before, after, hidden_in(pairs))


def bucket_of(effect: Effect) -> str:
    """Return the collection that the record of an effect is in.

    :param effect: the effect.
    """
    return str(effect.key).partition(":")[0]


def without_secrets(visit: Visit, effect: Effect) -> Effect:
    """Return an effect whose error tells no secret of its record.

    :param visit: the visit.
    :param effect: the effect.
    :raises StorageError: when the storage fails.
    """
    if not effect.error:
        return effect
    cause = cause_of(visit, bucket_of(effect), effect.state_id, effect.version)
    return Effect({**effect, "error": cause.discreet(effect.error), "traceback": cause.discreet(effect.traceback)})


def timer_without_secrets(visit: Visit, timer: Timer) -> Timer:
    """Return a timer whose note tells no secret of what it puts into the state.

    :param visit: the visit.
    :param timer: the timer.
    """
    hidden = hidden_in((each, visit.covered(each)) for each in (timer.data, timer.metadata))
    return Timer({**timer, "error": discreet(timer.error, hidden)})


def hidden_in(pairs: Iterable[tuple[JSON, JSON]]) -> tuple[str, ...]:
    """Return the texts that stand in values and not in what is shown of them, in every form that an error has them in.

    :param pairs: each value, and what is shown of it.
    """
    found = {form for whole, covered in pairs for text in _covered(whole, covered) for form in _forms(text)}
    return tuple(sorted(found, key=len, reverse=True))


def discreet(text: str | None, hidden: Iterable[str]) -> str | None:
    """Return an error or a traceback in which nothing hidden stands.

    :param text: the text.
    :param hidden: as :func:`hidden_in` returns it.
    """
    found: Any = text
    for secret in hidden:
        found = without(found, secret)
    return found if found is None else str(found)


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
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts(part)
    elif value is not None and len(str(value)) >= _SHORTEST and not isinstance(value, bool):
        yield str(value)


def _forms(text: str) -> set[str]:
    """Return a text as it is, and as Python and JSON write it between quotation marks."""
    return {text, repr(text)[1:-1], json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}
