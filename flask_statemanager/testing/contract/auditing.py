"""The power Audits: the log can be searched by who, what, where from and when, a piece of it at a time."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, ClassVar

import pytest
from msgspec.structs import replace

from ...core.audits import DISORDER, Audited, AuditQuery, Audits, Deed
from ...core.ports import Backend
from ...core.powers import require
from ...core.record import Key, Origin
from ..clock import START
from .store import BUCKET, Store, change_of, new_record

MANY = 40


def _minute(number: float) -> datetime:
    return START + timedelta(minutes=number)


class AuditContract:
    """Searching the log."""

    power: ClassVar[str] = "Audits"

    @pytest.fixture
    def trail(self, backend: Backend) -> Log:
        """The backend's log with short verbs."""
        return Log(backend)

    @pytest.fixture
    def deeds(self, store: Store) -> list[str]:
        """Three people's doings, newest first."""
        ada, bob = Origin("ada", "web", "By hand, ÄRGER", "request-1"), Origin("bob", "cron")
        first = new_record("a", {"secret": "s3cret"})
        store.apply(change_of(None, first, "create", ada))
        other = new_record("b", type="other", updated_at=_minute(1))
        store.apply(change_of(None, other, "create", bob))
        parked = replace(store.found("a"), status="parked", updated_at=_minute(2))
        store.apply(change_of(store.found("a"), parked, "park", bob))
        gone = replace(store.found("b"), status="deleted", updated_at=_minute(3), deleted_at=_minute(3))
        store.apply(change_of(store.found("b"), gone, "delete", Origin("100%_ada")))
        store.create("a", bucket="elsewhere", updated_at=_minute(4))
        return ["elsewhere:a1", "contract:b2", "contract:a2", "contract:b1", "contract:a1"]

    def test_an_empty_log_has_nothing(self, trail: Log) -> None:
        """And nothing is left."""
        assert trail.audit() == Audited([])
        assert trail.audit(until=START, bucket=BUCKET) == Audited([])
        assert trail.audit(bucket=BUCKET, name="a") == Audited([])

    def test_the_newest_deeds_come_first_of_all_buckets(self, trail: Log, deeds: list[str]) -> None:
        """Or of one."""
        assert trail.found() == deeds
        assert trail.found(bucket=BUCKET) == deeds[1:]

    def test_a_deed_tells_who_did_what_when_and_why(self, trail: Log, deeds: list[str], store: Store) -> None:
        """And nothing of what the values were."""
        found = trail.audit(event="park").deeds
        key = Key(BUCKET, "a")
        expected = Deed(
            store.found("a").revision, key, 2, "park", "thing", "new", "parked", Origin("bob", "cron"), _minute(2)
        )
        assert found == [expected]
        assert "s3cret" not in repr(trail.audit().deeds)
        created = trail.audit(actor="ada").deeds[0]
        assert (created.from_status, created.origin) == (None, Origin("ada", "web", "By hand, ÄRGER", "request-1"))

    @pytest.mark.parametrize(
        ("conditions", "expected"),
        [
            ({"actor": "ada"}, ["contract:a1"]),
            ({"actor": "ADA"}, []),
            ({"actor": "100%_ada"}, ["contract:b2"]),
            ({"event": "create", "bucket": BUCKET}, ["contract:b1", "contract:a1"]),
            ({"source": "cron"}, ["contract:a2", "contract:b1"]),
            ({"source": "cron", "event": "park"}, ["contract:a2"]),
            ({"request_id": "request-1"}, ["elsewhere:a1", "contract:a1"]),
            ({"request_id": "request-1", "bucket": BUCKET}, ["contract:a1"]),
            ({"but": (BUCKET,)}, ["elsewhere:a1"]),
            ({"but": ("elsewhere", "nowhere"), "actor": "bob"}, ["contract:a2", "contract:b1"]),
            ({"type": "other"}, ["contract:b2", "contract:b1"]),
            ({"status": "parked"}, ["contract:a2"]),
            ({"reason": "by HAND"}, ["contract:a1"]),
            ({"reason": "ÄR"}, ["contract:a1"]),
            ({"reason": "b% h"}, []),
            ({"reason": "nothing of the kind"}, []),
            ({"since": _minute(2), "bucket": BUCKET}, ["contract:b2", "contract:a2"]),
            ({"until": _minute(1)}, ["contract:b1", "contract:a1"]),
            ({"since": _minute(1), "until": _minute(2)}, ["contract:a2", "contract:b1"]),
            ({"bucket": BUCKET, "name": "a"}, ["contract:a2", "contract:a1"]),
            ({"bucket": BUCKET, "name": "a", "actor": "bob"}, ["contract:a2"]),
            ({"bucket": BUCKET, "name": "a", "until": _minute(1)}, ["contract:a1"]),
        ],
    )
    def test_conditions_hold_together(
        self, trail: Log, deeds: list[str], conditions: dict[str, Any], expected: list[str]
    ) -> None:
        """Texts are compared as they are, a reason by what it contains, moments with their ends."""
        assert trail.found(**conditions) == expected

    def test_pages_and_pieces_find_everything_once(self, trail: Log, store: Store) -> None:
        """Whatever their size, with and without conditions."""
        store.fill({f"n{number:02}": {} for number in range(MANY)})
        everything = [f"contract:n{number:02}1" for number in reversed(range(MANY))]
        for limit, look_at in ((7, 1000), (1000, 7), (3, 5), (5, 3), (MANY, MANY)):
            assert trail.walked(limit=limit, look_at=look_at) == everything
        assert trail.walked(limit=4, look_at=9, actor="nobody") == []
        assert trail.walked(limit=1, look_at=7, bucket=BUCKET, name="n03") == ["contract:n031"]

    def test_a_search_says_how_far_it_has_looked(self, trail: Log, store: Store) -> None:
        """Where nothing is found, too; and nothing where it is at the end."""
        for number in range(6):
            store.create(f"n{number}", updated_at=_minute(number))
        looked = trail.audit(actor="nobody", look_at=4)
        assert (looked.deeds, looked.reached) == ([], store.found("n2").revision)
        assert looked.reached_at is not None
        assert _minute(1) <= looked.reached_at <= _minute(2)
        assert trail.audit(actor="nobody", look_at=4, before=looked.reached) == Audited([])
        found = trail.audit(limit=2)
        assert (found.reached, found.reached_at) == (store.found("n4").revision, _minute(4))

    def test_a_search_within_a_time_range_looks_at_no_more_than_that(self, trail: Log, store: Store) -> None:
        """What is newer is jumped over, and what is older ends it, but for what clocks may disagree by."""
        days = [START + timedelta(days=number) for number in range(30)]
        for number, at in enumerate(days):
            store.create(f"n{number:02}", updated_at=at)
        assert trail.found(until=days[12], look_at=3, limit=2) == ["contract:n121", "contract:n111"]
        ended = trail.audit(since=days[20], until=days[21], look_at=3)
        assert [deed.key.name for deed in ended.deeds] == ["n21", "n20"]
        assert ended.reached is None
        assert trail.found(until=START - timedelta(days=1)) == []

    def test_a_time_a_little_out_of_order_is_found(self, trail: Log, store: Store) -> None:
        """As the machines that write do not agree to the second."""
        ahead = _minute(10) + DISORDER / 2
        for name, at in (("a", _minute(10)), ("b", ahead), ("c", _minute(11)), ("d", _minute(500))):
            store.create(name, updated_at=at)
        assert trail.found(until=_minute(12), look_at=4) == ["contract:c1", "contract:a1"]
        assert trail.found(since=_minute(11), until=ahead, look_at=2) == ["contract:c1", "contract:b1"]


class Log:
    """A backend's log with short verbs.

    :param backend: the backend under test.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.power: Audits = require(backend, Audits, "the contract")  # type: ignore[type-abstract]

    def audit(self, **conditions: Any) -> Audited:
        """Search a piece.

        :param conditions: fields of the query.
        """
        with self.backend.reading() as unit:
            return self.power.audit(unit, AuditQuery(**conditions))

    def found(self, **conditions: Any) -> list[str]:
        """Return what was found, each as bucket, name and version.

        :param conditions: fields of the query.
        """
        return [f"{deed.key}{deed.version}" for deed in self.audit(**conditions).deeds]

    def walked(self, **conditions: Any) -> list[str]:
        """Return what is found piece by piece, to the end.

        :param conditions: fields of the query.
        :raises AssertionError: when there is no end.
        """
        found: list[str] = []
        before = None
        for _ in range(10 * MANY):
            piece = self.audit(before=before, **conditions)
            found += [f"{deed.key}{deed.version}" for deed in piece.deeds]
            if piece.reached is None:
                return found
            before = piece.reached
        raise AssertionError("the search never ends")
