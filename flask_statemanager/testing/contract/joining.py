"""The power JoinsTransaction: inside somebody else's transaction, told only when it is really committed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, ClassVar

import pytest
from msgspec.structs import replace

from ...core.ports import Backend
from ...core.powers import JoinsTransaction, require
from ...core.record import Record
from ...errors import ConfigurationError, StateConflict
from .store import Store, change_of, new_record


class JoinContract:
    """Writes inside a session's transaction. Subclasses give a ``session`` (SQLAlchemy) of the backend's database."""

    power: ClassVar[str] = "JoinsTransaction"

    @pytest.fixture
    def session(self) -> Any:
        """An SQLAlchemy session of the backend's database, closed afterwards; override it.

        :raises NotImplementedError: here.
        """
        raise NotImplementedError("Override the fixture 'session' in your subclass of JoinContract.")

    @pytest.fixture
    def joins(self, backend: Backend, session: Any) -> Joins:
        """The backend inside the session's transaction, with short verbs."""
        return Joins(backend, session)

    def test_a_commit_keeps_the_writes_and_tells_once(self, joins: Joins, store: Store) -> None:
        """Nothing is told before the owner commits, and nothing twice."""
        joins.create("a")
        joins.create("b")
        assert joins.told == []
        joins.session.commit()
        assert joins.told == ["a", "b"]
        joins.session.commit()
        joins.session.close()
        assert joins.told == ["a", "b"]
        assert joins.stored(store) == ["a", "b"]

    def test_a_rollback_takes_the_writes_and_tells_nothing(self, joins: Joins, store: Store) -> None:
        """Neither then nor at a later commit."""
        joins.create("a")
        joins.session.rollback()
        joins.create("b")
        joins.session.commit()
        assert joins.told == ["b"]
        assert joins.stored(store) == ["b"]

    def test_a_session_that_is_closed_tells_nothing(self, joins: Joins, store: Store) -> None:
        """Closing is rolling back."""
        joins.create("a")
        joins.session.close()
        assert joins.told == []
        assert joins.stored(store) == []

    def test_a_released_savepoint_waits_for_the_outermost_commit(self, joins: Joins, store: Store) -> None:
        """A savepoint's release is no commit."""
        joins.create("before")
        with joins.session.begin_nested():
            joins.create("inside")
        assert joins.told == []
        joins.session.commit()
        assert joins.told == ["before", "inside"]
        assert joins.stored(store) == ["before", "inside"]

    def test_an_outer_rollback_takes_a_released_savepoint(self, joins: Joins, store: Store) -> None:
        """Although the savepoint was released."""
        joins.create("before")
        with joins.session.begin_nested():
            joins.create("inside")
        joins.session.rollback()
        joins.session.commit()
        assert joins.told == []
        assert joins.stored(store) == []

    def test_a_first_join_inside_a_savepoint_is_refused_or_taken_by_an_outer_rollback(
        self, joins: Joins, store: Store
    ) -> None:
        """A driver whose released savepoint would be committed must not get that far."""
        with suppress(ConfigurationError), joins.session.begin_nested():
            joins.create("a")
        joins.session.rollback()
        joins.session.commit()
        assert joins.told == []
        assert joins.stored(store) == []

    def test_a_rolled_back_savepoint_takes_its_own_writes_and_only_those(self, joins: Joins, store: Store) -> None:
        """What was before and after it is committed and told."""
        joins.create("before")
        savepoint = joins.session.begin_nested()
        joins.create("inside")
        savepoint.rollback()
        joins.create("behind")
        joins.session.commit()
        assert joins.told == ["before", "behind"]
        assert joins.stored(store) == ["before", "behind"]

    def test_a_rolled_back_savepoint_inside_a_released_one(self, joins: Joins, store: Store) -> None:
        """Each level answers for itself."""
        joins.create("root")
        with joins.session.begin_nested():
            joins.create("outer")
            inner = joins.session.begin_nested()
            joins.create("inner")
            inner.rollback()
            with joins.session.begin_nested():
                joins.create("second")
        joins.session.commit()
        assert joins.told == ["root", "outer", "second"]
        assert joins.stored(store) == ["outer", "root", "second"]

    def test_a_rolled_back_savepoint_takes_a_released_one_inside(self, joins: Joins, store: Store) -> None:
        """The inner release means nothing when the outer is rolled back."""
        joins.create("root")
        outer = joins.session.begin_nested()
        with joins.session.begin_nested():
            joins.create("inner")
        outer.rollback()
        joins.session.commit()
        assert joins.told == ["root"]
        assert joins.stored(store) == ["root"]

    def test_when_told_the_session_can_read_and_write(self, joins: Joins, store: Store) -> None:
        """The telling is behind the commit, and what it writes is the owner's to commit."""
        seen: list[Record | None] = []

        def act() -> None:
            seen.append(joins.read("a"))
            joins.create("b")

        joins.create("a", act)
        joins.session.commit()
        assert [record and record.key.name for record in seen] == ["a"]
        assert joins.told == []
        joins.session.commit()
        assert joins.told == ["b"]
        assert joins.stored(store) == ["a", "b"]

    def test_when_told_others_see_what_was_committed(self, joins: Joins, store: Store) -> None:
        """The commit is over, not about to be."""
        seen: list[bool] = []
        joins.create("a", lambda: seen.append(store.read("a") is not None))
        joins.session.commit()
        assert seen == [True]

    def test_a_reader_in_the_session_sees_its_writes(self, joins: Joins) -> None:
        """Reading and writing units of one session are in one transaction."""
        joins.create("a")
        assert joins.read("a") is not None

    def test_reading_begins_nothing_that_a_commit_would_tell(self, joins: Joins, store: Store) -> None:
        """A session that only reads holds nobody up."""
        store.create("a")
        assert joins.read("a") is not None
        store.update("a", status="next")
        assert store.found("a").version == 2

    def test_a_conflict_leaves_the_transaction_usable(self, joins: Joins, store: Store) -> None:
        """The owner may catch it and go on."""
        first = store.create("a")
        stored = store.update("a")
        joins.create("b")
        with pytest.raises(StateConflict):
            joins.apply(first, replace(first, status="next"))
        joins.create("c")
        joins.session.commit()
        assert joins.stored(store) == ["a", "b", "c"]
        assert store.read("a") == stored

    def test_one_session_after_another_tells_its_own(self, joins: Joins, session: Any) -> None:
        """What one transaction did is not told by the next."""
        for name in ("a", "b", "c"):
            joins.create(name)
            if name == "b":
                session.rollback()
            else:
                session.commit()
        assert joins.told == ["a", "c"]

    @pytest.mark.parametrize("stranger", [None, object(), "session"], ids=["none", "object", "text"])
    def test_what_is_no_session_is_refused(self, joins: Joins, stranger: object) -> None:
        """With a sentence, not with an attribute error."""
        with pytest.raises(ConfigurationError):
            joins.power.joined(stranger, write=True)


class Joins:
    """A backend inside a session's transaction, with short verbs.

    :param backend: one that joins.
    :param session: the owner's session.
    """

    def __init__(self, backend: Backend, session: Any) -> None:
        self.backend = backend
        self.power = require(backend, JoinsTransaction, "The join contract")  # type: ignore[type-abstract]
        self.session = session
        self.told: list[str] = []

    def create(self, name: str, act: Callable[[], None] | None = None) -> None:
        """Store a new record in the session's transaction, and note when it is told.

        :param name: its name.
        :param act: what to do instead of noting.
        """
        self.apply(None, new_record(name), act)

    def apply(self, before: Record | None, after: Record, act: Callable[[], None] | None = None) -> None:
        """Store a change in the session's transaction, and note when it is told.

        :param before: the record before.
        :param after: the record after.
        :param act: what to do instead of noting.
        :raises StateConflict: when another version is stored.
        """
        unit = self.power.joined(self.session, write=True)
        self.backend.apply(unit, change_of(before, after, "update"))
        unit.after_commit(act or (lambda: self.told.append(after.key.name)))

    def read(self, name: str) -> Record | None:
        """Read in the session's transaction.

        :param name: which record.
        """
        return self.backend.read(self.power.joined(self.session, write=False), new_record(name).key)

    def stored(self, store: Store) -> list[str]:
        """Name what was committed, seen from outside the session.

        :param store: the same backend.
        """
        self.session.rollback()
        names = ("a", "b", "before", "behind", "c", "inner", "inside", "outer", "root", "second")
        return [name for name in names if store.read(name) is not None]
