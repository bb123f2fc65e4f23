"""Snapshots behind URLs: S3 as a local server speaks it, and storages of fsspec's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from moto.server import ThreadedMotoServer

from flask_statemanager.backends.memory import MemoryBackend
from flask_statemanager.core.snapshots import Restored
from flask_statemanager.errors import ConfigurationError, SnapshotDamaged, SnapshotInUse, SnapshotNotFound, StorageError
from flask_statemanager.integrations import storage_at
from flask_statemanager.integrations.snapshots import UrlStorage
from flask_statemanager.snapshots.automatic import AutoSnapshots
from flask_statemanager.snapshots.directory import DirectoryStorage
from tests.archives import Kept


@pytest.fixture(scope="module")
def s3_server() -> Iterator[str]:
    """A server that speaks S3, on a free port of this machine."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(params=["s3", "memory", "file"])
def urls(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kept:
    """A store in memory, whose snapshots lie behind a URL."""
    options: dict[str, Any] = {"skip_instance_cache": True}
    if request.param == "s3":
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        options["endpoint_url"] = request.getfixturevalue("s3_server")
        fsspec.filesystem("s3", **options).mkdir(tmp_path.name.replace("_", "-"))
        url = f"s3://{tmp_path.name.replace('_', '-')}/some/snapshots"
    else:
        url = {"memory": f"memory://{tmp_path.name}", "file": f"file://{tmp_path}/snapshots"}[request.param]
    return Kept(MemoryBackend(), UrlStorage(url, **options))


def test_snapshots_are_made_listed_checked_restored_and_removed(urls):
    for number in range(300):
        urls.set(f"n{number}", {"number": number, "text": "x" * number})
    made = urls.archive.create_snapshot()
    urls.set("n1", "changed")
    delta = urls.archive.create_snapshot(incremental=True)
    assert delta.base == made.id
    assert made.location == f"{urls.storage.location}/{made.id}.snapshot"
    fresh = Kept(urls.backend, urls.storage)
    assert fresh.archive.list_snapshots() == [made, delta]
    assert fresh.archive.verify_snapshot(delta.id) == delta
    urls.set("n2", "changed")
    assert fresh.archive.restore_snapshot(delta.id) == Restored(changed=1, same=299)
    with pytest.raises(SnapshotInUse):
        fresh.archive.delete_snapshot(made)
    fresh.archive.delete_snapshot(delta)
    fresh.archive.delete_snapshot(made)
    assert fresh.archive.list_snapshots() == []
    for use in (fresh.archive.get_snapshot, fresh.archive.restore_snapshot, fresh.archive.delete_snapshot):
        with pytest.raises(SnapshotNotFound):
            use(made.id)


def test_what_fails_in_the_middle_is_not_there(urls):
    def fail() -> None:
        with urls.storage.writing("a.snapshot") as stream:
            stream.write(b"x" * 100)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert urls.storage.names() == []


def test_a_flipped_bit_is_found(urls):
    urls.set("a", 1)
    made = urls.archive.create_snapshot()
    name = f"{made.id}.snapshot"
    with urls.storage.reading(name) as stream:
        data = bytearray(stream.read())
    data[len(data) // 2] ^= 1
    urls.storage.remove(name)
    with urls.storage.writing(name) as stream:
        stream.write(bytes(data))
    with pytest.raises(SnapshotDamaged):
        urls.archive.restore_snapshot(made.id)


def test_a_line_is_read_up_to_its_end_or_a_number_of_bytes(urls):
    with urls.storage.writing("lines") as stream:
        stream.write(b"first\n" + b"x" * 200_000 + b"\nlast")
    with urls.storage.reading("lines") as stream:
        assert stream.readline(100) == b"first\n"
        assert stream.readline(10) == b"x" * 10
        assert stream.readline(10**6) == b"x" * (200_000 - 10) + b"\n"
        assert stream.readline(100) == b"last"
        assert stream.readline(100) == b""
        stream.seek(0)
        assert stream.readline() == b"first\n"


def test_a_claim_has_one_holder(urls):
    assert urls.storage.claim("x", 60)
    assert not urls.storage.claim("x", 60)
    assert urls.storage.names() == []
    urls.storage.release("x")
    assert urls.storage.claim("x", -1)
    assert urls.storage.claim("x", 60)


def test_automatic_snapshots_work_there_too(urls):
    auto = AutoSnapshots(urls.archive, interval=300, most=3, full_every=2)
    for step in range(6):
        urls.set("a", step)
        auto.run()
        urls.clock.advance(300)
    found = urls.archive.list_snapshots()
    assert len(found) <= 3
    assert urls.archive.restore_snapshot(found[-1]) == Restored(same=1)


def test_a_server_that_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    options = {"retries": {"max_attempts": 0}, "connect_timeout": 1}
    storage = UrlStorage("s3://nowhere/x", endpoint_url="http://127.0.0.1:9", config_kwargs=options)
    with pytest.raises(StorageError, match="s3://nowhere/x cannot be"):
        Kept(MemoryBackend(), storage).archive.create_snapshot()


def test_an_unusable_url_is_a_configuration_error():
    with pytest.raises(ConfigurationError, match="STATEMANAGER_SNAPSHOTS='nonsense://x' is unusable"):
        UrlStorage("nonsense://x")


def test_the_setting_names_a_directory_or_a_url(tmp_path):
    assert storage_at(None, str(tmp_path)).location == str(tmp_path / "snapshots")
    assert storage_at("backups", str(tmp_path)).location == str(tmp_path / "backups")
    assert storage_at("/var/backups", str(tmp_path)).location == "/var/backups"
    assert isinstance(storage_at("memory://backups", str(tmp_path)), UrlStorage)
    assert isinstance(storage_at("C:backups", str(tmp_path)), DirectoryStorage)
