"""Several records read at once, and written over what was read."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from ...core.ports import Backend
from ...core.record import Change, Key
from ...errors import StateConflict
from .store import BUCKET, Store, change_of, new_record

NAMES = ("a", "b", "c")


class OverContract:
    """All of it is stored, or nothing where anything is not as it was read."""

    @pytest.fixture
    def told(self) -> list[str]:
        """The names of the records whose changes were announced."""
        return []

    @pytest.fixture
    def tell(self, told: list[str]) -> Callable[[Change], None]:
        """Announce a change."""
        return lambda change: told.append(change.key.name)

    def _moved(self, store: Store, *names: str) -> list[Change]:
        before = {name: store.found(name) for name in names}
        return [change_of(before[name], replace(before[name], status="moved"), "update") for name in names]

    def test_several_are_read_at_once_tombstones_too(self, backend: Backend, store: Store) -> None:
        """What there is comes back by its key, as one by one."""
        for name in NAMES[:2]:
            store.create(name, {"is": name})
        store.delete("b")
        found = backend.fetch_many([Key(BUCKET, name) for name in NAMES])
        assert found == {key: record for key in found if (record := backend.fetch(key)) is not None}
        assert sorted(key.name for key in found) == ["a", "b"]
        assert backend.fetch_many([]) == {}

    def test_all_are_written_and_announced(
        self, backend: Backend, store: Store, told: list[str], tell: Callable[[Change], None]
    ) -> None:
        """New records and known ones, each with a revision of its own."""
        store.create("a")
        changes = [*self._moved(store, "a"), change_of(None, new_record("b"), "create")]
        seen = {change.key: backend.fetch(change.key) for change in changes}
        done = backend.over(changes, seen, tell)
        assert [change.after for change in done] == [store.found("a"), store.found("b")]
        assert done[0].revision != done[1].revision
        assert (store.found("a").status, store.found("a").version, told) == ("moved", 2, ["a", "b"])

    @pytest.mark.parametrize("lost", ["written", "created"])
    def test_nothing_is_written_where_one_is_another_than_was_read(
        self, backend: Backend, store: Store, told: list[str], tell: Callable[[Change], None], lost: str
    ) -> None:
        """Neither the one, nor the others; nothing is announced."""
        store.create("a")
        store.create("b")
        changes = [*self._moved(store, "a", "b"), change_of(None, new_record("c"), "create")]
        seen = {change.key: backend.fetch(change.key) for change in changes}
        if lost == "written":
            store.update("b", data={"somebody": "else"})
        else:
            store.create("c", {"somebody": "else"})
        with pytest.raises(StateConflict):
            backend.over(changes, seen, tell)
        assert (store.found("a").status, told) == ("new", [])
        assert (store.found("b").data or store.found("c").data) == {"somebody": "else"}
