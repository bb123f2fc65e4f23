"""The power LooksBack: the newest changes of a record, from the end of the log."""

from __future__ import annotations

from typing import ClassVar

from ...core.looks_back import LooksBack
from ...core.ports import Backend
from ...core.powers import require
from ...core.record import Change
from .store import BUCKET, ORIGIN, Store

MANY = 1200
"""More changes than any backend should look at in one step."""


class LookBackContract:
    """Looking back from the end of the log."""

    power: ClassVar[str] = "LooksBack"

    def test_the_newest_changes_of_a_record_come_first(self, backend: Backend, store: Store) -> None:
        """With everything, the record before included."""
        store.create("a", {"n": 1})
        store.create("b")
        store.update("a", data={"n": 2})
        newest, oldest = _latest(backend, "a", 10)
        assert (newest.version, newest.after.data, newest.origin) == (2, {"n": 2}, ORIGIN)
        assert newest.before is not None
        assert (newest.before.data, oldest.version, oldest.before) == ({"n": 1}, 1, None)

    def test_no_more_are_returned_than_were_asked_for(self, backend: Backend, store: Store) -> None:
        """The newest of them."""
        store.create("a")
        for _ in range(4):
            store.update("a")
        assert [change.version for change in _latest(backend, "a", 3)] == [5, 4, 3]

    def test_what_nobody_wrote_has_no_changes(self, backend: Backend, store: Store) -> None:
        """Names that begin alike, and other buckets, are others."""
        assert _latest(backend, "a", 10) == []
        store.create("ab")
        store.create("a", bucket="other")
        assert _latest(backend, "a", 10) == []

    def test_a_deletion_is_a_change(self, backend: Backend, store: Store) -> None:
        """The newest one, here."""
        store.create("a")
        store.delete("a")
        assert [change.after.deleted for change in _latest(backend, "a", 10)] == [True, False]

    def test_old_changes_are_found_behind_many_others(self, backend: Backend, store: Store) -> None:
        """However many steps that takes."""
        store.create("a")
        store.fill({f"b{number:04}": {} for number in range(MANY)})
        assert [change.version for change in _latest(backend, "a", 10)] == [1]

    def test_what_begins_alike_is_forgotten(self, backend: Backend, store: Store) -> None:
        """The others stay, however many steps that takes; the record itself is as it was."""
        store.create("u:a/1", {"n": 1})
        store.create("u:b/1")
        store.fill({f"u:a/b{number:04}": {} for number in range(MANY)})
        store.create("u:a/1", bucket="other")
        power = require(backend, LooksBack, "the contract")  # type: ignore[type-abstract]
        assert power.forget_latest(BUCKET, "u:a/") == MANY + 1
        assert power.forget_latest(BUCKET, "u:a/") == 0
        assert _latest(backend, "u:a/1", 10) == []
        assert [change.version for change in _latest(backend, "u:b/1", 10)] == [1]
        assert store.found("u:a/1").data == {"n": 1}
        assert len(power.latest("other", "u:a/1", 10)) == 1


def _latest(backend: Backend, name: str, limit: int) -> list[Change]:
    return require(backend, LooksBack, "the contract").latest(BUCKET, name, limit)  # type: ignore[type-abstract]
