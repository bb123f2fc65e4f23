"""Automatic snapshots: when there is something to keep, and never a chain without its base."""

from __future__ import annotations

import logging
import threading

import pytest

from flask_statemanager.backends.memory import MemoryBackend
from flask_statemanager.errors import StorageError
from flask_statemanager.snapshots.automatic import CLAIM, AutoSnapshots
from flask_statemanager.snapshots.directory import DirectoryStorage
from tests.archives import Kept


def work(kept: Kept, auto: AutoSnapshots, number: int, start: int = 0) -> None:
    """Change something and let the interval pass, again and again."""
    for step in range(start, start + number):
        kept.set("a", step)
        auto.run()
        kept.clock.advance(300)


def kinds(kept: Kept) -> str:
    """Return the kinds of the snapshots, a letter each."""
    return "".join(each.kind[0] for each in kept.archive.list_snapshots())


def test_one_is_made_when_something_has_changed_and_the_interval_is_over(kept):
    auto = AutoSnapshots(kept.archive, interval=300, most=100)
    assert auto.run() is False
    assert kinds(kept) == "f"
    kept.set("a", 1)
    auto.run()
    kept.clock.advance(299)
    auto.run()
    assert kinds(kept) == "f"
    kept.clock.advance(1)
    auto.run()
    assert kinds(kept) == "fd"
    for _ in range(3):
        kept.clock.advance(300)
        auto.run()
    assert kinds(kept) == "fd"
    kept.remove("a")
    auto.run()
    assert kinds(kept) == "fdd"
    assert all(each.label.automatic for each in kept.archive.list_snapshots())


def test_now_and_then_one_is_full(remembered):
    auto = AutoSnapshots(remembered.archive, interval=300, most=100, full_every=4)
    work(remembered, auto, 10)
    assert kinds(remembered) == "fdddfdddfd"


@pytest.mark.parametrize("most", [1, 2, 3, 4, 7, 12])
def test_never_more_are_kept_than_asked_for_and_each_can_be_restored(remembered, most):
    auto = AutoSnapshots(remembered.archive, interval=300, most=most, full_every=3)
    least = max(1, most // 2)
    for step in range(25):
        work(remembered, auto, 1, step)
        found = remembered.archive.list_snapshots()
        assert min(step + 1, least) <= len(found) <= most
        assert found[0].kind == "full"
        for each in (found[0], found[-1]):
            remembered.archive.verify_snapshot(each)
    assert remembered.archive.restore_snapshot(found[-1], dry_run=True).same == 1


def test_what_somebody_made_is_neither_counted_nor_removed(remembered):
    mine = remembered.archive.create_snapshot(prefix="a")
    auto = AutoSnapshots(remembered.archive, interval=300, most=2)
    work(remembered, auto, 5)
    found = remembered.archive.list_snapshots()
    assert found[0] == mine
    assert len(found) == 3


def test_an_automatic_one_on_which_somebody_s_stands_stays(remembered, caplog):
    auto = AutoSnapshots(remembered.archive, interval=300, most=2, full_every=1)
    work(remembered, auto, 1)
    mine = remembered.archive.create_snapshot(incremental=True)
    with caplog.at_level(logging.INFO):
        work(remembered, auto, 4, 1)
    found = remembered.archive.list_snapshots()
    assert [each.id for each in found[:2]] == [mine.base, mine.id]
    assert "An automatic snapshot stays" in caplog.text
    assert remembered.archive.verify_snapshot(mine) == mine
    remembered.archive.delete_snapshot(mine)
    work(remembered, auto, 1, 9)
    assert len(remembered.archive.list_snapshots()) == 2


def test_a_new_bucket_is_a_change(remembered):
    auto = AutoSnapshots(remembered.archive, interval=300, most=10)
    work(remembered, auto, 1)
    remembered.backends = {**remembered.backends, "more": remembered.backend}
    auto.run()
    assert kinds(remembered) == "ff"


def test_a_damaged_base_is_not_built_upon(remembered):
    auto = AutoSnapshots(remembered.archive, interval=300, most=10)
    work(remembered, auto, 2)
    first = remembered.archive.list_snapshots()[0]
    remembered.storage.remove(f"{first.id}.snapshot")
    work(remembered, auto, 1, 2)
    assert kinds(remembered) == "df"


def test_behind_a_restore_a_full_one_is_made(kept):
    auto = AutoSnapshots(kept.archive, interval=300, most=10)
    work(kept, auto, 2)
    kept.archive.restore_snapshot(kept.archive.list_snapshots()[0])
    auto.run()
    assert kinds(kept) == "fdf"


def test_of_many_workers_one_makes_it(tmp_path):
    backend = MemoryBackend()
    kepts = [Kept(backend, DirectoryStorage(tmp_path)) for _ in range(6)]
    kepts[0].set("a", 1)
    start = threading.Barrier(6)

    def run(kept: Kept) -> None:
        auto = AutoSnapshots(kept.archive, interval=300, most=10)
        start.wait()
        for _ in range(5):
            auto.run()

    threads = [threading.Thread(target=run, args=(kept,)) for kept in kepts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kinds(kepts[0]) == "f"


def test_while_another_worker_makes_one_nobody_else_does(remembered):
    auto = AutoSnapshots(remembered.archive, interval=300, most=10)
    assert remembered.storage.claim(CLAIM, 3600)
    auto.run()
    assert kinds(remembered) == ""
    remembered.storage.release(CLAIM)
    auto.run()
    assert kinds(remembered) == "f"


def test_a_failure_gives_the_claim_back(remembered, monkeypatch):
    auto = AutoSnapshots(remembered.archive, interval=300, most=10)
    with monkeypatch.context() as patch:
        patch.setattr(remembered.storage, "_sync", lambda: (_ for _ in ()).throw(OSError(5, "Input/output error")))
        with pytest.raises(StorageError, match="Input/output error"):
            auto.run()
    remembered.clock.advance(300)
    remembered.set("a", 1)
    auto.run()
    assert kinds(remembered)[-1] in "fd"
    assert remembered.storage.claim(CLAIM, 1)
