"""Snapshots of buckets: made while others write, restored as a whole or not at all."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import MetaData, create_engine

from flask_statemanager.backends.memory import MemoryBackend
from flask_statemanager.backends.sql import feed
from flask_statemanager.backends.sql.backend import SqlBackend
from flask_statemanager.backends.sql.tables import declare
from flask_statemanager.core.powers import KeepsHistory
from flask_statemanager.core.query import ChangeQuery
from flask_statemanager.core.record import Key, Revision
from flask_statemanager.core.snapshots import Look, Restored, Scan
from flask_statemanager.errors import (
    Compacted,
    ConfigurationError,
    SnapshotNotFound,
    StateConflict,
    StateValidationError,
)
from flask_statemanager.snapshots.directory import DirectoryStorage
from flask_statemanager.snapshots.storage import MemoryStorage
from flask_statemanager.testing.contract.store import change_of, new_record
from tests.archives import Kept, fill, make_backend

# -- making ------------------------------------------------------------------------------------------------------------


def drawn(made: Any) -> int:
    """Return how many revisions a store had drawn, each of its shards its own."""
    return sum(map(int, made.revision.split(".")))


def test_a_snapshot_says_what_it_is(kept):
    kept.set("a", 1)
    kept.set("b", 2)
    kept.remove("b")
    made = kept.archive.create_snapshot()
    assert (made.kind, made.base, made.buckets, made.prefix, made.keys) == ("full", None, ("kv",), "", 1)
    assert made.created_at == kept.clock.now()
    assert made.revision == made.label.cursors["kv"]
    assert drawn(made) >= 3
    assert made.location.endswith(f"{made.id}.snapshot")
    with kept.storage.reading(f"{made.id}.snapshot") as stream:
        assert len(stream.read()) == made.bytes
    assert kept.archive.list_snapshots() == [made]
    assert kept.archive.get_snapshot(made.id) == made
    assert kept.archive.verify_snapshot(made.id) == made


def test_snapshots_are_listed_in_the_order_in_which_they_were_made(remembered):
    made = [remembered.archive.create_snapshot() for _ in range(20)]
    assert remembered.archive.list_snapshots() == made
    assert len({each.id for each in made}) == 20


def test_an_unknown_bucket_is_named(remembered):
    with pytest.raises(StateValidationError, match="'nowhere' is no bucket; known are kv"):
        remembered.archive.create_snapshot(["nowhere"])
    with pytest.raises(StateValidationError, match="list of names"):
        remembered.archive.create_snapshot("kv")
    with pytest.raises(StateValidationError, match="nothing is no bucket"):
        remembered.archive.create_snapshot([])
    assert remembered.archive.list_snapshots() == []


@pytest.mark.parametrize("prefix", [5, "a\x00", "\ud800", "x" * 256])
def test_an_unusable_prefix_is_refused(remembered, prefix):
    with pytest.raises(StateValidationError, match="prefix"):
        remembered.archive.create_snapshot(prefix=prefix)


def test_a_backend_without_the_power_is_named(remembered):
    remembered.backends["kv"] = SimpleNamespace(identity="poor", title="poor")
    with pytest.raises(ConfigurationError, match="'kv' needs a backend with the power Snapshots"):
        remembered.archive.create_snapshot()


def test_two_stores_are_in_one_snapshot_each_with_its_own_position(tmp_path):
    kept = Kept(MemoryBackend(), MemoryStorage(), "b", "d")
    other = MemoryBackend()
    kept.backends = {"a": other, "b": kept.backend, "c": other, "d": kept.backend}
    kept.set("x", 1, "b")
    kept.set("x", 2, "d")
    made = kept.archive.create_snapshot()
    assert made.buckets == ("a", "c", "b", "d")
    assert made.label.cursors == {"a": "0", "c": "0", "b": "2", "d": "2"}
    assert made.revision == "a=0,c=0,b=2,d=2"
    kept.set("x", 3, "d")
    kept.set("y", 3, "b")
    assert kept.archive.restore_snapshot(made) == Restored(changed=1, same=1, removed=1)
    assert (kept.values("b"), kept.values("d")) == ({"x": 1}, {"x": 2})


def test_a_snapshot_adds_up_while_others_write(kept):
    """Money that four threads move about is never in two places, or in none."""
    accounts = [f"account:{number}" for number in range(8)]
    for name in accounts:
        kept.set(name, 100)
    stop, failed = threading.Event(), []

    def move(seed: int) -> None:
        step = 0
        try:
            while not stop.is_set():
                step += 1
                source, target = accounts[(seed + step) % 8], accounts[(seed + 3 * step + 1) % 8]
                if source != target:
                    kept.together({source: lambda value: value - 1, target: lambda value: value + 1})
        except Exception as error:  # noqa: BLE001 - told by the main thread
            failed.append(error)

    threads = [threading.Thread(target=move, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    made = []
    try:
        for number in range(12):
            made += [kept.archive.create_snapshot(incremental=number % 3 > 0)]
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failed == []
    assert {each.kind for each in made} == {"full", "delta"}
    assert drawn(made[-1]) > drawn(made[0])
    for each in made:
        kept.archive.restore_snapshot(each)
        assert sum(kept.values().values()) == 800
        assert len(kept.values()) == 8


@pytest.mark.parametrize("times", [2, 3])
def test_a_look_that_lost_track_is_begun_again(remembered, monkeypatch, times):
    """As a store may whose log is short."""
    remembered.set("a", 1)
    looking, left = remembered.backend.looking, [Compacted("1", "2")] * times

    @contextmanager
    def losing(scan):
        with looking(scan) as look:
            yield Look(look.cursors, look.floors, lost(look.batches))

    def lost(batches):
        yield from batches
        if left:
            raise left.pop()

    monkeypatch.setattr(remembered.backend, "looking", losing)
    if times < 3:
        assert remembered.archive.create_snapshot().keys == 1
    else:
        with pytest.raises(Compacted):
            remembered.archive.create_snapshot()
    assert len(remembered.archive.list_snapshots()) == (times < 3)


def test_while_a_transaction_stays_open_on_postgresql_snapshots_are_full(postgres_url, tmp_path, monkeypatch):
    """Nobody knows which revisions it has drawn, so that nothing can stand on them."""
    monkeypatch.setattr(feed, "PATIENCE", 0.2)
    backend = SqlBackend(create_engine(postgres_url), declare(MetaData()), owned=True)
    backend.create_tables()
    kept = Kept(backend, DirectoryStorage(tmp_path))
    with backend.writing() as unit:
        backend.apply(unit, change_of(None, new_record("open", {"value": 1}, bucket="kv"), "set"))
        kept.set("a", 1)
        first = kept.archive.create_snapshot()
        second = kept.archive.create_snapshot(incremental=True)
    assert (first.keys, first.label.cursors, second.kind) == (1, {}, "full")
    last = kept.archive.create_snapshot()
    kept.set("b", 1)
    assert (last.keys, kept.archive.create_snapshot(incremental=True).base) == (2, last.id)
    backend.close()


# -- deltas ------------------------------------------------------------------------------------------------------------


def test_a_delta_holds_what_has_changed(kept):
    for name in ("a", "b", "c", "d"):
        kept.set(name, 1)
    full = kept.archive.create_snapshot(incremental=True)
    assert full.kind == "full"
    kept.set("a", 2)
    kept.remove("b")
    kept.set("e", 1)
    delta = kept.archive.create_snapshot(incremental=True)
    assert (delta.kind, delta.base, delta.keys, delta.contents.deleted) == ("delta", full.id, 2, 1)
    empty = kept.archive.create_snapshot(incremental=True)
    assert (empty.base, empty.keys, empty.contents.deleted) == (delta.id, 0, 0)


def test_a_chain_is_restored_as_the_full_one(kept):
    for number in range(30):
        kept.set(f"n{number:02}", number)
    kept.archive.create_snapshot()
    wanted: dict[str, Any] = {}
    last = None
    for step in range(4):
        for number in range(step, 30, 4):
            kept.remove(f"n{number:02}") if number % 3 == step % 3 else kept.set(f"n{number:02}", [step, number])
        kept.set(f"new{step}", step)
        wanted = kept.values()
        last = kept.archive.create_snapshot(incremental=True)
        assert last.kind == "delta"
    full = kept.archive.create_snapshot()
    kept.set("n00", "later")
    kept.set("later", 1)
    assert kept.archive.restore_snapshot(last).removed == 2
    assert kept.values() == wanted
    kept.set("n00", "later still")
    kept.archive.restore_snapshot(full)
    assert kept.values() == wanted


def test_a_delta_stands_on_the_newest_of_the_same_buckets_and_prefix(remembered):
    remembered.set("a:1", 1)
    everything = remembered.archive.create_snapshot()
    part = remembered.archive.create_snapshot(prefix="a:")
    assert remembered.archive.create_snapshot(incremental=True).base == everything.id
    assert remembered.archive.create_snapshot(prefix="a:", incremental=True).base == part.id
    assert remembered.archive.create_snapshot(prefix="b:", incremental=True).kind == "full"
    remembered.backends = {"kv": MemoryBackend()}
    assert remembered.archive.create_snapshot(incremental=True).kind == "full"


def test_behind_a_restore_a_delta_becomes_a_full_one(kept):
    kept.set("a", 1)
    made = kept.archive.create_snapshot()
    kept.archive.restore_snapshot(made)
    again = kept.archive.create_snapshot(incremental=True)
    assert (again.kind, again.base) == ("full", None)
    kept.set("a", 2)
    assert kept.archive.create_snapshot(incremental=True).base == again.id


def test_a_chain_that_lacks_its_base_is_refused(remembered):
    base = remembered.archive.create_snapshot()
    delta = remembered.archive.create_snapshot(incremental=True)
    remembered.storage.remove(f"{base.id}.snapshot")
    for use in (remembered.archive.restore_snapshot, remembered.archive.verify_snapshot):
        with pytest.raises(SnapshotNotFound, match=f"{delta.id}' stands on it"):
            use(delta)


# -- restoring ---------------------------------------------------------------------------------------------------------


def test_a_restore_brings_back_what_was(kept):
    kept.set("kept", {"deep": [1, None, True, 1.5, "ü"]})
    kept.set("gone", 1)
    was = kept.values()
    made = kept.archive.create_snapshot()
    kept.set("kept", 2)
    kept.remove("gone")
    kept.set("new", 3)
    assert kept.archive.restore_snapshot(made, dry_run=True) == Restored(created=1, changed=1, removed=1)
    assert kept.values() == {"kept": 2, "new": 3}
    assert kept.archive.restore_snapshot(made.id) == Restored(created=1, changed=1, removed=1)
    assert kept.values() == was
    assert kept.archive.restore_snapshot(made) == Restored(same=2)


def test_a_merge_leaves_what_is_not_in_the_snapshot(kept):
    kept.set("a", 1)
    made = kept.archive.create_snapshot()
    kept.set("a", 2)
    kept.set("b", 2)
    assert kept.archive.restore_snapshot(made, "merge", dry_run=True) == Restored(changed=1)
    assert kept.archive.restore_snapshot(made, mode="merge") == Restored(changed=1)
    assert kept.values() == {"a": 1, "b": 2}


def test_a_snapshot_of_a_prefix_restores_the_prefix_only(kept):
    kept.set("user:1", 1)
    kept.set("other", 1)
    made = kept.archive.create_snapshot(prefix="user:")
    assert (made.prefix, made.keys) == ("user:", 1)
    kept.set("user:1", 2)
    kept.set("user:2", 2)
    kept.set("other", 2)
    assert kept.archive.restore_snapshot(made) == Restored(changed=1, removed=1)
    assert kept.values() == {"user:1": 1, "other": 2}


def test_every_older_expectation_conflicts(kept):
    """By version and by revision, of what was changed and of what was not."""
    older = [kept.set("same", 1), kept.set("changed", 1), kept.set("removed", 1)]
    made = kept.archive.create_snapshot()
    older.append(kept.set("changed", 2))
    kept.remove("removed")
    older += [kept.set("removed", 3), kept.set("new", 1)]
    kept.archive.restore_snapshot(made)
    for record in older:
        for expect in (record.version, Revision(record.revision)):
            with pytest.raises(StateConflict):
                kept.set(record.key.name, "late", expect=expect)
    assert kept.values() == {"same": 1, "changed": 1, "removed": 1}
    assert kept.set("same", 2, expect=kept.found("same").version).data == {"value": 2}


def test_every_older_cursor_is_compacted(kept):
    kept.set("a", 1)
    made = kept.archive.create_snapshot()
    kept.archive.restore_snapshot(made)
    with pytest.raises(Compacted), kept.backend.looking(Scan(("kv",), since=made.label.cursors)):
        pass


@pytest.mark.parametrize("kept", ["memory", "sqlite", "postgresql"], indirect=True)
def test_a_restore_is_in_the_history_with_its_actor_and_reason(kept):
    assert isinstance(kept.backend, KeepsHistory)
    kept.set("a", 1)
    made = kept.archive.create_snapshot()
    kept.set("a", 2)
    kept.clock.advance(60)
    kept.archive.restore_snapshot(made, actor="ann", source="console", reason="wrong prices")
    kept.archive.restore_snapshot(made)
    with kept.backend.reading() as unit:
        log = kept.backend.changes(unit, ChangeQuery("kv", Key("kv", "a")))
    assert [change.event for change in log] == ["set", "set", "restore", "restore"]
    first, second = log[2:]
    assert (first.actor, first.source, first.reason, first.at) == ("ann", "console", "wrong prices", kept.clock.now())
    assert (first.before.data, first.after.data) == ({"value": 2}, {"value": 1})
    assert (second.actor, second.reason) == ("system", f"snapshot {made.id}")


def test_a_restore_into_an_empty_store_goes_on_from_every_version(kept, request, tmp_path):
    for value in range(5):
        kept.set("a", value)
    kept.set("b", 1)
    for value in range(9):
        kept.set("deleted", value)
    kept.remove("deleted")
    made = kept.archive.create_snapshot()
    fresh = Kept(make_backend("sqlite", request, tmp_path), kept.storage)
    assert fresh.archive.restore_snapshot(made) == Restored(created=2)
    assert fresh.values() == {"a": 4, "b": 1}
    assert (fresh.found("a").version, fresh.found("b").version) == (6, 2)
    assert fresh.set("deleted", 1).version == 11
    fresh.backend.close()


def test_caches_hear_of_what_a_restore_has_written(kept):
    fill(kept, {f"n{number:04}": number for number in range(2500)})
    made = kept.archive.create_snapshot()
    names = sorted(kept.values())
    kept.set("new", 1)
    kept.archive.restore_snapshot(made, dry_run=True)
    assert kept.doubted == []
    kept.archive.restore_snapshot(made)
    assert kept.doubted == [("kv", name) for name in (*names, "new")]


@pytest.mark.parametrize("mode", ["", "REPLACE", None, "append"])
def test_an_unknown_mode_is_refused(remembered, mode):
    made = remembered.archive.create_snapshot()
    with pytest.raises(StateValidationError, match="'replace' or 'merge'"):
        remembered.archive.restore_snapshot(made, mode)


def test_a_snapshot_of_a_bucket_that_is_gone_is_refused(remembered):
    made = remembered.archive.create_snapshot()
    remembered.backends = {"other": remembered.backend}
    with pytest.raises(StateValidationError, match="'kv' is no bucket; known are other"):
        remembered.archive.restore_snapshot(made)


def test_progress_is_told_to_the_end(kept):
    for number in range(30):
        kept.set(f"n{number}", number)
    told: list[tuple[int, int | None]] = []
    made = kept.archive.create_snapshot(progress=lambda *seen: told.append(seen))
    assert told[-1] == (30, None)
    told.clear()
    kept.archive.verify_snapshot(made, progress=lambda *seen: told.append(seen))
    assert told[-1] == (30, 30)
    told.clear()
    kept.archive.restore_snapshot(made, progress=lambda *seen: told.append(seen))
    assert told[-1] == (60, 60)
    assert told == sorted(told)


def test_writers_wait_for_a_restore_and_then_go_on(kept):
    """What another has written before it is overwritten or comes after it, and is never torn."""
    for number in range(50):
        kept.set(f"n{number:02}", "old")
    made = kept.archive.create_snapshot()
    stop, failed = threading.Event(), []

    def write(seed: int) -> None:
        step = seed
        try:
            while not stop.is_set():
                step += 1
                # Both in one transaction: one that is in the snapshot, and one that is not. Each has keys of its own:
                # the other must not write over the half that is compared.
                own = f"n{step * 2 % 50 + seed:02}"
                kept.together(dict.fromkeys((own, f"extra{seed}"), lambda _, value=step: value))
        except Exception as error:  # noqa: BLE001 - told by the main thread
            failed.append(error)

    threads = [threading.Thread(target=write, args=(seed,)) for seed in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(5):
            kept.archive.restore_snapshot(made)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failed == []
    values = kept.values()
    extras = {value for name, value in values.items() if name.startswith("extra")}
    assert extras <= {value for name, value in values.items() if name.startswith("n")}


# -- removing ----------------------------------------------------------------------------------------------------------


def test_a_deleted_snapshot_is_gone(remembered):
    made, other = remembered.archive.create_snapshot(), remembered.archive.create_snapshot()
    remembered.archive.delete_snapshot(made)
    assert remembered.archive.list_snapshots() == [other]
    for use in (
        remembered.archive.get_snapshot,
        remembered.archive.restore_snapshot,
        remembered.archive.delete_snapshot,
    ):
        with pytest.raises(SnapshotNotFound):
            use(made.id)
    assert [name for name in remembered.storage.names() if made.id in name] == []


# -- foreseeing --------------------------------------------------------------------------------------------------------


def test_what_a_restore_would_change_is_foreseen_with_names(kept):
    fill(kept, dict.fromkeys(("changed", "gone", "same", "zz-gone"), 1))
    made = kept.archive.create_snapshot()
    kept.set("changed", 2)
    kept.remove("gone")
    kept.remove("zz-gone")
    fill(kept, {"a-new": 1, "new": 1})
    before = kept.values()
    seen = kept.archive.foresee_restore(made)
    assert (seen.created, seen.changed) == (("kv:gone", "kv:zz-gone"), ("kv:changed",))
    assert seen.removed == ("kv:a-new", "kv:new")
    assert seen.count == Restored(created=2, changed=1, same=1, removed=2)
    assert seen.count == kept.archive.restore_snapshot(made, dry_run=True)
    merged = kept.archive.foresee_restore(made.id, "merge", names=1)
    assert (merged.created, merged.count.created, merged.removed) == (("kv:gone",), 2, ())
    assert kept.values() == before
    assert kept.archive.restore_snapshot(made) == seen.count
    assert kept.archive.foresee_restore(made).count == Restored(same=4)


def test_what_is_foreseen_of_a_delta_is_of_all_that_it_stands_on(remembered):
    remembered.set("p:old", 1)
    remembered.set("other", 1)
    remembered.archive.create_snapshot(prefix="p:")
    remembered.set("p:new", 1)
    delta = remembered.archive.create_snapshot(prefix="p:", incremental=True)
    remembered.set("p:old", 2)
    remembered.set("other", 2)
    heard: list[tuple[int, int]] = []
    seen = remembered.archive.foresee_restore(delta, progress=lambda done, of: heard.append((done, of)))
    assert (delta.kind, seen.count, seen.changed) == ("delta", Restored(changed=1, same=1), ("kv:p:old",))
    assert heard[-1][0] <= heard[-1][1] == 4


def test_nothing_is_foreseen_in_a_mode_that_there_is_not(remembered):
    made = remembered.archive.create_snapshot()
    with pytest.raises(StateValidationError, match="'replace' or 'merge'"):
        remembered.archive.foresee_restore(made, "overwrite")
