"""The admin pages of snapshots, and of the long work that makes them and restores from them."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from flask_statemanager import StateConflict, StorageUnavailable
from flask_statemanager.admin import longwork
from flask_statemanager.admin.longwork import Outcome, Task, Works
from flask_statemanager.admin.progress import FAILED, LOST, RUNNING, Report
from flask_statemanager.web.problems import Problem
from tests.admin_client import ADMIN, PREFIX, Operator, text_of, with_logins
from tests.worlds import World, build, entered, kept_by, uri_for

PATIENCE = 60.0
KINDS = ("memory", "memory-sqlite", "sqlite", "postgresql", "redis")


class Shop:
    """An application with admin pages, some states, and some keys.

    :param world: the application.
    :param folder: where its snapshots are.
    """

    def __init__(self, world: World, folder: Path) -> None:
        self.world, self.states, self.folder = world, world.states, folder
        for number in range(3):
            self.states.register_state(f"u{number}", "user", {"n": number})
        self.states.kv.set("price", 10)
        self.ada = Operator(world)

    @property
    def archive(self) -> Any:
        return self.world.runtime.snapshots

    def made(self, **fields: Any) -> str:
        """Make a snapshot on the page, and return its id."""
        answer = self.ada.post("/snapshots", {"buckets": ["kv", "state"], **fields}, at="/snapshots")
        assert answer.status_code == 303, text_of(answer)
        return str(answer.headers["Location"]).rpartition("/")[2]

    def tried(self, id_: str, mode: str = "replace") -> str:
        """Try a restore out, and return the path of the page that shows what it would change."""
        answer = self.ada.post(f"/snapshots/{id_}/rehearse", {"mode": mode}, at=f"/snapshots/{id_}")
        assert answer.status_code == 303, text_of(answer)
        return str(answer.headers["Location"]).removeprefix("/admin/state")

    def restore(self, id_: str, page: str, **fields: Any) -> Any:
        """Send the form that restores."""
        return self.ada.post(f"/snapshots/{id_}/restore?{page.partition('?')[2]}", fields, at=page)


def a_world(kind: str, request: pytest.FixtureRequest, folder: Path) -> World:
    config = kept_by(request.getfixturevalue("redis_url")) if kind == "redis" else {}
    uri = "sqlite://" if kind == "memory-sqlite" else uri_for(kind, folder, request)
    return with_logins(build(kind, uri, **ADMIN, **config, STATEMANAGER_SNAPSHOTS=str(folder / "snapshots")))


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow machine makes no difference: what is short is waited for."""
    monkeypatch.setattr(longwork, "PATIENCE", PATIENCE)


@pytest.fixture(params=KINDS)
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    """Some states and keys on each store."""
    for ready in entered(a_world(request.param, request, tmp_path)):
        yield Shop(ready, tmp_path)


@pytest.fixture
def memory(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    """The same in memory, for what is the same on every store."""
    for ready in entered(a_world("memory", request, tmp_path)):
        yield Shop(ready, tmp_path)


# -- snapshots ---------------------------------------------------------------------------------------------------------


def test_a_snapshot_is_made_listed_shown_and_checked(shop: Shop) -> None:
    id_ = shop.made()
    assert [each.id for each in shop.archive.list_snapshots()] == [id_]
    assert id_.rpartition("-")[2] in text_of(shop.ada.get("/snapshots"))
    words = text_of(shop.ada.get(f"/snapshots/{id_}"))
    assert f"Id {id_}" in words
    assert "Buckets kv, state Records 4" in words
    checked = shop.ada.post(f"/snapshots/{id_}/verify", at=f"/snapshots/{id_}")
    assert "is what was written" in text_of(shop.ada.follow(checked))


def test_a_restore_is_tried_out_and_done_once_the_name_is_typed(shop: Shop) -> None:
    id_ = shop.made()
    shop.states.update_state("u0", {"n": 7})
    shop.states.delete_state("u1")
    shop.states.register_state("new", "user")
    shop.states.kv.set("price", 99)
    page = shop.tried(id_)
    words = text_of(shop.ada.get(page))
    assert "Would be created 1 Would be changed 2 Would be removed 1 Would stay the same 1" in words
    assert "Created: 1 state:u1 Changed: 2" in words
    assert "Removed: 1 state:new" in words
    assert shop.states.kv.get("price") == 99
    for typed in ("", "yes", id_[:-1]):
        refused = shop.restore(id_, page, name=typed)
        assert refused.status_code == 422
        assert "to restore this snapshot" in text_of(refused)
    assert shop.states.kv.get("price") == 99
    done = shop.restore(id_, page, name=id_.rpartition("-")[2], reason="wrong price")
    words = text_of(shop.ada.follow(done))
    assert "is restored. 1 created, 2 changed, 1 left as they are, 1 removed." in words
    assert shop.states.kv.get("price") == 10
    assert shop.states.get_state("new") is None
    entry = shop.states.get_state_history("u0")[-1]
    assert (entry.actor, entry.source, entry.reason) == ("ada", "admin", "wrong price")


def test_a_restore_that_merges_removes_nothing(shop: Shop) -> None:
    id_ = shop.made()
    shop.states.register_state("new", "user")
    page = shop.tried(id_, "merge")
    words = text_of(shop.ada.get(page))
    assert "Nothing: everything is as it was" in words
    shop.restore(id_, page, name=id_)
    assert shop.states.get_state("new") is not None


def test_how_far_work_is_is_not_taken_back_by_a_restore(shop: Shop) -> None:
    """Nor is it in the snapshot."""
    id_ = shop.made()
    page = shop.tried(id_)
    shop.restore(id_, page, name=id_)
    words = text_of(shop.ada.get("/work"))
    assert "Restore the snapshot" in words
    assert "Try out a restore" in words
    assert "admin-work" not in text_of(shop.ada.get("/snapshots"))


def test_nothing_is_restored_that_was_not_tried_out(memory: Shop) -> None:
    one, other = memory.made(), memory.made(prefix="u")
    page = memory.tried(one)
    for path in (f"/snapshots/{one}/restore", f"/snapshots/{one}/restore?work=nothing"):
        assert (memory.ada.get(path).status_code, "tried out first" in text_of(memory.ada.get(path))) == (409, True)
    refused = memory.ada.post(f"/snapshots/{other}/restore?{page.partition('?')[2]}", {"name": other}, at=page)
    assert (refused.status_code, "tried out first" in text_of(refused)) == (409, True)


def test_a_mode_that_there_is_not_is_refused(memory: Shop) -> None:
    id_ = memory.made()
    refused = memory.ada.post(f"/snapshots/{id_}/rehearse", {"mode": "overwrite"}, at=f"/snapshots/{id_}")
    assert refused.status_code == 422


def test_no_bucket_and_a_bucket_that_there_is_not_are_refused(memory: Shop) -> None:
    for buckets in ([], ["nothing"], ["flows"]):
        refused = memory.ada.post("/snapshots", {"buckets": buckets, "prefix": "<b>"}, at="/snapshots")
        assert refused.status_code == 422
        assert 'value="&lt;b&gt;"' in refused.text
    assert memory.archive.list_snapshots() == []


def test_what_stands_on_a_snapshot_keeps_it(memory: Shop) -> None:
    full = memory.made()
    memory.states.kv.set("price", 11)
    delta = memory.made(incremental="yes")
    assert f"Carries {delta.rpartition('-')[2]}" in text_of(memory.ada.get(f"/snapshots/{full}"))
    assert f"Stands on {full.rpartition('-')[2]}" in text_of(memory.ada.get(f"/snapshots/{delta}"))
    confirmed = {"confirmed": "yes"}
    refused = memory.ada.post(f"/snapshots/{full}/delete", confirmed, at=f"/snapshots/{full}")
    assert refused.status_code == 409
    asked = memory.ada.post(f"/snapshots/{delta}/delete", at=f"/snapshots/{delta}")
    assert "for good?" in text_of(asked)
    for id_ in (delta, full):
        done = memory.ada.post(f"/snapshots/{id_}/delete", confirmed, at=f"/snapshots/{id_}")
        assert f"{id_} is removed" in text_of(memory.ada.follow(done))
    assert "There are no snapshots yet" in text_of(memory.ada.get("/snapshots"))


def test_many_snapshots_come_in_pages(memory: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flask_statemanager.admin.snapshots.PAGE", 2)
    ids = [memory.archive.create_snapshot().id for _ in range(3)]
    first = memory.ada.get("/snapshots")
    assert re.findall(r'title="([0-9a-f-]{36})"', first.text) == ids[:0:-1]
    assert f"after={ids[1]}" in first.text
    assert re.findall(r'title="([0-9a-f-]{36})"', memory.ada.get(f"/snapshots?after={ids[1]}").text) == ids[:1]


def test_a_damaged_snapshot_is_a_sentence(memory: Shop) -> None:
    id_ = memory.made()
    page = memory.tried(id_)
    file = memory.folder / "snapshots" / f"{id_}.snapshot"
    whole = file.read_bytes()
    file.write_bytes(whole[:200] + bytes([whole[200] ^ 1]) + whole[201:])
    for path, fields in ((f"/snapshots/{id_}/verify", {}), (f"/snapshots/{id_}/rehearse", {"mode": "replace"})):
        answer = memory.ada.post(path, fields, at=f"/snapshots/{id_}")
        assert answer.status_code == 409, text_of(answer)
    assert memory.restore(id_, page, name=id_).status_code == 409
    assert "failed" in text_of(memory.ada.get("/work"))


def test_a_snapshot_whose_base_is_gone_says_so(memory: Shop) -> None:
    full = memory.made()
    memory.states.kv.set("price", 11)
    delta = memory.made(incremental="yes")
    (memory.folder / "snapshots" / f"{full}.snapshot").unlink()
    answer = memory.ada.get(f"/snapshots/{delta}")
    assert answer.status_code == 200
    assert full in text_of(answer)


@pytest.mark.parametrize(
    ("id_", "status"), [("01980f2e-8c1b-7d3a-9b55-2f6f0e6a1c11", 404), ("..%2Fetc", 404), ("x", 422)]
)
def test_a_snapshot_that_is_not_there_is_not_found(memory: Shop, id_: str, status: int) -> None:
    assert memory.ada.get(f"/snapshots/{id_}").status_code == status


def test_a_store_that_can_make_no_snapshots_is_said_to_be_one(memory: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    class Plain:
        """A store without the power."""

        title = identity = "plain"

    monkeypatch.setattr(memory.archive.stores, "_find", lambda: {"state": Plain()})
    answer = memory.ada.get("/snapshots")
    assert answer.status_code == 200
    assert "plain" in text_of(answer)
    assert 'name="buckets"' not in answer.text


def test_nobody_restores_without_the_permission(memory: Shop) -> None:
    id_ = memory.made()
    ben = Operator(memory.world, "ben", ("clerk",))
    token = memory.ada.token(f"/snapshots/{id_}")
    for path in ("/snapshots", f"/snapshots/{id_}", f"/snapshots/{id_}/restore", "/work"):
        assert ben.get(path).status_code == 403
    for act in ("", f"/{id_}/verify", f"/{id_}/rehearse", f"/{id_}/restore", f"/{id_}/delete"):
        fields = {"confirmed": "yes", "name": id_, "admin_token": token}
        assert ben.client.post(f"/admin/state/snapshots{act}", data=fields).status_code == 403
    assert len(memory.archive.list_snapshots()) == 1


# -- long work ---------------------------------------------------------------------------------------------------------


class Slow:
    """Work that goes on until it is let go."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.begun, self.let_go = threading.Event(), threading.Event()
        self.error = error

    def __call__(self, report: Report) -> Outcome:
        report(25, 100)
        self.begun.set()
        assert self.let_go.wait(PATIENCE)
        report(100, 100)
        if self.error is not None:
            raise self.error
        return Outcome("All is done.", "snapshots", details={"n": 1})


def until(holds: Callable[[], object]) -> None:
    """Wait for a condition."""
    waiting = threading.Event()
    for _ in range(600):
        if holds():
            return
        waiting.wait(0.1)
    raise AssertionError("it did not come to pass")


def works_in(shop: Shop) -> Works:
    """The long work of another process of the same application."""
    return Works(shop.world.runtime)


@pytest.fixture
def file_shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    """States in a file, which several processes can have."""
    for ready in entered(a_world("sqlite", request, tmp_path)):
        yield Shop(ready, tmp_path)


def test_long_work_goes_on_behind_the_request_and_every_process_sees_how_far_it_is(
    file_shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(longwork, "BEAT", 0.02)
    here, there, slow = works_in(file_shop), works_in(file_shop), Slow()
    work = here.begin(Task("Count <all>", slow, unit="sheep"), actor="ada", reason="to sleep", patience=0.0)
    assert work.state == RUNNING
    assert slow.begun.wait(PATIENCE)
    until(lambda: (there.look(work.id) or work).done == 25)
    seen = there.look(work.id)
    assert seen is not None
    assert (seen.title, seen.actor, seen.reason, seen.total, seen.share) == (
        "Count <all>",
        "ada",
        "to sleep",
        100,
        0.25,
    )
    answer = file_shop.ada.get(f"/work/{work.id}")
    assert '<noscript><meta http-equiv="refresh"' in answer.text
    assert "25 of 100 sheep, 25.0 %" in text_of(answer)
    assert "&lt;all&gt;" in answer.text
    slow.let_go.set()
    here.close()
    ended = there.look(work.id)
    assert ended is not None
    assert (ended.state, ended.sentence, ended.details) == ("done", "All is done.", {"n": 1})
    answer = file_shop.ada.get(f"/work/{work.id}")
    assert "http-equiv" not in answer.text
    assert "All is done. Go on" in text_of(answer)


def test_work_whose_process_has_died_is_lost_and_says_so(memory: Shop) -> None:
    works, slow = works_in(memory), Slow()
    task = Task("Count", slow, "counting", page="state", arguments={"state_id": "u1"})
    work = works.begin(task, actor="ada", patience=0.0)
    other = works_in(memory)
    assert other.look(work.id).state == RUNNING  # type: ignore[union-attr]
    memory.world.clock.advance(longwork.SILENCE + 1)
    assert other.look(work.id).state == LOST  # type: ignore[union-attr]
    page = memory.ada.get(f"/work/{work.id}")
    assert "Nothing was heard of it for more than 30 seconds" in text_of(page)
    assert f'href="{PREFIX}/states/u1">Go where it was begun' in page.text
    assert "Count lost" in text_of(memory.ada.get("/work"))
    # Its lease has ended too, so that another may begin.
    again = Slow()
    again.let_go.set()
    assert other.begin(Task("Count", again, "counting"), actor="ben").state == "done"
    slow.let_go.set()
    works.close()


def test_of_work_that_must_be_alone_a_second_is_refused_in_every_process(memory: Shop) -> None:
    here, there, slow = works_in(memory), works_in(memory), Slow()
    here.begin(Task("Restore all", slow, "snapshots"), actor="ada", patience=0.0)
    for works in (here, there):
        with pytest.raises(Problem, match="begun by ada: Restore all"):
            works.begin(Task("Restore", Slow(), "snapshots"), actor="ben")
    refused = memory.ada.post("/snapshots", {"buckets": ["kv"]}, at="/snapshots")
    assert (refused.status_code, "under way already" in text_of(refused)) == (409, True)
    slow.let_go.set()
    here.close()
    memory.made()


def test_a_process_does_only_so_much_at_once(memory: Shop) -> None:
    works, slow = works_in(memory), Slow()
    for _ in range(longwork.MOST):
        works.begin(Task("Count", slow), actor="ada", patience=0.0)
    with pytest.raises(Problem, match="4 long works are under way"):
        works.begin(Task("Count", slow, "counting"), actor="ada")
    slow.let_go.set()
    works.close()
    done = Slow()
    done.let_go.set()
    assert works.begin(Task("Count", done, "counting"), actor="ada").state == "done"


def test_an_error_ends_work_with_its_sentence(memory: Shop) -> None:
    works = works_in(memory)
    for error, raised, sentence in (
        (StateConflict("The thing", 1, 2), StateConflict, "The thing"),
        (RuntimeError("s3cret"), Problem, "An error of the program has ended it, which the log shows: RuntimeError."),
        (SystemExit(), Problem, "SystemExit"),
    ):
        slow = Slow(error)
        slow.let_go.set()
        with pytest.raises(raised, match=sentence):
            works.begin(Task("Count", slow, "counting"), actor="ada")
        (newest, *_) = works.recent()
        assert newest.state == FAILED
        assert sentence in newest.sentence
        assert "s3cret" not in newest.sentence
    assert "failed" in text_of(memory.ada.get(f"/work/{works.recent()[0].id}"))


def test_nothing_begins_where_it_cannot_be_written_down(memory: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    works, slow = works_in(memory), Slow()

    def gone(*_: Any, **__: Any) -> Any:
        raise StorageUnavailable("gone")

    monkeypatch.setattr(works._store, "set", gone)
    with pytest.raises(StorageUnavailable):
        works.begin(Task("Count", slow, "counting"), actor="ada")
    assert not slow.begun.is_set()
    monkeypatch.undo()
    slow.let_go.set()
    assert works.begin(Task("Count", slow, "counting"), actor="ada", patience=PATIENCE).state == "done"


def test_an_end_that_cannot_be_written_is_known_here(memory: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(longwork, "_TRIES", 1)
    works, slow = works_in(memory), Slow()
    work = works.begin(Task("Count", slow), actor="ada", patience=0.0)

    def gone(*_: Any, **__: Any) -> Any:
        raise StorageUnavailable("gone")

    monkeypatch.setattr(works._store, "set", gone)
    slow.let_go.set()
    works.close()
    assert works.look(work.id).state == "done"  # type: ignore[union-attr]
    assert works_in(memory).look(work.id).state == RUNNING  # type: ignore[union-attr]


def test_a_process_without_threads_says_so(memory: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    works = works_in(memory)

    def none(_self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", none)
        with pytest.raises(Problem, match="no thread to give"):
            works.begin(Task("Count", Slow(), "counting"), actor="ada")
    slow = Slow()
    slow.let_go.set()
    assert works.begin(Task("Count", slow, "counting"), actor="ada").state == "done"


def test_only_so_many_ends_are_kept_in_memory(memory: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(longwork, "LISTED", 2)
    works = works_in(memory)
    for _ in range(5):
        slow = Slow()
        slow.let_go.set()
        works.begin(Task("Count", slow), actor="ada")
    assert len(works._mine.get()) <= 3
    assert len(works.recent()) == 2


@pytest.mark.parametrize(("path", "status"), [("/work/nothing", 404), ("/work/%20", 422)])
def test_work_that_is_not_known_is_not_found(memory: Shop, path: str, status: int) -> None:
    assert memory.ada.get(path).status_code == status


def test_what_is_left_is_estimated_from_what_is_done(memory: Shop) -> None:
    work = works_in(memory)._new("x", Task("Count", Slow()), "ada", None)
    later = replace(work, heard_at="2026-01-01T12:00:30.000000Z").at(25, 100)
    assert (later.lasted, later.share, later.left) == (30.0, 0.25, 90.0)
    assert (work.share, work.left, work.at(0, 100).left) == (None, None, None)
