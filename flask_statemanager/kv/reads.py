"""The verbs that read: one key, many, by their beginning; how much there is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

from ..core.entry import Entry
from ..core.lists import Span
from ..core.names import check_prefix
from ..core.record import JSON, JSONObject, Record
from .measuring import shown_measure
from .parts import MAX_PAGE, KvParts, check_key, check_number, check_several, check_together
from .value import VALUE, KeyValue


class KvReads(ABC):
    """The reading verbs of keys and values. ``session`` reads inside that session's transaction."""

    @abstractmethod
    def _parts(self) -> KvParts:
        """Return the running parts of the present app."""

    def get(self, key: str, default: JSON = None, *, session: Any = None) -> JSON:
        """Return the value of a key.

        :param key: 1 to 255 ASCII characters, letters, digits and ``._:@/+=~-``.
        :param default: what to return where there is no such key; :meth:`get_entry` tells a stored null from that.
        :param session: read inside this session's transaction.
        :returns: a copy of the value.
        :raises StateValidationError: when the key is impossible.
        :raises StorageError: when the storage fails.
        """
        parts = self._parts()
        found = parts.bucket.find(check_key(key), session)
        return default if found is None else _value(found)

    def get_entry(self, key: str, *, session: Any = None) -> KeyValue | None:
        """Return a key's value with its metadata, version, revision and times, or None.

        :param key: the key.
        :param session: read inside this session's transaction.
        :raises StateValidationError: when the key is impossible.
        :raises StorageError: when the storage fails.
        """
        record = self._parts().bucket.get(check_key(key), session)
        return None if record is None else KeyValue.of(record)

    def get_metadata(self, key: str, *, session: Any = None) -> JSONObject | None:
        """Return what is noted about a key; empty where nothing is, None where there is no such key.

        :param key: the key.
        :param session: read inside this session's transaction.
        :raises StateValidationError: when the key is impossible.
        :raises StorageError: when the storage fails.
        """
        entry = self.get_entry(key, session=session)
        return None if entry is None else entry.metadata

    def exists(self, key: str, *, session: Any = None) -> bool:
        """Tell whether there is such a key.

        :param key: the key.
        :param session: read inside this session's transaction.
        :raises StateValidationError: when the key is impossible.
        :raises StorageError: when the storage fails.
        """
        return self._parts().bucket.find(check_key(key), session) is not None

    def get_many(self, keys: Iterable[str], *, session: Any = None) -> dict[str, JSON]:
        """Return the values of keys, in as few steps as the storage knows.

        :param keys: at most 10,000 keys.
        :param session: read inside this session's transaction.
        :returns: what there is, by key, in the order asked for.
        :raises StateValidationError: when a key is impossible.
        :raises LimitExceeded: when there are too many.
        :raises StorageError: when the storage fails.
        """
        names = list(dict.fromkeys(map(check_key, check_several(keys, "keys"))))
        check_together(len(names), "The list of keys")
        found = self._parts().bucket.find_many(names, session)
        return {name: _value(found[name]) for name in names if name in found}

    def keys(self, prefix: str = "", limit: int = 1000, after: str | None = None, *, session: Any = None) -> list[str]:
        """Return keys in the order of their code points.

        :param prefix: how they begin; empty for all.
        :param limit: the most of them, at most 10,000; the page behind begins ``after`` the last one.
        :param after: only keys behind this one.
        :param session: read inside this session's transaction.
        :raises StateValidationError: when an argument is unusable.
        :raises StorageError: when the storage fails.
        """
        parts = self._parts()
        most = check_number(limit, "limit", 1, MAX_PAGE)
        behind = None if after is None else check_prefix(after, "after")
        span = Span(parts.bucket.name, parts.bucket.clock.now(), check_prefix(prefix), behind, most)
        with parts.bucket.reading(session) as unit:
            return parts.lists.listed(unit, span)

    def count(self, prefix: str = "", *, session: Any = None) -> int:
        """Return how many keys there are.

        :param prefix: how they begin; empty for all.
        :param session: read inside this session's transaction.
        :raises StateValidationError: when the prefix is unusable.
        :raises StorageError: when the storage fails.
        """
        parts = self._parts()
        span = Span(parts.bucket.name, parts.bucket.clock.now(), check_prefix(prefix))
        with parts.bucket.reading(session) as unit:
            return parts.lists.tally(unit, span)

    def stats(self) -> dict[str, Any]:
        """Return how much there is.

        On Redis the numbers are kept with every write. In a database they are counted up to 100,000 keys; what is
        larger is counted by the worker every five minutes, and ``as_of`` says when it was.

        :returns: ``{"total_keys": int, "total_size": bytes of the values as JSON, "version": the store's revision
            (on several shards their sum), "metadata_keys": how many keys have metadata, "prefixes": {"user:": int},
            "as_of": None for now, else ISO 8601}``. A prefix ends with the first colon; keys without one count under
            the empty prefix.
        :raises StorageError: when the storage fails.
        """
        parts = self._parts()
        measure, as_of = parts.measures.measure()
        version = sum(map(int, parts.watches.position(parts.bucket.name).split(".")))
        return shown_measure(measure, version, as_of)

    def get_stats(self) -> dict[str, Any]:
        """Return the same as :meth:`stats`.

        :raises StorageError: when the storage fails.
        """
        return self.stats()


def _value(found: Record | Entry) -> JSON:
    return found.fields()["data"][VALUE] if isinstance(found, Entry) else found.data[VALUE]
