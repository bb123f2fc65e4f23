"""The stores of an app: which backend each bucket lies in, and which buckets a snapshot takes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from ..core.ports import Backend
from ..core.powers import require
from ..core.snapshots import Snapshots
from ..errors import StateValidationError, shown


class Group(NamedTuple):
    """The buckets of a snapshot that lie in one store, so that they can be looked at in one moment.

    :param power: the store.
    :param buckets: the buckets.
    """

    power: Snapshots
    buckets: tuple[str, ...]


class Stores:
    """Knows where buckets lie.

    :param find: returns the backend of each bucket, by its name.
    """

    def __init__(self, find: Callable[[], Mapping[str, Backend]]) -> None:
        self._find = find

    def chosen(self, buckets: Iterable[str] | None) -> tuple[str, ...]:
        """Return buckets in the order in which a snapshot has them: store by store, and by name.

        :param buckets: which ones; None for all.
        :raises StateValidationError: when one of them is unknown, or there are none.
        """
        known = self._find()
        if isinstance(buckets, str):
            raise StateValidationError({"buckets": [f"Pass a list of names, such as [{shown(buckets)}]."]})
        names = sorted(set(known if buckets is None else buckets))
        unknown = [name for name in names if name not in known]
        if unknown or not names:
            listed = ", ".join(map(shown, unknown)) or "nothing"
            raise StateValidationError({"buckets": [f"{listed} is no bucket; known are {', '.join(sorted(known))}."]})
        stores = {known[name].identity: None for name in names}
        order = {identity: place for place, identity in enumerate(stores)}
        return tuple(sorted(names, key=lambda name: (order[known[name].identity], name)))

    def groups(self, buckets: Iterable[str]) -> list[Group]:
        """Return buckets by the store that they lie in.

        :param buckets: known ones.
        :raises ConfigurationError: when a store can make no snapshots.
        """
        known = self._find()
        groups: dict[str, Group] = {}
        for name in buckets:
            backend = known[name]
            face = f"A snapshot of the bucket {name!r}"
            power: Snapshots = require(backend, Snapshots, face)  # type: ignore[type-abstract]
            before = groups.get(backend.identity, Group(power, ()))
            groups[backend.identity] = Group(before.power, (*before.buckets, name))
        return list(groups.values())

    def marks(self, buckets: Iterable[str]) -> dict[str, str]:
        """Return for each bucket a text that tells its store from others, and tells nothing else of it.

        :param buckets: known ones.
        """
        known = self._find()
        return {name: hashlib.sha256(known[name].identity.encode()).hexdigest()[:16] for name in buckets}
