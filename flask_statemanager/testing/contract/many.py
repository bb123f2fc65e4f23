"""The power MultiKey: many records at once, as if one after another."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, ClassVar

import pytest
from msgspec.structs import replace

from ...core.codec import same
from ...core.many import Move, Moved, Way
from ...core.ports import Backend
from ...core.powers import KeepsHistory, MultiKey, require
from ...core.query import ChangeQuery, Order, Query, parse_filters
from ...core.record import Change, Key, Origin, Record
from ...errors import StateConflict
from ..cases import DOCUMENTS, FILTER_CASES
from ..clock import START
from .store import BUCKET, ORIGIN, Store, change_of, new_record

WAY = Way("thing", "new", "next")


class MultiKeyContract:
    """Many records: named, read, stored, moved."""

    power: ClassVar[str] = "MultiKey"

    @pytest.fixture
    def many(self, backend: Backend) -> Many:
        """The backend's power with short verbs."""
        return Many(backend)

    # -- names and reading -----------------------------------------------------------------------------------------

    def test_names_come_in_the_order_of_the_search(self, many: Many, store: Store) -> None:
        """Limit and order are those of the query; the dead are not found."""
        store.fill({"b": {}, "a": {}, "c": {}, "d": {}})
        store.delete("d")
        assert many.names(order=Order("state_id")) == ["a", "b", "c"]
        assert many.names(order=Order("state_id", descending=True), limit=2) == ["c", "b"]

    def test_names_are_those_that_the_filters_leave(self, many: Many, store: Store) -> None:
        """As in a search."""
        store.fill({"a": {"n": 1}, "b": {"n": 2}})
        assert many.names(filters=parse_filters({"data.n__gt": 1})) == ["b"]

    @pytest.mark.parametrize("lock", [False, True])
    def test_many_are_read_as_one_is(self, many: Many, store: Store, lock: bool) -> None:
        """Tombstones too; what is not there is left out."""
        store.fill({"a": {"deep": {"n": [1, None, 1.5]}}, "b": {}, "other": {}})
        store.create("a", {"elsewhere": True}, bucket="another")
        store.delete("b")
        found = many.read("b", "a", "nowhere", lock=lock)
        assert found == {"a": store.found("a"), "b": store.found("b")}
        assert many.read(lock=lock) == {}

    # -- storing ---------------------------------------------------------------------------------------------------

    def test_many_are_stored_as_one_is(self, many: Many, store: Store, backend: Backend) -> None:
        """Creations, changes, tombstones and re-creations in one call, with the revisions in the order of the call."""
        store.fill({"changed": {"n": 1}, "deleted": {"n": 1}, "again": {"n": 1}})
        store.delete("again")
        at = START + timedelta(minutes=1)
        changes = [
            change_of(
                None, new_record("new", {"ü": [True, {"x": None}]}, owner="me", created_at=at, updated_at=at), "c"
            ),
            many.next("changed", updated_at=at, data={"n": 2}, status="next", expires_at=at, metadata={"m": 1.5}),
            many.next("deleted", updated_at=at, status="deleted", deleted_at=at),
            change_of(store.found("again"), new_record("again", {"n": 2}, created_at=at, updated_at=at), "create"),
        ]
        revisions = many.apply(*changes)
        assert revisions == sorted(revisions)
        for change, revision in zip(changes, revisions, strict=True):
            assert store.found(change.key.name) == replace(change.after, revision=revision)
            logged = many.log(change.key.name)[-1]
            assert logged == replace(change, revision=revision, after=replace(change.after, revision=revision))

    def test_a_hundred_documents_of_every_kind_come_back_as_they_were(self, many: Many, store: Store) -> None:
        """Names, texts and documents are stored as single writes store them."""
        documents = {f"{name}_{i}": document for i in range(3) for name, document in DOCUMENTS.items()}
        many.apply(*(change_of(None, new_record(name, value), "create") for name, value in documents.items()))
        found = many.read(*documents)
        assert [name for name in documents if not same(found[name].data, documents[name])] == []

    def test_many_are_changed_again_and_again(self, many: Many, store: Store) -> None:
        """The first call on an empty store and every one behind it draw rising revisions."""
        names = [f"n{i}" for i in range(20)]
        drawn = many.apply(*(change_of(None, new_record(name), "create") for name in names))
        for turn in range(3):
            drawn += many.apply(*(many.next(name, data={"turn": turn}) for name in names))
        assert drawn == sorted(set(drawn))
        assert many.versions(*names) == dict.fromkeys(names, 4)
        assert [change.version for change in many.log("n7")] == [1, 2, 3, 4]
        assert store.update("n7").revision > drawn[-1]

    def test_nothing_is_stored_for_nothing(self, many: Many) -> None:
        """No changes, no revisions."""
        assert many.apply() == []

    @pytest.mark.parametrize("stale", ["present", "absent", "ahead"])
    def test_one_conflict_refuses_all(self, many: Many, store: Store, stale: str) -> None:
        """Whether the version was passed, the record is there already, or the version is not reached yet."""
        store.fill({"fine": {"n": 1}, "present": {"n": 1}})
        taken = {
            "present": many.next("present", data={"n": 2}),
            "absent": change_of(None, new_record("present"), "create"),
            "ahead": replace(many.next("present"), version=9),
        }[stale]
        store.update("present", data={"n": 3})
        with pytest.raises(StateConflict) as raised:
            many.apply(many.next("fine", data={"n": 2}), taken, change_of(None, new_record("new"), "create"))
        assert str(raised.value.key) == f"{BUCKET}:present"
        assert store.found("fine").data == {"n": 1}
        assert store.found("present").data == {"n": 3}
        assert store.read("new") is None
        assert [change.version for change in many.log("fine")] == [1]

    # -- moving ----------------------------------------------------------------------------------------------------

    def test_a_move_is_a_version_of_its_own_for_each(self, many: Many, store: Store) -> None:
        """The status changes and nothing else; the log has the whole record, who asked, and where it came from."""
        store.create("a", {"n": 1}, owner="me", metadata={"m": 1}, expires_at=START + timedelta(days=1))
        store.create("b", {"n": 2})
        before = many.read("a", "b")
        at = START + timedelta(minutes=1)
        moved = many.move(WAY, "a", "b", "nowhere", now=at)
        assert [(each.name, each.source, each.version, each.at) for each in moved] == [
            ("a", "new", 2, at),
            ("b", "new", 2, at),
        ]
        assert [each.revision for each in moved] == sorted(each.revision for each in moved)
        for each in moved:
            was = before[each.name]
            after = replace(was, status="next", version=2, revision=each.revision, updated_at=at)
            assert store.found(each.name) == after
            assert many.log(each.name)[-1] == Change(
                each.revision, was.key, 2, "go", was, after, replace(ORIGIN, reason="all of them"), at
            )

    def test_what_no_way_fits_is_left_alone(self, many: Many, store: Store) -> None:
        """Another status, another type, another bucket, a tombstone, a name that was not given."""
        store.fill({"fits": {}, "elsewhere": {}, "dead": {}, "unnamed": {}})
        store.create("typed", type="other")
        store.create("else", bucket="another")
        store.update("elsewhere", status="parked")
        store.delete("dead")
        moved = many.move(WAY, "fits", "elsewhere", "dead", "typed", "else", "nowhere")
        assert [each.name for each in moved] == ["fits"]
        assert store.found("else", bucket="another").version == 1
        assert {
            name: record.version for name, record in many.read("elsewhere", "dead", "typed", "unnamed").items()
        } == {
            "elsewhere": 2,
            "dead": 2,
            "typed": 1,
            "unnamed": 1,
        }
        assert many.move(WAY, "fits") == []
        assert many.move(WAY) == []

    def test_every_type_and_status_has_its_own_way(self, many: Many, store: Store) -> None:
        """Targets, rules and expiry differ by type and source."""
        end = START + timedelta(days=1)
        store.create("a", {"n": 1}, expires_at=end)
        store.create("b", {"n": 2}, status="parked", expires_at=end)
        store.create("c", {"n": 3}, type="other", expires_at=end)
        store.create("d", {"n": 4}, type="other", expires_at=end)
        ways = (
            WAY,
            Way("thing", "parked", "parked", leaving=True),
            Way("other", "new", "gone", rules=parse_filters({"data.n__gte": 4}), deleting=True),
        )
        moved = many.move(ways, "a", "b", "c", "d", now=START + timedelta(hours=1))
        assert [(each.name, each.source) for each in moved] == [("a", "new"), ("b", "parked"), ("d", "new")]
        found = many.read("a", "b", "c", "d")
        fates = {name: (record.status, record.expires_at, record.deleted) for name, record in found.items()}
        assert fates == {
            "a": ("next", end, False),
            "b": ("parked", None, False),
            "c": ("new", end, False),
            "d": ("gone", end, True),
        }
        assert found["d"].deleted_at == found["d"].updated_at == START + timedelta(hours=1)
        assert many.log("d")[-1].after == found["d"]

    @pytest.mark.parametrize("ways", [("leaving",), ("deleting",), ("leaving", "deleting")])
    def test_a_way_that_all_take_clears_and_ends(self, many: Many, store: Store, ways: tuple[str, ...]) -> None:
        """The same where there is only one way."""
        end = START + timedelta(days=1)
        store.create("a", expires_at=end)
        way = replace(WAY, leaving="leaving" in ways, deleting="deleting" in ways)
        (moved,) = many.move(way, "a")
        found = store.found("a")
        assert found.expires_at == (None if "leaving" in ways else end)
        assert found.deleted_at == (moved.at if "deleting" in ways else None)
        assert many.log("a")[-1].after == found

    def test_what_is_past_its_expiry_is_left_alone_where_that_counts(self, many: Many, store: Store) -> None:
        """At that very moment too."""
        store.create("past", expires_at=START)
        store.create("future", expires_at=START + timedelta(microseconds=1))
        store.create("never")
        assert [each.name for each in many.move(replace(WAY, lapsing=True), "past", "future", "never")] == [
            "future",
            "never",
        ]
        assert [each.name for each in many.move(WAY, "past")] == ["past"]

    def test_time_never_goes_back(self, many: Many, store: Store) -> None:
        """A record that was written later than the moment of the move keeps its time."""
        later = START + timedelta(minutes=5)
        store.create("late", created_at=later, updated_at=later)
        store.create("early")
        moved = {each.name: each.at for each in many.move(WAY, "late", "early", now=START + timedelta(minutes=1))}
        assert moved == {"late": later, "early": START + timedelta(minutes=1)}
        assert {name: record.updated_at for name, record in many.read("late", "early").items()} == moved

    def test_rules_mean_what_they_mean_in_a_search(self, many: Many, store: Store) -> None:
        """Every operator on every kind of value."""
        store.fill(DOCUMENTS)
        moment = START
        wrong = []
        for case in FILTER_CASES:
            rules = parse_filters(case.filters)
            moment += timedelta(seconds=1)
            moved = many.move(Way("thing", "new", "new", rules=rules), *DOCUMENTS, now=moment)
            if {each.name for each in moved} != set(case.found.split()):
                wrong.append(case.filters)
        assert wrong == []

    def test_rules_that_only_equality_takes_for_the_same_are_told_apart(self, many: Many, store: Store) -> None:
        """True is not 1, and 1 is 1.0."""
        store.fill({"number": {"v": 1}, "truth": {"v": True}})
        for value, name in ((1, "number"), (True, "truth"), (1.0, "number"), (False, None)):
            way = Way("thing", "new", "new", rules=parse_filters({"data.v": value}))
            assert [each.name for each in many.move(way, "number", "truth")] == ([name] if name else [])

    def test_changes_are_found_by_their_revisions(self, many: Many, store: Store) -> None:
        """Each with the record before it, by revision, whatever the order asked in; of this bucket alone."""
        store.fill({"a": {"n": 1}, "b": {}})
        store.create("else", bucket="another")
        moved = many.move(WAY, "a", "b")
        wanted = [each.revision for each in moved]
        found = many.changes(*reversed(wanted), 10**9, store.found("else", bucket="another").revision)
        assert found == [many.log("a")[-1], many.log("b")[-1]]
        assert found[0].before is not None
        assert found[0].before.data == {"n": 1}
        assert many.changes() == []


class Many:
    """The power with short verbs; each opens a unit of its own.

    :param backend: the backend under test.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.power: MultiKey = require(backend, MultiKey, "the contract")  # type: ignore[type-abstract]
        self.store = Store(backend)

    def names(self, **fields: Any) -> list[str]:
        """Return the names that a query finds.

        :param fields: of the query.
        """
        with self.backend.reading() as unit:
            return self.power.names(unit, Query(BUCKET, START, **fields))

    def read(self, *names: str, lock: bool = False) -> dict[str, Record]:
        """Return what is stored.

        :param names: under these names.
        :param lock: in a writing unit.
        """
        with self.backend.writing() if lock else self.backend.reading() as unit:
            return self.power.read_many(unit, BUCKET, names, lock=lock)

    def versions(self, *names: str) -> dict[str, int]:
        """Return the versions that are stored.

        :param names: under these names.
        """
        return {name: record.version for name, record in self.read(*names).items()}

    def next(self, name: str, **fields: Any) -> Change:
        """Return the change that makes the next version of a record.

        :param name: which record.
        :param fields: what shall be different.
        """
        before = self.store.found(name)
        return change_of(before, replace(before, revision=0, **fields), "update")

    def apply(self, *changes: Change) -> list[int]:
        """Store changes of different records.

        :param changes: the changes.
        """
        with self.backend.writing() as unit:
            return self.power.apply_many(unit, changes)

    def move(self, ways: Way | tuple[Way, ...], *names: str, now: datetime = START) -> list[Moved]:
        """Move records.

        :param ways: one way, or all of them.
        :param names: which records.
        :param now: the moment.
        """
        origin: Origin = replace(ORIGIN, reason="all of them")
        taken = ways if isinstance(ways, tuple) else (ways,)
        with self.backend.writing() as unit:
            return self.power.move_many(unit, Move(BUCKET, names, taken, "go", origin, now))

    def changes(self, *revisions: int) -> list[Change]:
        """Return changes by their revisions.

        :param revisions: which ones.
        """
        with self.backend.reading() as unit:
            return self.power.changes_of(unit, BUCKET, revisions)

    def log(self, name: str) -> list[Change]:
        """Return all changes of a record, by revision.

        :param name: which record.
        """
        history: KeepsHistory = require(self.backend, KeepsHistory, "the contract")  # type: ignore[type-abstract]
        with self.backend.reading() as unit:
            return history.changes(unit, ChangeQuery(BUCKET, key=Key(BUCKET, name)))
