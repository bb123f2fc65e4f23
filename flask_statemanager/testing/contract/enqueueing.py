"""The power Enqueues: jobs are stored with what causes them, leased to one worker at a time, and written by one."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

import pytest
from msgspec.structs import replace

from ...core.jobs import CANCELLED, DEAD, DONE, EFFECT, FINISHED, PAUSED, PENDING, TIMER, JobCounts, JobQuery
from ...core.ports import Backend
from ...core.record import Key
from ..clock import START
from .jobs import TICK, A, B, Queue, minute, new_job
from .leasing import LeaseContract
from .store import fail


class EnqueueContract(LeaseContract):
    """Storing, leasing, writing, listing and forgetting jobs."""

    power: ClassVar[str] = "Enqueues"

    @pytest.fixture
    def queue(self, backend: Backend) -> Queue:
        """The backend's jobs with short verbs."""
        return Queue(backend)

    # -- storing ---------------------------------------------------------------------------------------------------

    def test_a_job_is_kept_as_it_was_given(self, queue: Queue) -> None:
        """Every field of it, and an id of its own."""
        first = new_job(slot="s", payload={"n": [1, {"ü": None}], "t": "x"}, ordered=False, version=2**40)
        second = new_job("expire", kind=TIMER, key=B, due_at=minute(1) + TICK, status=PAUSED, finished_at=START)
        queue.put(first, second)
        found = queue.listed()
        assert found == [replace(first, id=found[0].id), replace(second, id=found[1].id)]
        assert 0 < found[0].id < found[1].id

    def test_times_of_any_year_are_kept(self, queue: Queue) -> None:
        """Far away is a moment too."""
        far = new_job(due_at=datetime.max.replace(tzinfo=START.tzinfo), created_at=START.replace(year=1))
        queue.put(far)
        assert queue.only() == replace(far, id=queue.only().id)

    def test_nothing_at_all_is_stored_without_complaint(self, queue: Queue) -> None:
        """An empty list is no error."""
        queue.put()
        assert queue.listed() == []

    def test_many_are_stored_at_once(self, queue: Queue) -> None:
        """In the order given, some of them in place of earlier ones."""
        queue.put(*(new_job(f"t{number}", slot=f"s{number}") for number in range(0, 130, 2)))
        queue.put(*(new_job(f"u{number}", slot=f"s{number}") for number in range(130)))
        topics = [job.topic for job in queue.listed()]
        assert topics[:65] == [f"u{number}" for number in range(0, 130, 2)]
        assert topics[65:] == [f"u{number}" for number in range(1, 130, 2)]

    def test_the_same_slot_is_replaced_by_all_of_the_new_job(self, queue: Queue) -> None:
        """Attempts, worker, error, trace and end are the new one's; the fence goes up."""
        queue.put(new_job(slot="s", payload={"n": 1}))
        queue.save(queue.claimed().again(minute(1), "an error", "a trace"))
        queue.claimed(minute(1))
        before = queue.only()
        later = new_job("other", key=B, kind=TIMER, version=7, slot="s", due_at=minute(9), created_at=minute(8))
        queue.put(later)
        assert queue.only() == replace(later, id=before.id, fence=before.fence + 1)

    def test_whoever_had_the_replaced_job_cannot_write_any_more(self, queue: Queue) -> None:
        """Neither its end nor its lease."""
        queue.put(new_job(slot="s"))
        held = queue.claimed()
        queue.put(new_job(slot="s", due_at=minute(5)))
        stored = queue.only()
        queue.renew([held], minute(9))
        assert not queue.save(held.ended(DONE, START))
        assert queue.only() == stored

    def test_jobs_without_a_slot_replace_nothing(self, queue: Queue) -> None:
        """None is no slot, however often."""
        queue.put(new_job(), new_job())
        queue.put(new_job())
        assert len(queue.listed()) == 3

    def test_a_slot_that_was_given_up_takes_another_job(self, queue: Queue) -> None:
        """An ended timer stays beside the new one."""
        queue.put(new_job(kind=TIMER, slot="s"))
        queue.save(queue.claimed().ended(DONE, START))
        queue.put(new_job(kind=TIMER, slot="s"))
        assert [(job.status, job.slot) for job in queue.listed()] == [(DONE, None), (PENDING, "s")]

    def test_editing_a_payload_changes_nothing_that_is_stored(self, queue: Queue) -> None:
        """Neither the one given nor one that was read."""
        payload = {"n": [1]}
        queue.put(new_job(payload=payload))
        payload["n"].append(2)
        (queue.only().payload or {}).clear()
        (queue.claimed().payload or {}).clear()
        assert queue.only().payload == {"n": [1]}

    def test_a_unit_sees_its_own_jobs(self, backend: Backend, queue: Queue) -> None:
        """They are listed, counted and claimed before the commit."""
        with backend.writing() as unit:
            queue.power.enqueue(unit, [new_job()])
            assert len(queue.power.jobs(unit, JobQuery())) == 1
            assert queue.power.count_jobs(unit, START).due == 1
            assert len(queue.power.claim(unit, now=START, until=minute(1), worker="w", limit=9)) == 1

    @pytest.mark.parametrize("inside", [False, True], ids=["unit", "savepoint"])
    def test_a_rollback_takes_everything_back(self, backend: Backend, queue: Queue, inside: bool) -> None:
        """Of the whole unit, or of a savepoint in it."""
        queue.put(new_job(slot="s"), new_job("held"), new_job("old", status=DONE, finished_at=START))
        queue.put(new_job("timer", kind=TIMER, slot="t"))
        queue.beat("w", START)
        held = next(job for job in queue.claim() if job.topic == "held")
        before = queue.listed()

        def spoil(unit: Any) -> None:
            power = queue.power
            power.enqueue(unit, [new_job("new"), new_job("replaced", slot="s")])
            assert power.save(unit, held.ended(DONE, START))
            assert power.withdraw(unit, ["t"], CANCELLED, START) == 1
            assert power.forget_jobs(unit, minute(1), 9) == 3
            assert len(power.claim(unit, now=minute(1), until=minute(2), worker="w", limit=9)) == 2
            power.beat(unit, "w", minute(2))
            fail()

        def within_a_savepoint() -> None:
            with backend.writing() as unit, pytest.raises(ZeroDivisionError), unit.savepoint():
                spoil(unit)

        def alone() -> None:
            with pytest.raises(ZeroDivisionError), backend.writing() as unit:
                spoil(unit)

        (within_a_savepoint if inside else alone)()
        assert queue.listed() == before
        assert queue.last_beat() == START

    # -- reading and forgetting ------------------------------------------------------------------------------------

    def test_jobs_are_listed_by_each_of_their_marks(self, queue: Queue) -> None:
        """By one of them or by several."""
        queue.put(
            new_job("one", slot="s1"),
            new_job("two", kind=TIMER, slot="s2", due_at=minute(1)),
            new_job("one", key=B, status=DEAD, due_at=minute(2)),
            new_job("two", key=Key("other", "a"), status=PAUSED, slot="s3"),
        )
        ids = [job.id for job in queue.listed()]
        asked: list[tuple[dict[str, Any], str]] = [
            ({"kind": TIMER}, "1"),
            ({"statuses": (DEAD, PAUSED)}, "23"),
            ({"statuses": ()}, ""),
            ({"key": A}, "01"),
            ({"topic": "one"}, "02"),
            ({"slots": ("s3", "s1", "s9")}, "03"),
            ({"slots": ()}, ""),
            ({"due_until": START}, "03"),
            ({"due_until": minute(1), "kind": TIMER}, "1"),
            ({"due_until": minute(1)}, "013"),
            ({"id": ids[2]}, "2"),
            ({"id": ids[2], "topic": "two"}, ""),
            ({"kind": EFFECT, "key": A, "topic": "one", "statuses": (PENDING,), "slots": ("s1",)}, "0"),
        ]
        for marks, found in asked:
            assert [job.id for job in queue.listed(**marks)] == [ids[int(place)] for place in found], marks

    def test_a_listing_goes_on_behind_an_id(self, queue: Queue) -> None:
        """In the order asked for; zero is a limit."""
        queue.put(*(new_job(f"t{number}") for number in range(5)))
        ids = [job.id for job in queue.listed()]
        for newest_first, wanted in ((False, ids), (True, ids[::-1])):
            seen: list[int] = []
            after = None
            while page := queue.listed(newest_first=newest_first, after=after, limit=2):
                seen += [job.id for job in page]
                after = page[-1].id
            assert seen == wanted
        assert queue.listed(limit=0) == []

    def test_a_locked_listing_lists_the_same(self, backend: Backend, queue: Queue) -> None:
        """In a writing unit, which may then write them."""
        queue.put(new_job("one"), new_job("two"))
        with backend.writing() as unit:
            found = queue.power.jobs(unit, JobQuery(topic="two"), lock=True)
            assert queue.power.save(unit, replace(found[0], error="seen"))
        assert [job.error for job in queue.listed()] == [None, "seen"]

    def test_it_is_known_how_the_jobs_stand(self, queue: Queue) -> None:
        """Pending, due and dead ones, since when the longest due, until when the next."""
        assert queue.counts(START) == JobCounts(0, 0, 0, None)
        assert queue.following(START) is None
        queue.put(*(new_job(f"t{at}", due_at=minute(at)) for at in (3, 1, 2, 8)))
        queue.put(*(new_job(status=status, due_at=minute(-9)) for status in (PAUSED, DONE, DEAD, DEAD)))
        told = [(queue.counts(at), queue.following(at)) for at in (minute(1) - TICK, minute(2), minute(9))]
        assert told == [
            (JobCounts(4, 0, 2, None), minute(1)),
            (JobCounts(4, 2, 2, minute(1)), minute(3)),
            (JobCounts(4, 4, 2, minute(1)), None),
        ]
        queue.claim(minute(1), until=minute(5))
        assert queue.counts(minute(4)) == JobCounts(4, 2, 2, minute(2))
        assert queue.following(minute(4)) == minute(5)

    def test_jobs_that_ended_well_are_forgotten_and_dead_letters_are_not(self, queue: Queue) -> None:
        """Those from before a moment, as many as asked for."""
        for status in (*FINISHED, PENDING, PAUSED, DEAD):
            queue.put(new_job(status, status=status, due_at=START, finished_at=START))
        queue.put(new_job("later", status=DONE, finished_at=minute(1)))
        assert queue.forget(START) == 0
        assert queue.forget(minute(1), limit=2) == 2
        assert queue.forget(minute(1), limit=2) == 1
        assert queue.forget(minute(1)) == 0
        assert [job.topic for job in queue.listed()] == [PENDING, PAUSED, DEAD, "later"]

    def test_a_worker_is_known_to_be_alive_until_it_leaves(self, queue: Queue) -> None:
        """The last beat of any worker counts."""
        assert queue.last_beat() is None
        queue.beat("w1", START)
        queue.beat("w2", minute(1))
        queue.beat("w1", minute(2))
        assert queue.last_beat() == minute(2)
        queue.beat("w1", minute(3), leaving=True)
        assert queue.last_beat() == minute(1)
        queue.beat("w2", minute(3), leaving=True)
        queue.beat("w3", minute(3), leaving=True)
        assert queue.last_beat() is None
