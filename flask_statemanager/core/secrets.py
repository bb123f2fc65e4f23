"""Secret members of values: what leaves the store for anybody but the application itself does not show them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

from msgspec.structs import replace

from ..errors import StateValidationError
from .codec import copied, same
from .follows import Page, Wait, Watches
from .held import VALUE
from .record import JSON, Change, JSONObject, Record

REDACTED = "[redacted]"
"""What stands in place of a secret."""

Paths = Sequence[str]
"""Dotted paths into a value, such as ``auth.token``."""


def redacted(value: JSON, paths: Paths) -> JSON:
    """Return a copy of a value that shows no secret; where there is none of them, nothing stands in its place.

    >>> redacted({"auth": {"token": "s3cret"}, "name": "Ada"}, ["auth.token"])
    {'auth': {'token': '[redacted]'}, 'name': 'Ada'}

    :param value: a clean value.
    :param paths: where the secrets are.
    """
    shown = copied(value)
    for path in paths:
        _cover(shown, path.split("."))
    return shown


def redacted_members(value: JSON, names: frozenset[str]) -> JSON:
    """Return a copy of a value that covers the members of some names, however deep they lie.

    >>> redacted_members({"who": [{"Token": "s3cret", "name": "Ada"}]}, frozenset(["token"]))
    {'who': [{'Token': '[redacted]', 'name': 'Ada'}]}

    :param value: a clean value.
    :param names: the names, in lower case; upper and lower case are the same here. A member that is null stays so.
    """
    if isinstance(value, dict):
        return {
            name: REDACTED if each is not None and name.lower() in names else redacted_members(each, names)
            for name, each in value.items()
        }
    if isinstance(value, list):
        return [redacted_members(each, names) for each in value]
    return value


def covered(value: JSON, paths: Paths) -> str | None:
    """Return where a cover stands in place of a secret, as in a value that was shown and is sent back; else None.

    >>> covered({"auth": {"token": "[redacted]"}}, ["auth.token"])
    'auth.token'

    :param value: any JSON value.
    :param paths: where the secrets are.
    """
    for path in paths:
        found = value
        for name in path.split("."):
            found = found.get(name) if isinstance(found, dict) else None
        if found == REDACTED:
            return path
    return None


def uncovered(value: JSON, stored: JSON, names: frozenset[str], field: str) -> JSON:
    """Return a value that was edited with its secrets covered, the stored secrets in place of the covers.

    In a list a cover stands only for what is stored at the same place in an item that is the same: behind a change of
    the order it could stand for the secret of something else.

    >>> uncovered({"token": "[redacted]", "n": 2}, {"token": "s3cret", "n": 1}, frozenset(["token"]), "data")
    {'token': 's3cret', 'n': 2}

    :param value: what came back.
    :param stored: what was shown by :func:`redacted_members`.
    :param names: the names of secret members, in lower case.
    :param field: how to name the value in an error.
    :raises StateValidationError: when a cover stands where nothing is stored.
    """
    if isinstance(value, dict):
        known = stored if isinstance(stored, dict) else {}
        return {name: _uncovered_member(name, each, known, names, field) for name, each in value.items()}
    if isinstance(value, list):
        items = stored if isinstance(stored, list) else []
        shown = [redacted_members(item, names) for item in items[: len(value)]]
        return [
            items[place]
            if place < len(shown) and same(item, shown[place])
            else uncovered(item, None, names, f"{field}.{place}")
            for place, item in enumerate(value)
        ]
    return value


def _uncovered_member(name: str, value: JSON, stored: JSONObject, names: frozenset[str], field: str) -> JSON:
    where, kept = f"{field}.{name}", stored.get(name)
    if value != REDACTED or name.lower() not in names:
        return uncovered(value, kept, names, where)
    if kept is None:
        raise StateValidationError({where: [f"{REDACTED} stands for nothing that is stored here: type the secret."]})
    return kept


def without(value: JSON, secret: str | None) -> JSON:
    """Return a value in whose texts and names a secret is covered wherever it stands.

    >>> without({"error": "401 for s3cret"}, "s3cret")
    {'error': '401 for [redacted]'}

    :param value: a clean value.
    :param secret: the secret; None where there is none.
    """
    if not secret:
        return value
    if isinstance(value, str):
        return value.replace(secret, REDACTED)
    if isinstance(value, list):
        return [without(each, secret) for each in value]
    if isinstance(value, dict):
        return {without(name, secret): without(each, secret) for name, each in value.items()}
    return value


def _cover(value: JSON, path: Sequence[str]) -> None:
    *way, last = path
    for name in way:
        value = value.get(name) if isinstance(value, dict) else None
    if isinstance(value, dict) and value.get(last) is not None:
        value[last] = REDACTED


def redacted_change(change: Change, paths: Paths) -> Change:
    """Return a change whose records show no secret.

    :param change: any change.
    :param paths: where the secrets are.
    """
    if not paths:
        return change
    before = None if change.before is None else _redacted_record(change.before, paths)
    return replace(change, before=before, after=_redacted_record(change.after, paths))


def _redacted_record(record: Record, paths: Paths) -> Record:
    if VALUE not in record.data:
        return record
    return replace(record, data={VALUE: redacted(record.data[VALUE], paths)})


class DiscreetWatches(Watches):
    """The log of a bucket as its followers may see it.

    :param watches: the backend, as one whose log can be followed.
    :param paths: where the secrets are.
    """

    def __init__(self, watches: Watches, paths: Paths) -> None:
        self._watches = watches
        self._paths = paths
        self.one_log = watches.one_log

    def position(self, bucket: str) -> str:
        """Return the cursor behind the last change of now.

        :param bucket: the collection.
        :raises StorageError: when the storage fails.
        """
        return self._watches.position(bucket)

    def follow(self, bucket: str, cursor: str, *, prefix: str = "", limit: int = 500) -> Page:
        """Return the changes behind a cursor, without their secrets.

        :param bucket: the collection.
        :param cursor: as for any follower.
        :param prefix: only records whose names begin so.
        :param limit: the most entries of the log to look at.
        :raises Compacted: when some of what lies behind the cursor is not kept any more.
        :raises StateValidationError: when it is no cursor of this bucket.
        :raises StorageError: when the storage fails.
        """
        page = self._watches.follow(bucket, cursor, prefix=prefix, limit=limit)
        return replace(page, changes=[redacted_change(change, self._paths) for change in page.changes])

    def following(self, bucket: str) -> AbstractContextManager[Wait]:
        """Open what a follower needs to wait for changes.

        :param bucket: the collection.
        :raises StorageError: when the storage fails.
        """
        return self._watches.following(bucket)
