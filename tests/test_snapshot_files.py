"""The files of snapshots: nothing in them is believed, nothing half-written is listed, no memory is taken for all."""

from __future__ import annotations

import hashlib
import logging
import os
import random
import resource
import signal
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from flask_statemanager.backends.memory import MemoryBackend
from flask_statemanager.core.snapshots import Restored
from flask_statemanager.errors import (
    SnapshotDamaged,
    SnapshotInUse,
    SnapshotNotFound,
    StateValidationError,
    StorageError,
)
from flask_statemanager.snapshots.directory import DirectoryStorage
from flask_statemanager.snapshots.format import END, SnapshotWriter, read_end
from flask_statemanager.snapshots.making import Wanted
from flask_statemanager.snapshots.shelf import LEAVING, SUFFIX
from flask_statemanager.snapshots.snapshot import Snapshot
from flask_statemanager.snapshots.storage import MemoryStorage, SnapshotStorage
from flask_statemanager.testing.contract.store import new_record
from tests.archives import Kept, fill
from tests.processes.child import Child


@pytest.fixture(params=["memory", "directory"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> SnapshotStorage:
    return MemoryStorage() if request.param == "memory" else DirectoryStorage(tmp_path / "snapshots")


def file_of(kept: Kept, snapshot: Snapshot) -> Path:
    """Return the file of a snapshot."""
    found = Path(kept.storage.path(f"{snapshot.id}{SUFFIX}"))
    assert found.is_file()
    return found


# -- damage ------------------------------------------------------------------------------------------------------------


def test_one_flipped_bit_anywhere_is_found_before_anything_changes(remembered):
    """In every byte of a chain: the base's, and the delta's."""
    for number in range(12):
        remembered.set(f"n{number}", {"text": "x" * number, "number": number})
    base = remembered.archive.create_snapshot()
    remembered.set("n1", "changed")
    remembered.remove("n2")
    delta = remembered.archive.create_snapshot(incremental=True)
    remembered.set("n3", "later")
    before, random_ = remembered.values(), random.Random(7)
    survived = []
    for snapshot in (base, delta):
        path = file_of(remembered, snapshot)
        good = path.read_bytes()
        for place in range(len(good)):
            bad = bytearray(good)
            bad[place] ^= 1 << random_.randrange(8)
            path.write_bytes(bad)
            try:
                remembered.archive.restore_snapshot(delta.id)
            except (SnapshotDamaged, SnapshotNotFound):
                continue
            survived.append((snapshot.kind, place))
        path.write_bytes(good)
    assert survived == []
    assert remembered.values() == before
    assert remembered.archive.restore_snapshot(delta).changed == 1


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_file_that_was_cut_is_not_listed(remembered, share, caplog):
    remembered.set("a", "x" * 3000)
    made, other = remembered.archive.create_snapshot(), remembered.archive.create_snapshot()
    path = file_of(remembered, made)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    fresh = Kept(remembered.backend, remembered.storage).archive
    with caplog.at_level(logging.WARNING):
        assert [each.id for each in fresh.list_snapshots()] == [other.id]
    assert f"{made.id}{SUFFIX} is no complete snapshot" in caplog.text
    with pytest.raises(SnapshotDamaged, match="no good end"):
        fresh.get_snapshot(made.id)


def test_a_file_with_something_behind_it_is_not_listed(remembered):
    made = remembered.archive.create_snapshot()
    path = file_of(remembered, made)
    path.write_bytes(path.read_bytes() * 2)
    assert Kept(remembered.backend, remembered.storage).archive.list_snapshots() == []


def test_the_file_of_another_snapshot_under_this_name_is_refused(remembered):
    made, other = remembered.archive.create_snapshot(), remembered.archive.create_snapshot()
    file_of(remembered, made).write_bytes(file_of(remembered, other).read_bytes())
    with pytest.raises(SnapshotDamaged):
        remembered.archive.restore_snapshot(made.id)


def test_a_file_that_is_exchanged_after_it_was_listed_is_refused(remembered):
    """Two good files are not the same file."""
    remembered.set("a", 1)
    made = remembered.archive.create_snapshot()
    forged = forge(remembered, made, [new_record("a", {"value": "forged"}, bucket="kv")])
    assert read_end(forged, len(forged), "") is not None

    class Exchanged(MemoryStorage):
        def tail(self, name: str, length: int) -> tuple[bytes, int]:
            good = file_of(remembered, made).read_bytes()
            return good[-length:], len(good)

    storage = Exchanged()
    storage.files = {f"{made.id}{SUFFIX}": forged}
    with pytest.raises(SnapshotDamaged, match=r"exchanged|something else|first line"):
        Kept(remembered.backend, storage).archive.restore_snapshot(made.id)
    assert remembered.values() == {"a": 1}


def forge(kept: Kept, like: Snapshot, records: list[object], change: Callable[[bytes], bytes] = bytes) -> bytes:
    """Return a file with good hashes that holds what it should not.

    :param change: changes the file before its end is sealed.
    """
    storage = MemoryStorage()
    with storage.writing("forged") as stream:
        writer = SnapshotWriter(stream, like.label, {})
        writer.add(records)  # type: ignore[arg-type]
        writer.finish()
    body = change(storage.files["forged"][:-72])
    return body + b"sha256 " + hashlib.sha256(body).hexdigest().encode() + b"\n"


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["b", "a"], "wrong place"),
        (["a", "a"], "wrong place"),
        (["other:a"], "does not belong"),
    ],
)
def test_records_out_of_place_are_refused(remembered, names, problem):
    remembered.set("a", 1)
    made = remembered.archive.create_snapshot(prefix="" if "a" in names else "a")
    records = [new_record(name, {"value": 1}, bucket="kv") for name in names]
    file_of(remembered, made).write_bytes(forge(remembered, made, records))
    with pytest.raises(SnapshotDamaged, match=problem):
        remembered.archive.restore_snapshot(made.id)


def test_a_record_of_a_bucket_that_the_snapshot_is_not_of_is_refused(remembered):
    made = remembered.archive.create_snapshot()
    file_of(remembered, made).write_bytes(forge(remembered, made, [new_record("a", bucket="state")]))
    with pytest.raises(SnapshotDamaged, match="state:a does not belong"):
        remembered.archive.verify_snapshot(made.id)


def test_a_block_that_unfolds_to_more_than_it_says_is_not_unfolded(remembered):
    """Gigabytes of zeros take a few kilobytes."""
    made = remembered.archive.create_snapshot()
    bomb = zlib.compress(b"\x00" * 50_000_000)
    line = msgspec.json.encode(
        {"block": 1, "records": 1, "raw": 100, "stored": len(bomb), "sha256": hashlib.sha256(bomb).hexdigest()}
    )

    def load(body: bytes) -> bytes:
        head, _, end = body.partition(b"\n")
        new = head + b"\n" + line + b"\n" + bomb + b"\n"
        return new + end.replace(b'"size":%d' % (len(head) + 1), b'"size":%d' % len(new))

    file_of(remembered, made).write_bytes(forge(remembered, made, [], load))
    tracemalloc.start()
    try:
        with pytest.raises(SnapshotDamaged, match="block 1"):
            remembered.archive.verify_snapshot(made.id)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_a_format_of_the_future_is_named(remembered):
    made = remembered.archive.create_snapshot()
    data = forge(remembered, made, [], lambda body: body.replace(b'"version":1', b'"version":2'))
    file_of(remembered, made).write_bytes(data)
    with pytest.raises(SnapshotDamaged, match="version 2, and this package knows 1"):
        remembered.archive.verify_snapshot(made.id)


def test_deltas_that_stand_on_each_other_are_refused(remembered):
    first = remembered.archive.create_snapshot()
    second = remembered.archive.create_snapshot(incremental=True)
    circular = replace(first, label=replace(first.label, kind="delta", base=second.id))
    file_of(remembered, first).write_bytes(forge(remembered, circular, []))
    with pytest.raises(SnapshotDamaged, match="does not fit"):
        remembered.archive.restore_snapshot(second.id)


def test_a_large_end_is_read_whole(remembered):
    """Of hundreds of buckets, each with its cursor."""
    names = [f"bucket{number}" for number in range(1500)]
    kept = Kept(remembered.backend, remembered.storage, *names)
    kept.set("a", 1, bucket="bucket7")
    made = kept.archive.create_snapshot()
    assert made.bytes > 2 * END
    assert Kept(kept.backend, kept.storage, *names).archive.list_snapshots() == [made]
    assert kept.archive.restore_snapshot(made.id) == Restored(same=1)


# -- ids ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "hostile",
    [
        *("", ".", "..", "../secret", "/etc/passwd", "a/b", "x" * 300, "\x00", None, 5, b"x", ["x"]),
        "01a2276b-fad2-1fab-ac1d-f7369eeed896",
        "01a2276b-fad2-7fab-ac1d-f7369eeed896\n",
        "01A2276B-FAD2-7FAB-AC1D-F7369EEED896",
    ],
)
def test_what_is_no_id_is_refused(remembered, hostile):
    archive = remembered.archive
    for use in (archive.get_snapshot, archive.verify_snapshot, archive.restore_snapshot, archive.delete_snapshot):
        with pytest.raises(StateValidationError, match="no id of a snapshot"):
            use(hostile)


def test_a_base_that_is_no_id_is_refused(remembered):
    """A file says on which other one it stands."""
    made = remembered.archive.create_snapshot()
    label = replace(made.label, kind="delta", base="../../etc/passwd")
    file_of(remembered, made).write_bytes(forge(remembered, replace(made, label=label), []))
    with pytest.raises(SnapshotDamaged, match="no snapshot"):
        remembered.archive.restore_snapshot(made.id)


def test_other_files_in_the_directory_are_left_alone(remembered):
    made = remembered.archive.create_snapshot()
    folder = Path(remembered.storage.location)
    (folder / "README").write_text("mine")
    (folder / f"notes{SUFFIX}").write_text("mine too")
    assert remembered.archive.list_snapshots() == [made]
    remembered.archive.delete_snapshot(made)
    assert sorted(path.name for path in folder.iterdir()) == ["README", f"notes{SUFFIX}"]


# -- writing -----------------------------------------------------------------------------------------------------------


def test_a_file_is_its_owner_s_alone(remembered):
    made = remembered.archive.create_snapshot()
    path = file_of(remembered, made)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o077 == 0


def test_a_full_disk_is_named_and_nothing_is_left(remembered):
    for number in range(200):
        remembered.set(f"n{number}", random.Random(number).randbytes(1000).hex())
    with limited(40_000), pytest.raises(StorageError, match=r"cannot be written .*: make room"):
        remembered.archive.create_snapshot()
    assert remembered.storage.names() == []
    assert list(Path(remembered.storage.location).iterdir()) == []
    assert remembered.archive.create_snapshot().keys == 200


class limited:  # noqa: N801 - reads as a verb
    """No file of this process may grow beyond a size, as if the disk were full then."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __enter__(self) -> None:
        self.before = resource.getrlimit(resource.RLIMIT_FSIZE)
        self.handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, self.before[1]))

    def __exit__(self, *error: object) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, self.before)
        signal.signal(signal.SIGXFSZ, self.handler)


def test_a_store_that_fails_in_the_middle_leaves_nothing(remembered, monkeypatch):
    remembered.set("a", 1)
    monkeypatch.setattr(SnapshotWriter, "finish", lambda _self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        remembered.archive.create_snapshot()
    assert list(Path(remembered.storage.location).iterdir()) == []


def test_a_directory_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    kept = Kept(MemoryBackend(), DirectoryStorage(tmp_path / "file" / "snapshots"))
    with pytest.raises(StorageError, match=r"file/snapshots cannot be written"):
        kept.archive.create_snapshot()


def test_a_directory_that_is_not_there_holds_no_snapshots(tmp_path):
    kept = Kept(MemoryBackend(), DirectoryStorage(tmp_path / "nowhere"))
    assert kept.archive.list_snapshots() == []
    assert not (tmp_path / "nowhere").exists()


def test_what_killed_processes_have_left_is_tidied_up_after_a_day(remembered):
    remembered.archive.create_snapshot()
    folder = Path(remembered.storage.location)
    old, new = folder / "x.snapshot.1.part", folder / "x.snapshot.2.part"
    for path, age in ((old, 90_000), (new, 3600)):
        path.write_bytes(b"half")
        os.utime(path, (time.time() - age,) * 2)
    assert len(remembered.archive.list_snapshots()) == 1
    remembered.archive.create_snapshot()
    assert (old.exists(), new.exists()) == (False, True)


def test_two_make_snapshots_at_once(kept):
    for number in range(50):
        kept.set(f"n{number}", number)
    kept.archive.create_snapshot()
    made: list[Snapshot] = []
    start = threading.Barrier(4)

    def make() -> None:
        start.wait()
        made.extend(kept.archive.create_snapshot(incremental=True) for _ in range(3))

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({each.id for each in made}) == 12
    assert len(kept.archive.list_snapshots()) == 13
    for each in made:
        assert kept.archive.verify_snapshot(each) == each
        assert kept.archive.restore_snapshot(each, dry_run=True) == Restored(same=50)


# -- removing ----------------------------------------------------------------------------------------------------------


def test_what_others_stand_on_is_not_deleted(remembered):
    base = remembered.archive.create_snapshot()
    first = remembered.archive.create_snapshot(incremental=True)
    second = remembered.archive.create_snapshot(incremental=True)
    with pytest.raises(SnapshotInUse, match=first.id):
        remembered.archive.delete_snapshot(base)
    with pytest.raises(SnapshotInUse, match=second.id):
        remembered.archive.delete_snapshot(first.id)
    assert remembered.archive.list_snapshots() == [base, first, second]
    for each in (second, first, base):
        remembered.archive.delete_snapshot(each)
    assert remembered.storage.names() == []


def test_a_damaged_snapshot_can_be_deleted(remembered):
    made = remembered.archive.create_snapshot()
    file_of(remembered, made).write_bytes(b"broken")
    remembered.archive.delete_snapshot(made.id)
    assert remembered.storage.names() == []


@pytest.mark.parametrize("moment", ["marked", "listed", "gone"])
def test_a_delta_never_stands_on_a_base_that_is_being_deleted(remembered, moment):
    """Whichever of the two is faster: the delta becomes a full one, or the base stays."""
    remembered.set("a", 1)
    base = remembered.archive.create_snapshot()
    meeting = Meeting(remembered.storage, moment)
    deleting = Kept(remembered.backend, meeting).archive
    made: list[Snapshot] = []
    # The creator has chosen its base already.
    wanted = remembered.archive.maker.base_for(Wanted(("kv",)))
    meeting.act = lambda: made.append(remembered.archive.maker.make(Wanted(("kv",), base=wanted)))
    refused = False
    try:
        deleting.delete_snapshot(base.id)
    except SnapshotInUse:
        refused = True
    if not made:
        meeting.act()
    [new] = made
    remembered.set("a", 2)
    assert (new.kind == "delta") <= refused
    assert remembered.archive.restore_snapshot(new).changed == 1
    assert remembered.values() == {"a": 1}
    assert [name for name in remembered.storage.names() if name.endswith(LEAVING)] == []


class Meeting(DirectoryStorage):
    """Does something at a moment of a removal."""

    def __init__(self, storage: SnapshotStorage, moment: str) -> None:
        super().__init__(storage.location)
        self.moment = moment
        self.act: Callable[[], object] = lambda: None
        self._listed = False

    def _meet(self, moment: str) -> None:
        if moment == self.moment:
            self.moment = ""
            self.act()

    def names(self) -> list[str]:
        found = super().names()
        if any(name.endswith(LEAVING) for name in found):
            self._meet("marked")
            found = super().names()
            self._meet("listed")
        return found

    def remove(self, name: str) -> None:
        super().remove(name)
        if name.endswith(SUFFIX):
            self._meet("gone")


def test_a_base_that_nobody_finished_deleting_is_left_for_the_next_to_delete(remembered):
    base = remembered.archive.create_snapshot()
    with remembered.storage.writing(f"{base.id}{LEAVING}"):
        pass
    assert remembered.archive.list_snapshots() == []
    assert remembered.archive.create_snapshot(incremental=True).kind == "full"
    remembered.archive.delete_snapshot(base.id)
    assert len(remembered.storage.names()) == 1


@pytest.mark.parametrize("kind", ["memory", "directory"])
def test_a_restore_goes_on_when_its_snapshot_is_deleted_meanwhile(tmp_path, kind):
    storage = MemoryStorage() if kind == "memory" else DirectoryStorage(tmp_path)
    kept = Kept(MemoryBackend(), storage)
    fill(kept, {f"n{number:04}": number for number in range(3000)})
    made = kept.archive.create_snapshot()
    kept.set("n0000", "later")
    seen = []

    def remove(done: int, _total: int | None) -> None:
        if not seen:
            kept.archive.delete_snapshot(made)
        seen.append(done)

    assert kept.archive.restore_snapshot(made, progress=remove).changed == 1
    assert kept.values()["n0000"] == 0
    assert kept.archive.list_snapshots() == []


# -- storages ----------------------------------------------------------------------------------------------------------


def test_what_is_written_is_there_at_the_end_or_not_at_all(storage):
    def fail() -> None:
        with storage.writing("a.snapshot") as stream:
            stream.write(b"x")
            assert storage.names() == []
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert storage.names() == []
    with storage.writing("a.snapshot") as stream:
        stream.write(b"0123456789")
    assert storage.names() == ["a.snapshot"]
    assert storage.tail("a.snapshot", 3) == (b"789", 10)
    assert storage.tail("a.snapshot", 30) == (b"0123456789", 10)
    with storage.reading("a.snapshot") as stream:
        assert stream.read(3) == b"012"
        stream.seek(0)
        assert stream.read() == b"0123456789"
    storage.remove("a.snapshot")
    storage.remove("a.snapshot")
    assert storage.names() == []
    for use in (lambda: storage.tail("a.snapshot", 3), lambda: storage.reading("a.snapshot").__enter__()):
        with pytest.raises(FileNotFoundError):
            use()


def test_a_claim_has_one_holder_until_it_is_over(storage):
    assert storage.claim("x", 60)
    assert not storage.claim("x", 60)
    assert storage.claim("y", 60)
    storage.release("x")
    storage.release("x")
    assert storage.claim("x", -1)
    assert storage.claim("x", -1) or storage.claim("x", 60)
    assert storage.names() == []


def test_one_of_many_gets_a_claim(storage):
    start, got = threading.Barrier(8), []

    def claim() -> None:
        start.wait()
        got.append(storage.claim("x", 60))

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == [False] * 7 + [True]


# -- memory ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_hundred_thousand_records_are_never_held_at_once(tmp_path):
    """Held as values they take more than a hundred megabytes."""
    with Child("measured", {"folder": str(tmp_path), "number": 100_000}) as child:
        said = child.hear()
        child.rest()
    assert (said["keys"], said["same"]) == (100_000, 10_000)
    assert said["sizes"][-1] - said["sizes"][0] < 25 * 1024
