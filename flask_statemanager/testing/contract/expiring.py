"""The power Expires: who is due."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import ClassVar

import pytest

from ...core.ports import Backend
from ...core.powers import Expires, require
from ...core.query import Lapse, Query
from ..clock import START
from .searching import query_of
from .statuses import LAPSES, fill_statuses
from .store import BUCKET, Store


class ExpiryContract:
    """Which records an expiry is to be written for."""

    power: ClassVar[str] = "Expires"

    @pytest.fixture
    def expires(self, backend: Backend) -> Expires:
        """The backend, as one that finds what is due."""
        return require(backend, Expires, "The expiry contract")  # type: ignore[type-abstract]

    def test_due_are_the_live_records_that_a_rule_applies_to(
        self, backend: Backend, expires: Expires, store: Store
    ) -> None:
        """The longest due first, from the very moment on; names break ties."""
        fill_statuses(store)
        store.create("long_past", expires_at=START - timedelta(days=1))
        store.create("just_past", expires_at=START - timedelta(hours=1) + timedelta(microseconds=1))
        with backend.reading() as unit:
            due = expires.due(unit, query_of(lapses=LAPSES))
        names = ["long_past", "new_past", "other_past", "paused_past", "just_past", "new_now"]
        assert [key.name for key in due] == names
        assert {key.bucket for key in due} == {BUCKET}

    def test_as_many_as_asked_for_are_due(self, backend: Backend, expires: Expires, store: Store) -> None:
        """The limit keeps the longest due."""
        fill_statuses(store)
        with backend.reading() as unit:
            assert [key.name for key in expires.due(unit, query_of(lapses=LAPSES, limit=2))] == [
                "new_past",
                "other_past",
            ]
            assert expires.due(unit, query_of(lapses=LAPSES, limit=0)) == []

    def test_without_a_rule_nothing_is_due(self, backend: Backend, expires: Expires, store: Store) -> None:
        """Expiry means nothing to a type that has no such transition."""
        fill_statuses(store)
        with backend.reading() as unit:
            assert expires.due(unit, query_of()) == []
            assert expires.due(unit, query_of(lapses=(Lapse("fourth", "new", "expired"),))) == []

    def test_other_buckets_and_moments_are_not_due(self, backend: Backend, expires: Expires, store: Store) -> None:
        """Only this bucket, only now."""
        store.create("a", bucket="other", expires_at=START)
        store.create("b", expires_at=START)

        def due_at(moment: datetime) -> list[str]:
            with backend.reading() as unit:
                return [key.name for key in expires.due(unit, Query(BUCKET, moment, lapses=LAPSES))]

        assert due_at(START - timedelta(microseconds=1)) == []
        assert due_at(START) == ["b"]

    def test_what_no_longer_expires_is_not_due(self, backend: Backend, expires: Expires, store: Store) -> None:
        """A cleared or postponed expiry is gone."""
        store.create("cleared", expires_at=START)
        store.create("postponed", expires_at=START)
        store.update("cleared", expires_at=None)
        store.update("postponed", expires_at=START + timedelta(seconds=1))
        with backend.reading() as unit:
            assert expires.due(unit, query_of(lapses=LAPSES)) == []
