"""Versions of stores: what they hold, compared, changed without losing anybody's change, undone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from msgspec import Struct

from ..core.record import Change, Expectation, JSONObject
from ..errors import ConfigurationError, StateConflict, StateExists, StateNotFound
from ..kv.setting import setting
from ..kv.value import KEEP, VALUE, KeyValue
from .backend import Ttl
from .entry import StoreChange, StoreEntry
from .kept import SOURCE, KeptStores
from .past import changes
from .payload import unpack

LOOKED_AT = 1000
"""How many changes of a store are looked at to undo one."""

UNDONE = "undone"
"""The member of the metadata that says that the version ``at`` shows the value of the version ``shows``."""


HANDED = "handed"
"""The member of the metadata that says that the version ``at`` was handed to the browser, which had ``had`` before."""


class Noted(Struct, frozen=True):
    """A value with what is noted about it.

    :param entry: the value.
    :param had: the digest of what the browser had when it was handed this value; None where it was not.
    """

    entry: StoreEntry
    had: str | None


def handed(version: int, had: str) -> JSONObject:
    """Return what is noted about a value that was handed to the browser.

    :param version: the version that the note makes.
    :param had: the digest of what the browser had before.
    """
    return {HANDED: {"at": version, "had": had}}


def had_of(entry: KeyValue) -> str | None:
    """Return the digest of what the browser had when it was handed a value; None where it was not.

    :param entry: the value as it is kept.
    """
    noted = entry.metadata.get(HANDED)
    found: str | None = noted["had"] if noted and noted["at"] == entry.version else None
    return found


class VersionedStores(KeptStores):
    """Reads and writes values with their versions."""

    def held(self, key: str, user_id: str | None = None) -> JSONObject | None:
        """Return a value as it is kept, for :func:`unpack`, or None: unlike the value itself it is never None.

        :param key: the store's id.
        :param user_id: whose; None for everybody's.
        :raises StateValidationError: when the key is impossible.
        :raises StorageError: when the storage fails.
        """
        found: JSONObject | None = self._verbs(key).get(self._name(key, user_id))
        return found

    def get_many(self, keys: Iterable[str], user_id: str | None = None) -> dict[str, Any]:
        """Return what there is of some values, by key.

        :param keys: the stores' ids.
        :param user_id: whose; None for everybody's.
        :raises StateValidationError: when a key is impossible.
        :raises StorageError: when the storage fails.
        """
        found: dict[str, Any] = {}
        for bucket, some in self._by_bucket(keys).items():
            names = {key: self._name(key, user_id) for key in some}
            packed = self._kv[bucket].get_many(names.values())
            found |= {key: unpack(packed[name]) for key, name in names.items() if name in packed}
        return found

    def set_many(self, values: Mapping[str, Any], ttl: Ttl = KEEP, user_id: str | None = None) -> None:
        """Keep some values, in one transaction for those with a history and one for the others.

        :param values: by key.
        :param ttl: as in :meth:`set`, for each.
        :param user_id: whose; None for everybody's.
        :raises StateValidationError: when an argument is unusable.
        :raises LimitExceeded: when a value is too large.
        :raises StorageError: when the storage fails.
        """
        packed = {key: self._packed(value) for key, value in values.items()}
        for bucket, some in self._by_bucket(values).items():
            named = {self._name(key, user_id): packed[key] for key in some}
            self._kv[bucket].set_many(named, SOURCE, ttl=self._ttl(ttl))
        self._sweep(sum(each["size"] for each in packed.values()))

    def put(
        self, key: str, value: Any, ttl: Ttl = KEEP, user_id: str | None = None, *, expect: Expectation = None
    ) -> StoreEntry:
        """Keep a value, and return what is stored with its version.

        :param key: the store's id.
        :param value: the value.
        :param ttl: as in :meth:`set`.
        :param user_id: whose; None for everybody's.
        :param expect: the version that must be stored; 0 for no value.
        :raises StateConflict: when another one is.
        :raises StateManagerError: as :meth:`set` does.
        """
        packed = self._packed(value)
        kv, name = self._verbs(key), self._name(key, user_id)
        if type(expect) is int and expect == 0:
            try:
                done = kv.create(name, packed, SOURCE, ttl=self._ttl(ttl))
            except StateExists as error:
                raise StateConflict(f"The store {key}", 0, None) from error
        else:
            done = self._set(self._bucket(key), name, packed, self._ttl(ttl), expect)
        self._sweep(packed["size"])
        return _entry(key, value, done)

    def _set(self, bucket: str, name: str, packed: JSONObject, ttl: float | None, expect: Expectation) -> KeyValue:
        """Set as the verb of keys and values does, over what this process wrote last where that spares a round trip."""
        parts = self.parts(bucket)
        if expect is not None or parts.bucket.backend.embedded:
            return self._kv[bucket].set(name, packed, SOURCE, ttl=ttl, expect=expect)
        decide = setting(parts, name, packed, KEEP, ttl)
        origin = parts.origin(actor=None, source=SOURCE, reason=None)
        beliefs = self._beliefs[bucket]
        found = parts.bucket.write(name, decide, origin=origin, seen=beliefs.of(name))
        assert found is not None, "something was written"
        beliefs.note(name, found, len(packed["body"]))
        return KeyValue.of(found)

    def entry(self, key: str, user_id: str | None = None) -> StoreEntry | None:
        """Return a value with its version, or None.

        :param key: the store's id.
        :param user_id: whose; None for everybody's.
        :raises StateValidationError: when the key is impossible.
        :raises StorageError: when the storage fails.
        """
        found = self._verbs(key).get_entry(self._name(key, user_id))
        return None if found is None else _entry(key, unpack(found.value), found)

    def noted(self, key: str, user_id: str | None = None) -> Noted | None:
        """Return a value with its version and what is noted about its way to the browser, or None.

        :param key: the store's id.
        :param user_id: whose; None for everybody's.
        :raises StateValidationError: when the key is impossible.
        :raises StorageError: when the storage fails.
        """
        found = self._verbs(key).get_entry(self._name(key, user_id))
        return None if found is None else Noted(_entry(key, unpack(found.value), found), had_of(found))

    def note(self, key: str, user_id: str | None, *, had: str, expect: int, value: Any = KEEP) -> None:
        """Note that a value was handed to the browser; the note holds until the value is written again.

        :param key: the store's id.
        :param user_id: whose; None for everybody's.
        :param had: the digest of what the browser had before.
        :param expect: the version that must be stored.
        :param value: the value; as it is by default.
        :raises StateConflict: when another version is stored.
        :raises StateManagerError: as :meth:`set` does.
        """
        kv, name = self._verbs(key), self._name(key, user_id)
        noted = handed(expect + 1, had)
        if value is KEEP:
            try:
                kv.set_metadata(name, noted, SOURCE, expect=expect, reason=HANDED)
            except StateNotFound as error:
                raise StateConflict(f"The store {key}", expect, None) from error
        else:
            kv.set(name, self._packed(value), SOURCE, metadata=noted, ttl=self._ttl(KEEP), expect=expect, reason=HANDED)

    def update(self, key: str, change: Callable[[Any], Any], ttl: Ttl = KEEP, user_id: str | None = None) -> StoreEntry:
        """Put in place of a value what a function makes of it, so that nobody's change is lost.

        :param key: the store's id.
        :param change: given a copy of the value, None where there is none; called again when somebody was faster.
        :param ttl: as in :meth:`set`.
        :param user_id: whose; None for everybody's.
        :raises StateConflict: when racers won every attempt.
        :raises StateManagerError: as :meth:`set` does.
        """
        made: list[Any] = []

        def changed(packed: JSONObject | None) -> JSONObject:
            made[:] = [change(None if packed is None else unpack(packed))]
            return self._packed(made[0])

        done = self._verbs(key).update(self._name(key, user_id), changed, SOURCE, ttl=self._ttl(ttl))
        self._sweep(done.value["size"])
        return _entry(key, made[0], done)

    def undo(self, key: str, user_id: str | None = None) -> StoreEntry:
        """Give a store the value that it had before its last change; undone again, the one before that.

        :param key: the store's id.
        :param user_id: whose; None for everybody's.
        :returns: the store with that value, which is a version of its own.
        :raises ConfigurationError: when the store keeps no history.
        :raises StateNotFound: when there is no store, or no earlier value of it is kept.
        :raises StateConflict: when somebody has written meanwhile.
        :raises StorageError: when the storage fails.
        """
        kv, name = self._verbs(key), self._name(key, user_id)
        past = self._past(key, name, LOOKED_AT)
        entry = kv.get_entry(name)
        if entry is None:
            raise StateNotFound(key, kind="key")
        shown = _shown(entry)
        for change in past:
            if change.version < shown:
                if change.after.deleted:
                    break
                noted = {UNDONE: {"at": entry.version + 1, "shows": change.version}}
                packed = change.after.data[VALUE]
                ttl = self._ttl(KEEP)
                done = kv.set(name, packed, SOURCE, metadata=noted, ttl=ttl, expect=entry.version, reason="undo")
                return _entry(key, unpack(packed), done)
        raise StateNotFound(key, at="an earlier value")

    def history(self, key: str, user_id: str | None = None, limit: int = 20) -> list[StoreEntry]:
        """Return the values that a store had, the present one first, as far as they are kept; without removals.

        :param key: the store's id.
        :param user_id: whose; None for everybody's.
        :param limit: the most of them.
        :raises ConfigurationError: when the store keeps no history.
        :raises StorageError: when the storage fails.
        """
        past = self._past(key, self._name(key, user_id), limit)
        return [
            StoreEntry(key, unpack(record.data[VALUE]), record.version, record.updated_at, record.expires_at)
            for record in (change.after for change in past)
            if not record.deleted
        ]

    def changes(self, key: str, user_id: str | None = None, limit: int = 20) -> list[StoreChange]:
        """Return the changes of a store, the newest first, as far as they are kept; removals and expiries too.

        :param key: the store's id.
        :param user_id: whose; None for everybody's.
        :param limit: the most of them.
        :raises ConfigurationError: when the store keeps no history.
        :raises StorageError: when the storage fails.
        """
        return [
            StoreChange(
                key,
                change.event,
                None if change.after.deleted else unpack(change.after.data[VALUE]),
                change.version,
                change.actor,
                change.source,
                change.reason,
                change.at,
            )
            for change in self._past(key, self._name(key, user_id), limit)
        ]

    def _past(self, key: str, name: str, limit: int) -> list[Change]:
        if key not in self.config.history:
            raise ConfigurationError(
                f"The store {key!r} keeps no history: name it in STATEMANAGER_STORES_HISTORY, or in history=."
            )
        return changes(self.parts(self._bucket(key)), name, limit)


def _shown(entry: KeyValue) -> int:
    """Return the version whose value a store shows: its own, or the one that it was undone to."""
    undone = entry.metadata.get(UNDONE)
    found: int = undone["shows"] if undone and undone["at"] == entry.version else entry.version
    return found


def _entry(key: str, value: Any, stored: KeyValue) -> StoreEntry:
    return StoreEntry(key, value, stored.version, stored.updated_at, stored.expires_at)
