"""Leasing jobs to one worker at a time, and writing them back: a part of the power Enqueues."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from ...core.jobs import CANCELLED, DEAD, DONE, PAUSED, PENDING, SKIPPED, TIMER
from ...core.record import Key
from ..clock import START
from .jobs import LEASE, TICK, B, Queue, minute, new_job


class LeaseContract:
    """Who gets which job, and who may write it."""

    # -- claiming --------------------------------------------------------------------------------------------------

    def test_the_longest_due_are_claimed_first(self, queue: Queue) -> None:
        """From the very moment on, at most as many as asked for; ids break ties; the end of a lease is a moment too."""
        minutes = {"second": 1, "first": 0, "fourth": 3, "third": 2, "tie": 2}
        queue.put(*(new_job(topic, due_at=minute(at)) for topic, at in minutes.items()))
        assert queue.topics(now=START - TICK) == []
        assert queue.topics(now=minute(9), limit=0) == []
        assert queue.topics(now=minute(2), limit=1) == ["first"]
        assert queue.topics(now=minute(2), limit=2) == ["second", "third"]
        assert queue.topics(now=minute(9), until=minute(19)) == ["tie", "second", "first", "third", "fourth"]

    def test_a_claimed_job_says_who_has_it_and_until_when(self, queue: Queue) -> None:
        """Attempts and fence go up; what was returned is what is stored."""
        queue.put(new_job(payload={"n": 1}, slot="s"))
        before = queue.only()
        held = queue.claimed(worker="w1")
        assert held == replace(before, worker="w1", due_at=START + LEASE, attempts=1, fence=before.fence + 1)
        assert queue.only() == held

    def test_a_lease_keeps_others_away_until_it_ends(self, queue: Queue) -> None:
        """Then somebody else gets the job, and the first one cannot write any more."""
        queue.put(new_job())
        first = queue.claimed(worker="w1")
        assert queue.claim(START + LEASE - TICK) == []
        second = queue.claimed(START + LEASE, worker="w2")
        assert (second.worker, second.attempts) == ("w2", 2)
        assert not queue.save(first.ended(DONE, START))
        assert queue.save(second.ended(DONE, START))

    @pytest.mark.parametrize("status", [PAUSED, DONE, SKIPPED, CANCELLED, DEAD])
    def test_only_pending_jobs_are_claimed(self, queue: Queue, status: str) -> None:
        """However long ago their moment was."""
        queue.put(new_job(status=status))
        assert queue.claim(minute(99)) == []

    def test_an_ordered_job_waits_for_lower_versions(self, queue: Queue) -> None:
        """While they wait, are held, or are to be tried again later; not any more once they have ended."""
        queue.put(new_job(version=3), new_job(version=2, due_at=minute(1)), new_job(version=1, due_at=minute(2)))
        assert queue.claim(minute(1)) == []
        first = queue.claimed(minute(2))
        assert first.version == 1
        assert queue.claim(minute(2)) == []
        queue.save(first.again(minute(5), "try again"))
        assert queue.claim(minute(4)) == []
        queue.save(queue.claimed(minute(5)).ended(DEAD, minute(5), "no more"))
        second = queue.claimed(minute(5))
        assert second.version == 2
        queue.save(second.ended(SKIPPED, minute(5)))
        assert queue.claimed(minute(5)).version == 3

    def test_what_is_paused_or_ended_holds_nobody_up(self, queue: Queue) -> None:
        """Only the pending ones are waited for."""
        queue.put(*(new_job(status=status) for status in (PAUSED, DONE, SKIPPED, CANCELLED, DEAD)))
        queue.put(new_job(version=2))
        assert [job.version for job in queue.claim()] == [2]

    def test_an_ordered_job_waits_for_an_unordered_one_and_not_the_other_way_round(self, queue: Queue) -> None:
        """Being unordered is a job's own matter."""
        queue.put(new_job(version=1, due_at=minute(9)), new_job(version=2, ordered=False), new_job(version=3))
        queue.put(new_job("other", version=1, ordered=False, due_at=minute(9)), new_job("other", version=2))
        assert [(job.topic, job.version) for job in queue.claim()] == [("mail", 2)]

    def test_jobs_of_other_lines_are_not_waited_for(self, queue: Queue) -> None:
        """Another kind, bucket, name or topic, the same version."""
        waiting = new_job(version=1, due_at=minute(9))
        queue.put(replace(waiting, kind=TIMER), replace(waiting, key=Key("other", "a")), replace(waiting, key=B))
        queue.put(replace(waiting, topic="other"), replace(waiting, version=2), replace(waiting, version=3))
        queue.put(new_job(version=2))
        assert [(job.topic, job.version) for job in queue.claim()] == [("mail", 2)]

    def test_jobs_that_are_passed_over_do_not_count(self, queue: Queue) -> None:
        """The limit is one of claimed jobs."""
        queue.put(*(new_job(version=version, due_at=minute(-version)) for version in range(2, 9)))
        queue.put(new_job(due_at=minute(9)), new_job("free"))
        assert queue.topics(limit=1) == ["free"]

    # -- writing ---------------------------------------------------------------------------------------------------

    def test_a_renewed_lease_lasts_longer_and_its_holder_can_write(self, queue: Queue) -> None:
        """The fence stays; jobs of others, and those that somebody has written, are left alone."""
        queue.put(new_job("a"), new_job("b"), new_job("c"))
        a, b, c = queue.claim()
        queue.save(c.ended(DONE, START))
        queue.renew([c, a], minute(9))
        assert [job.due_at for job in queue.listed()] == [minute(9), START + LEASE, START]
        assert [job.topic for job in queue.claim(minute(8))] == ["b"]
        assert queue.save(a.ended(DONE, START))
        assert not queue.save(b.ended(DONE, START))

    def test_no_leases_are_renewed_for_nobody_and_none_of_an_earlier_holder(self, queue: Queue) -> None:
        """An empty list is fine; the fence of a job that was claimed again is another one."""
        queue.put(new_job())
        queue.renew([], minute(9))
        first = queue.claimed()
        second = queue.claimed(START + LEASE)
        queue.renew([first], minute(9))
        assert queue.only() == second

    def test_a_save_that_does_not_wait_writes_what_nobody_has(self, queue: Queue) -> None:
        """As any other does: under the fence, which goes up."""
        queue.put(new_job())
        held = queue.claimed()
        ended = held.ended(DONE, START)
        for expected in (True, False):
            with queue.backend.writing() as unit:
                assert queue.power.save(unit, ended, wait=False) is expected
        assert queue.only() == replace(ended, fence=held.fence + 1)

    def test_what_may_change_of_a_job_is_written_and_the_rest_is_not(self, queue: Queue) -> None:
        """Status, moments, slot, payload, attempts, worker, error and trace; the fence goes up."""
        queue.put(new_job(payload={"n": 1}, slot="s"))
        stored = queue.only()
        changed: dict[str, Any] = {
            "status": DEAD,
            "due_at": minute(1),
            "slot": "t",
            "payload": {"n": 2},
            "attempts": 7,
            "worker": "w",
            "error": "an error",
            "trace": "a\ntrace",
            "finished_at": minute(2),
        }
        fixed: dict[str, Any] = {
            "kind": TIMER,
            "key": B,
            "topic": "x",
            "version": 9,
            "created_at": minute(3),
            "ordered": False,
        }
        assert queue.save(replace(stored, **changed, **fixed))
        assert queue.only() == replace(stored, fence=stored.fence + 1, **changed)
        assert queue.save(replace(queue.only(), slot=None, payload=None, worker=None, error=None, trace=None))
        assert queue.only().payload is None

    def test_only_the_first_of_two_that_read_the_same_is_written(self, queue: Queue) -> None:
        """The second one changes nothing; nor does one for a job that is not there."""
        queue.put(new_job())
        seen = queue.only()
        assert queue.save(replace(seen, error="first"))
        assert not queue.save(replace(seen, error="second"))
        assert not queue.save(replace(seen, id=seen.id + 1))
        assert [job.error for job in queue.listed()] == ["first"]

    def test_whatever_an_error_says_can_be_kept(self, queue: Queue) -> None:
        """Also what no database takes as text."""
        queue.put(new_job())
        assert queue.save(
            queue.claimed().ended(DEAD, START, "before\x00behind\ud800", "a\x00 trace \U0001f600" * 9_999)
        )
        found = queue.only()
        assert (found.error or "").startswith("before")
        assert (found.trace or "").startswith("a")

    def test_pausing_keeps_the_slot_and_the_moment(self, queue: Queue) -> None:
        """The end is noted, the worker forgotten and cannot write any more."""
        queue.put(new_job(slot="s", due_at=minute(-9)), new_job(slot="t"))
        held, other = queue.claim()
        assert queue.withdraw(["s", "nobody's"], PAUSED, minute(1)) == 1
        paused = replace(held, status=PAUSED, worker=None, fence=held.fence + 1, finished_at=minute(1))
        assert queue.listed() == [paused, other]
        assert not queue.save(held.ended(DONE, START))

    def test_cancelling_takes_pending_and_paused_ones_and_gives_their_slots_up(self, queue: Queue) -> None:
        """Those that have ended, or have another slot or none, are left alone."""
        statuses = (PENDING, PAUSED, DONE, SKIPPED, CANCELLED, DEAD)
        queue.put(*(new_job(status, slot=status, status=status) for status in statuses))
        queue.put(new_job("other", slot="other"), new_job("without"))
        before = queue.listed()
        assert queue.withdraw(statuses, CANCELLED, minute(1)) == 2
        gone: dict[str, Any] = {"status": CANCELLED, "slot": None, "due_at": minute(1), "finished_at": minute(1)}
        assert queue.listed() == [replace(job, fence=job.fence + 1, **gone) for job in before[:2]] + before[2:]

    def test_a_paused_job_that_is_paused_again_keeps_its_end(self, queue: Queue) -> None:
        """From which the time that was left is counted."""
        queue.put(new_job(slot="s"))
        assert queue.withdraw(["s"], PAUSED, minute(1)) == 1
        assert queue.withdraw(["s"], PAUSED, minute(2)) == 0
        assert queue.only().finished_at == minute(1)
        assert queue.withdraw([], CANCELLED, minute(2)) == 0
