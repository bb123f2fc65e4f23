"""The benchmarks run, and say what they have measured. How fast anything is, is no matter for a test."""

from __future__ import annotations

import configparser
import importlib.util
import json
import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import psycopg
import pytest
from flask import Flask, appcontext_pushed
from msgspec.structs import replace
from werkzeug.test import Client

from benchmarks import admin, extension, scale, threads
from benchmarks.__main__ import SAVED, main, save
from benchmarks.bulk import PLAIN, RULED, TYPES, Many
from benchmarks.children import Child, ChildFailed, ChildMissing
from benchmarks.circumstances import processor, versions
from benchmarks.clients import Asked, Connections, client
from benchmarks.extension import Extension
from benchmarks.figures import COST, FIGURES, OWN, SPEED, Figure, table
from benchmarks.ground import Choice, Ground, Store
from benchmarks.imports import REQUIRED
from benchmarks.peers.host import Host
from benchmarks.peers.orm import NAMES, Accounts
from benchmarks.report import FOOTNOTE, document, figures_table, results_table
from benchmarks.rounds import Batch, Contestant, measure, timed
from benchmarks.served import served
from benchmarks.suites import growing
from benchmarks.web import MOVES, WAYS, fill
from benchmarks.work import (
    AMONG,
    DRIVER,
    EXTENSION,
    FLOW_TURN,
    FLOW_TURN_LINKED,
    GET,
    HISTORY,
    KV_GET,
    KV_KEYS,
    KV_STATS,
    KV_SWAP,
    KV_UPDATE,
    PLAIN_READ,
    REGISTER,
    RESTORE,
    SEARCH,
    SEEN,
    SNAPSHOT,
    STORE_GET,
    STORE_SET,
    UPDATE,
)
from flask_statemanager.admin.mounting import GROUPS


@pytest.fixture
def measured() -> ModuleType:
    """The module that makes the page of the results, which lies beside the docs and not in the package."""
    path = SAVED.parents[1] / "docs" / "_ext" / "measured.py"
    spec = importlib.util.spec_from_file_location("measured", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def works(_stack: ExitStack, wish: str) -> dict[str, Batch]:
    """Speak for another package, in a process of its own."""
    if wish == "missing":
        raise ModuleNotFoundError("No module named 'absent'")
    if wish == "broken":
        raise ValueError("broken on purpose")
    return {"count": lambda numbers: float(len(numbers)), "fail": lambda _numbers: 1 / 0}


def test_a_quick_run_measures_driver_and_extension_and_prints_both_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "found.json"
    main(["writes", "reads", "--stores", "sqlite", "--no-peers", "--quick", "--json", str(path)])
    found = json.loads(path.read_text())
    ways = {(each["work"], each["way"]): each for each in found["results"]}
    assert set(ways) == {
        (work, way) for work in (UPDATE, REGISTER, GET, SEARCH, HISTORY) for way in (DRIVER, EXTENSION)
    }
    assert all(0 < each["lowest"] <= each["median"] <= each["highest"] for each in ways.values())
    assert [row["work"] for row in found["figures"]] == [UPDATE, REGISTER, GET]
    (run,) = found["runs"]
    assert {"Python", "SQLite", "Flask-StateManager"} <= set(run["versions"])
    assert "PostgreSQL" not in run["versions"], "nobody has asked for it"
    assert run["machine"]["cores"] == os.cpu_count()
    assert len(run["load"]) == 2
    assert run["minutes"] >= 0
    assert {each["run"] for each in found["results"]} == {0}
    printed = capsys.readouterr().out
    assert "| SQLite, WAL, NORMAL | update_state | bare driver |" in printed
    assert "cost at most 2" in printed


def test_a_quick_run_measures_keys_beside_the_bare_driver_and_among_more_of_them(tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    main(["kv", "keys", "--stores", "redis,sqlite", "--quick", "--json", str(path)])
    found = json.loads(path.read_text())
    ways = {(each["work"], each["way"]) for each in found["results"] if each["store"] == "Redis"}
    assert ways == {
        *((work, way) for work in (KV_GET, KV_SWAP, KV_UPDATE) for way in (DRIVER, EXTENSION)),
        *((work, way) for work in (KV_KEYS, KV_STATS) for way in ("1,000 keys", "2,000 keys")),
    }
    assert len(found["results"]) == 2 * len(ways)
    assert [row["work"] for row in found["figures"]] == [KV_GET, KV_SWAP]


def test_a_quick_run_measures_stores(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    main(["stores", "--stores", "redis,sqlite", "--quick", "--no-peers", "--json", str(path)])
    found = {(each["store"], each["work"]) for each in json.loads(path.read_text())["results"]}
    assert {work for _store, work in found} == {f"{STORE_GET}, 1 KB", f"{STORE_SET}, 1 KB"}
    assert len(found) == 4


def test_a_quick_run_measures_snapshots_beside_a_plain_read(tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    main(["snapshots", "--stores", "sqlite", "--quick", "--json", str(path)])
    found = json.loads(path.read_text())
    ways = [(each["work"], each["way"]) for each in found["results"]]
    assert ways == [(work, way) for work in (SNAPSHOT, RESTORE) for way in (PLAIN_READ, EXTENSION)]
    assert [row["work"] for row in found["figures"]] == [SNAPSHOT, RESTORE]


def test_an_unknown_name_is_refused_before_anything_runs(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["writes", "flights"])
    assert "flights is not known" in capsys.readouterr().err


def test_a_quick_run_is_not_saved_for_the_docs(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["admin", "--quick", "--save"])
    assert "save one without --quick" in capsys.readouterr().err


def test_contestants_take_turns_and_the_first_round_does_not_count() -> None:
    order: list[str] = []

    def taking(name: str) -> Batch:
        def batch(numbers: range) -> float:
            order.append(name)
            return 3e-6 * len(numbers)

        return batch

    one, two = (Contestant("here", "work", name, taking(name), pieces=3) for name in ("one", "two"))
    measure([one, two], rounds=3, runs=10)
    assert order == ["two", "one", "one", "two", "two", "one", "one", "two"]
    assert one.times == pytest.approx([1.0] * 3)


def test_an_operation_gets_each_number_once_inside_its_context() -> None:
    seen: list[int] = []
    entered = ExitStack()
    entered.callback(seen.append, -1)
    assert timed(seen.append, lambda: entered)(range(3)) > 0
    assert seen == [0, 1, 2, -1]


@pytest.mark.parametrize(
    ("sign", "bound", "measured", "reached"),
    [(COST, 2, "1.50", True), (COST, 1.4, "1.50", False), (SPEED, 0.6, "0.67", True), (SPEED, 0.7, "0.67", False),
     (OWN, 4, "3 µs", True), (OWN, 2, "3 µs", False)],
)  # fmt: skip
def test_a_figure_is_reached_or_not(sign: str, bound: float, measured: str, reached: bool) -> None:
    results = [
        {"store": "s", "work": "w", "way": way, "unit": "µs", "median": median, "unsteady": False}
        for way, median in ((EXTENSION, 3.0), (DRIVER, 2.0))
    ]
    known = {(str(each["store"]), str(each["work"]), str(each["way"])): each for each in results}
    row = Figure("s", "w", DRIVER, sign, bound).row(known)
    assert row is not None
    assert (row["measured"], row["reached"]) == (measured, reached)


def test_a_figure_of_what_was_not_measured_is_left_out() -> None:
    assert table([]) == []


def test_a_process_does_a_batch_and_tells_of_its_failure() -> None:
    child = Child(__name__, "well")
    try:
        assert child.works == ["count", "fail"]
        assert child.batch("count")(range(7)) == 7
        with pytest.raises(ChildFailed, match="ZeroDivisionError"):
            child.batch("fail")(range(1))
        assert child.batch("count")(range(2)) == 2
    finally:
        child.close()


def test_a_package_that_is_not_installed_is_told_from_one_that_fails() -> None:
    with pytest.raises(ChildMissing, match="absent"):
        Child(__name__, "missing")
    with pytest.raises(ChildFailed, match="broken on purpose") as failed:
        Child(__name__, "broken")
    assert not isinstance(failed.value, ChildMissing)


def test_nothing_is_started_for_a_store_that_is_not_asked_for() -> None:
    with ExitStack() as stack:
        ground = Ground(Choice(stores=frozenset(["sqlite"])), stack)
        assert [store.short for store in ground.stores(("sqlite", "postgresql"))] == ["sqlite"]


def test_the_saved_results_have_every_figure_and_the_page_is_made_of_them() -> None:
    saved = json.loads(SAVED.read_text(encoding="utf-8"))
    assert saved["figures"] == table(saved["results"])
    assert len(saved["figures"]) == len(FIGURES)
    page = (SAVED.parents[1] / "docs" / "benchmarks.rst").read_text("utf-8")
    for part in ("figures", "results", "circumstances"):
        assert f".. generated:: measured_{part}\n" in page


# -- what it was measured on -------------------------------------------------------------------------------------------


def _result(suite: str, store: str, run: int = 0, highest: float = 2.0, way: str = DRIVER) -> dict[str, Any]:
    contestant = Contestant(store, UPDATE, way, lambda _numbers: 0.0, times=[1.0, 1.0, highest])
    return {"suite": suite, "run": run, **contestant.result()}


def _run(name: str) -> dict[str, Any]:
    return {"machine": name, "versions": {}, "load": [0.1, 0.2], "minutes": 1.0}


def test_a_partial_save_leaves_to_each_suite_what_it_was_measured_on(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    everything = [_result("writes", "a"), _result("writes", "b"), _result("reads", "a"), _result("gone", "a")]
    path.write_text(json.dumps(document(everything, [_run("old")])), encoding="utf-8")
    save(document([_result("reads", "a")], [_run("other")]), path)
    save(document([_result("writes", "b", highest=1.5)], [_run("new")]), path)
    saved = json.loads(path.read_text(encoding="utf-8"))
    named = {(each["suite"], each["store"]): saved["runs"][each["run"]]["machine"] for each in saved["results"]}
    assert named == {("writes", "a"): "old", ("writes", "b"): "new", ("reads", "a"): "other"}
    save(document([_result("writes", "a")], [_run("new")]), path)
    assert [run["machine"] for run in json.loads(path.read_text(encoding="utf-8"))["runs"]] == ["other", "new", "new"]


def test_the_page_says_of_each_suite_what_it_was_measured_on(measured: ModuleType, tmp_path: Path) -> None:
    machine = {"cores": 2, "system": "Linux", "processor": "a processor"}
    old, new = ({**_run("x"), "machine": machine, "versions": {"PostgreSQL": version}} for version in ("15", "16"))
    measured.SAVED = tmp_path / "results.json"
    found = [_result("writes", "a"), _result("writes", "b", 1), _result("reads", "a")]
    measured.SAVED.write_text(json.dumps(document(found, [old, new])))
    first, second = filter(None, measured.measured_circumstances().splitlines())
    assert first.startswith("writes on a; reads: 2 cores, Linux on a processor; PostgreSQL 15; load average 0.1 at the")
    assert second.startswith("writes on b: 2 cores, Linux on a processor; PostgreSQL 16; load average 0.1 at the")
    measured.SAVED.write_text(json.dumps(document(found[:1], [old])))
    assert measured.measured_circumstances().startswith("2 cores, ")


def test_rounds_that_differ_by_more_than_twice_are_marked_in_every_table(measured: ModuleType, tmp_path: Path) -> None:
    figure = next(each for each in FIGURES if (each.work, each.against) == (UPDATE, DRIVER))
    for highest, marked in ((2.0, False), (2.01, True)):
        found = [_result("writes", figure.store, highest=highest), _result("writes", figure.store, way=EXTENSION)]
        measured.SAVED = tmp_path / "results.json"
        measured.SAVED.write_text(json.dumps(document(found, [_run("x")])))
        tables = [results_table(found), measured.measured_results(), figures_table(found), measured.measured_figures()]
        # Once for the contestant, or for the figure that it is part of, and once in the footnote.
        assert [each.count("†") for each in tables] == [2 * marked] * 4
        assert [FOOTNOTE in each for each in tables] == [marked] * 4


def test_the_processor_has_a_name_where_the_system_tells_it(tmp_path: Path) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text("processor\t: 0\nmodel name\t: A Processor @ 2.0 GHz\nmodel name\t: A Processor @ 2.0 GHz\n")
    assert processor(path) == "A Processor @ 2.0 GHz"
    path.write_text("processor\t: 0\n")
    assert processor(path) == processor(tmp_path / "absent") != ""


def test_servers_are_asked_for_their_versions_and_packages_tell_theirs() -> None:
    with ExitStack() as stack:
        ground = Ground(Choice(), stack)
        assert list(ground.stores(["postgresql"]))
        assert ground.redis()
        found = versions(ground.versions)
    assert all(found[name].split(".")[0].isdigit() for name in ("PostgreSQL", "Redis"))
    assert {"alembic", "marshmallow", "msgspec"} <= set(found)
    assert found["psycopg"].endswith(f"({psycopg.pq.__impl__})")


# -- what is measured --------------------------------------------------------------------------------------------------


class Features(NamedTuple):
    """An extension whose callback and validator tell for which states they were called."""

    extension: Extension
    called: list[str]
    checked: list[str]


@pytest.fixture
def features(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Features]:
    called: list[str] = []
    checked: list[str] = []

    def valid(state: dict[str, Any]) -> bool:
        checked.append(state["state_id"])
        return True

    monkeypatch.setattr(extension, "_called", lambda state_id, *_: called.append(state_id))
    monkeypatch.setattr(extension, "_valid", valid)
    with ExitStack() as stack:
        store = Store("sqlite", "here", lambda: f"sqlite:///{tmp_path / 'states.db'}")
        yield Features(Extension(store, stack), called, checked)


def test_a_bulk_move_has_a_callback_and_a_validator_or_says_that_it_has_none(features: Features) -> None:
    ours = features.extension
    many = Many(ours, 2, 1)
    for name, (_guards, validated) in TYPES.items():
        features.called.clear()
        features.checked.clear()
        with ours.app.app_context():
            bulk, loop = many.move(name)
            bulk(0)
            loop(0)
        names = [f"{name}_bulk_0", f"{name}_bulk_1", f"{name}_loop_0"]
        assert sorted(features.called) == names
        assert sorted(features.checked) == names * validated
    unvalidated = [name for name, (_guards, validated) in TYPES.items() if not validated]
    assert unvalidated == ["plain", "ruled"]
    assert all("no validator" in work for work in (PLAIN, RULED))


def test_transitions_by_threads_have_a_callback_and_a_validator(features: Features) -> None:
    ours = features.extension
    with ours.app.app_context():
        lanes = threads.verbs(ours)
        for kind in threads.KINDS.values():
            lanes[kind][0](0)
            assert (features.called[-1], features.checked[-1]) == (f"{kind}_0_0", f"{kind}_0_0")


def test_a_write_that_expects_a_version_has_it_at_hand(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A Redis that answers late, on a machine that is busy with other tests, is no Redis that is away.
    monkeypatch.setattr("flask_statemanager.cache.client.TIMEOUT", 60.0)
    with ExitStack() as stack:
        ground = Ground(Choice(stores=frozenset(["postgresql"])), stack)
        (store,) = ground.stores(["postgresql"])
        # A lease that also holds on a machine that is busy with other tests.
        config = {**extension.NEAR_CACHE, "near_cache_lease": 60.0}
        ours = Extension(store, stack, cache_url=ground.redis(), **config).seen()
        batch = ours.expecting()
        with caplog.at_level(logging.DEBUG, "flask_statemanager.sql"):
            assert batch(range(3)) > 0
            assert batch(range(3, SEEN + 5)) > 0
    sent = [each.getMessage().split()[0] for each in caplog.records if each.name == "flask_statemanager.sql"]
    assert sent == ["WITH"] * (SEEN + 5)


def test_whatever_the_package_requires_is_imported_before_it_is_measured() -> None:
    setup = configparser.ConfigParser()
    setup.read(SAVED.parents[1] / "setup.cfg")
    required = [line.partition(">")[0].replace("-", "_") for line in setup["options"]["install_requires"].split()]
    imported = [name.strip().partition(".")[0] for name in REQUIRED.split(",")]
    assert imported == sorted(required)


def test_growth_is_measured_among_two_numbers_of_states(monkeypatch: pytest.MonkeyPatch) -> None:
    one = Contestant("here", GET, "10 states", lambda _numbers: 0.0)
    asked: list[tuple[int, ...]] = []

    def contestants(_store: Store, sizes: tuple[int, ...], _stack: ExitStack) -> list[Contestant]:
        asked.append(sizes)
        return [one]

    monkeypatch.setattr(scale, "contestants", contestants)
    with ExitStack() as stack:
        ground = Ground(Choice(quick=True), stack)
        (found,) = growing(ground, Store("sqlite", "here", str), stack)
    assert (found.work, found.way, len(asked[0])) == (f"{GET}{AMONG}", "10 states", 2)


def test_every_admin_page_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "QUICK", 40)
    assert {pages.entry.rule for pages in GROUPS} <= set(admin.PAGES.values())
    with ExitStack() as stack:
        store = Store("sqlite", "here", lambda: f"sqlite:///{tmp_path / 'stock.db'}")
        found = list(admin.contestants(Ground(Choice(quick=True), stack), store, stack))
        assert [each.way for each in found] == [EXTENSION] * (len(admin.PAGES) + 1)
        assert all(each.batch(range(1)) > 0 for each in found)
        with pytest.raises(RuntimeError, match="404"):
            admin.visits(admin.stocked(replace(store, fresh=lambda: "sqlite://"), 1, stack).test_client(), "/no")(
                range(1)
            )


ASKED = {asked.path: asked for _work, _way, asked in (*WAYS, *MOVES)}


@pytest.mark.parametrize("path", ASKED)
def test_every_view_is_answered_inside_one_context(path: str, redis_url: str, tmp_path: Path) -> None:
    asked = ASKED[path]
    urls = [f"sqlite:///{tmp_path / name}.db" for name in ("states", "rows")]
    store = Store("sqlite", "here", str)
    with ExitStack() as stack:
        fill(Extension(store, stack, url=urls[0]).seen())
        host = Host(stack, urls[1], store.durable)
        host.begin(NAMES, Accounts(host).keep)
    pushed: list[Flask] = []

    def remember(sender: Flask, **_sent: Any) -> None:
        pushed.append(sender)

    with ExitStack() as stack:
        client = Client(served("sqlite", *urls, redis_url, stack))
        with appcontext_pushed.connected_to(remember):
            answer = client.open(
                path.replace("{}", "1"), method=asked.method, data=asked.text, headers=asked.all_headers
            )
    assert answer.status_code == 200
    assert b"hello" in answer.data or b"ada@example.com" in answer.data
    assert len(pushed) == 1


class Answering(BaseHTTPRequestHandler):
    """Answers 201 to what is asked for rightly, and 409 to anything else."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        number = self.path.removeprefix("/move/").removesuffix("/on")
        rightly = number.isdigit() and int(number) < SEEN and (body, self.headers["X-Who"]) == (b'{"by": 1}', "me")
        self.send_response(201 if rightly else 409)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_arguments: object) -> None:
        """Keep quiet."""


@pytest.fixture
def answering() -> Iterator[int]:
    """The port of a server that answers."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


MOVE = Asked("/move/{}/on", "POST", {"by": 1}, {"X-Who": "me"})


def test_connections_ask_as_they_are_told(answering: int) -> None:
    with ExitStack() as stack:
        connections = Connections(answering, stack)
        assert connections.batch(MOVE)(range(70)) > 0
        with pytest.raises(AssertionError, match="409"):
            connections.batch(Asked("/move", "POST", {}))(range(1))


def test_wrk_asks_as_it_is_told(answering: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "wrk"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nopen({str(tmp_path / 'asked')!r}, 'w').write(chr(10).join(sys.argv[1:]))\n"
        "print('  1000 requests in 1.00s, 1MB read')\n"
        f"print(open({str(tmp_path / 'more')!r}).read())\nprint('Requests/sec:   2000.00')\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "more").write_text("  Non-2xx or 3xx responses: 10")
    with ExitStack() as stack:
        run = client(answering, stack).batch(MOVE)
        assert run(range(4000)) == 2.0
        words = (tmp_path / "asked").read_text().splitlines()
        assert words[2] == "-d4s"
        script = Path(words[words.index("-s") + 1]).read_text()
        assert '"/move/" .. (number % 64) .. "/on"' in script
        assert 'wrk.headers["X-Who"] = "me"' in script
        for wrong in ("  Non-2xx or 3xx responses: 11", "  Socket errors: connect 0, read 1, write 0, timeout 0"):
            (tmp_path / "more").write_text(wrong)
            with pytest.raises(AssertionError):
                run(range(1))
    program.unlink()
    with ExitStack() as stack:
        assert isinstance(client(answering, stack), Connections)


def test_a_quick_run_measures_turns_of_conversations_beside_the_bare_driver(tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    main(["flows", "--stores", "redis,sqlite", "--quick", "--json", str(path)])
    found = json.loads(path.read_text())
    ways = [(each["work"], each["way"]) for each in found["results"]]
    assert ways == 2 * [(FLOW_TURN, DRIVER), (FLOW_TURN, EXTENSION), (FLOW_TURN_LINKED, EXTENSION)]
    assert [row["work"] for row in found["figures"]] == [FLOW_TURN]
