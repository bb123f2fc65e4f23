"""The commands on snapshots, and those that write and read lines: what they ask, what they say, in 80 columns."""

from __future__ import annotations

import inspect
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from flask import Flask
from marshmallow import Schema, fields

from flask_statemanager import StateManager
from flask_statemanager.cli import state
from flask_statemanager.core.query import ChangeQuery
from flask_statemanager.core.record import Key

Run = Callable[..., Result]

# Before click 8.2 the runner mixes standard error into the output unless it is told not to.
APART = {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}

APP = """
from flask import Flask
from marshmallow import Schema, fields
from flask_statemanager import StateManager

app = Flask("shop", instance_path={folder!r})
app.config["STATEMANAGER_DATABASE_URI"] = {uri!r}
StateManager(app)
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flask]:
    """An app with three keys and a user."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LOGNAME", "operator")
    StateManager.reset_instance()
    made = Flask("shop", instance_path=str(tmp_path))
    made.config["STATEMANAGER_DATABASE_URI"] = f"sqlite:///{tmp_path / 'states.db'}"
    manager = StateManager(made)
    manager.register_schema("user", Schema.from_dict({"email": fields.Email()}))
    with made.app_context():
        made.extensions["statemanager"].backend.create_tables()
        for name, value in (("a", 1), ("b:1", {"deep": [1, None]}), ("b:2", "ü\x1b[31m")):
            manager.kv.set(name, value)
        manager.register_state("user_1", "user", {"email": "a@example.com"})
    yield made
    made.extensions["statemanager"].close()
    StateManager.reset_instance()


@pytest.fixture
def run(shop: Flask) -> Run:
    """Run a command."""

    def run(*words: str, code: int = 0, stdin: str | bytes | None = None, wide: bool = False) -> Result:
        ended = shop.test_cli_runner(**APART).invoke(cli=state, args=list(words), input=stdin, prog_name="state")
        assert ended.exit_code == code, (ended.output, ended.exception)
        assert wide or max(map(len, ended.stdout.splitlines()), default=0) <= 80
        return ended

    return run


def made(run: Run, *words: str) -> dict[str, object]:
    """Make a snapshot and return what is said of it."""
    found: dict[str, object] = json.loads(run("snapshot", "create", "--json", *words, wide=True).stdout)
    return found


def value(shop: Flask, key: str) -> object:
    with shop.app_context():
        return StateManager().kv.get(key)


def change(shop: Flask) -> None:
    with shop.app_context():
        StateManager().kv.set("a", 2)
        StateManager().kv.remove("b:1")
        StateManager().kv.set("c", 3)


# -- snapshots ---------------------------------------------------------------------------------------------------------


def test_a_snapshot_is_made_and_listed(run: Run, shop: Flask) -> None:
    assert run("snapshot", "list").stdout == "No snapshots found.\n"
    said = run("snapshot", "create").stdout
    id_ = said.split(":")[0]
    assert said.startswith(f"{id_}: full, 4 keys, ")
    change(shop)
    assert run("snapshot", "create", "--incremental").stdout.endswith(f"\nIt stands on {id_}.\n")
    lines = run("snapshot", "list").stdout.splitlines()
    assert lines[0].split() == ["ID", "MADE", "(UTC)", "KIND", "KEYS", "BUCKETS"]
    assert lines[1].startswith(f"{id_}  20")
    assert lines[1].endswith("full      4  kv, state")
    assert lines[2].endswith("delta     2  kv, state")


def test_a_snapshot_of_a_part_says_of_which(run: Run) -> None:
    found = made(run, "--bucket", "kv", "--prefix", "b:")
    assert (found["kind"], found["base"], found["buckets"], found["prefix"], found["keys"]) == (
        "full",
        None,
        ["kv"],
        "b:",
        2,
    )
    listed = json.loads(run("snapshot", "list", "--json", wide=True).stdout)
    assert listed == {"items": [found]}
    assert "kv (b:...)" in run("snapshot", "list").stdout


def test_an_unknown_bucket_is_one_sentence(run: Run) -> None:
    assert run("snapshot", "create", "--bucket", "nowhere", code=1).stderr.startswith("Error: buckets: 'nowhere' is no")


def test_a_restore_asks_with_what_it_would_come_to(run: Run, shop: Flask) -> None:
    id_ = made(run)["id"]
    change(shop)
    ended = run("snapshot", "restore", str(id_), code=1, stdin="n\n")
    assert "1 key would be created, 1 changed, 2 left as they are, 1 removed. Restore" in ended.stderr
    assert value(shop, "a") == 2
    ended = run("snapshot", "restore", str(id_), "--reason", "wrong prices", stdin="y\n")
    assert ended.stdout == "1 key created, 1 changed, 2 left as they are, 1 removed.\n"
    assert (value(shop, "a"), value(shop, "c")) == (1, None)
    runtime = shop.extensions["statemanager"]
    with runtime.backend.reading() as unit:
        last = runtime.backend.changes(unit, ChangeQuery("kv", Key("kv", "a")))[-1]
    assert (last.event, last.actor, last.reason) == ("restore", "operator", "wrong prices")


def test_a_dry_run_asks_nothing_and_changes_nothing(run: Run, shop: Flask) -> None:
    id_ = str(made(run)["id"])
    change(shop)
    assert run("snapshot", "restore", id_, "--dry-run", "--mode", "merge").stdout == (
        "1 key would be created, 1 changed, 2 left as they are, 0 removed.\n"
    )
    said = json.loads(run("snapshot", "restore", id_, "--dry-run", "--json").stdout)
    assert said == {"dry_run": True, "created": 1, "changed": 1, "same": 2, "removed": 1}
    assert value(shop, "a") == 2
    said = json.loads(run("snapshot", "restore", id_, "--yes", "--mode", "merge", "--json").stdout)
    assert said == {"dry_run": False, "created": 1, "changed": 1, "same": 2, "removed": 0}
    assert value(shop, "c") == 3


def test_snapshots_are_verified_and_a_damaged_one_is_named(run: Run, tmp_path: Path) -> None:
    first, second = str(made(run)["id"]), str(made(run)["id"])
    assert run("snapshot", "verify", first, second).stdout == (
        f"{first} is what was written.\n{second} is what was written.\n"
    )
    path = tmp_path / "snapshots" / f"{second}.snapshot"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    ended = run("snapshot", "verify", first, second, code=1)
    assert f"The snapshot '{second}' is damaged" in ended.stderr
    assert "is damaged" in run("snapshot", "restore", second, "--yes", code=1).stderr


def test_snapshots_are_removed_after_asking(run: Run) -> None:
    base = str(made(run)["id"])
    delta = str(made(run, "--incremental")["id"])
    assert "is needed by" in run("snapshot", "delete", base, "--yes", code=1).stderr
    run("snapshot", "delete", delta, code=1, stdin="n\n")
    ended = run("snapshot", "delete", delta, base, stdin="y\n")
    assert ended.stdout.endswith("Remove them for good? [y/N]: y\nRemoved 2 snapshots.\n")
    assert run("snapshot", "list").stdout == "No snapshots found.\n"
    assert "There is no snapshot" in run("snapshot", "delete", base, "--yes", code=1).stderr


def test_hostile_ids_are_refused(run: Run) -> None:
    for words in (("verify", "../../etc/passwd"), ("restore", "\x1b[31m", "--yes"), ("delete", "..", "--yes")):
        ended = run("snapshot", *words, code=1)
        assert "is no id of a snapshot" in ended.stderr
        assert "\x1b" not in ended.stderr


def test_a_bar_is_drawn_on_a_terminal(shop: Flask, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        APP.format(folder=str(tmp_path), uri=shop.config["STATEMANAGER_DATABASE_URI"]), encoding="utf-8"
    )
    main, terminal = pty.openpty()
    try:
        command = [sys.executable, "-m", "flask", "--app", str(tmp_path / "app.py"), "state", "snapshot", "create"]
        ended = subprocess.run(command, stderr=terminal, stdout=subprocess.PIPE, text=True, check=False, timeout=120)
        assert ended.returncode == 0
        drawn = os.read(main, 65536).decode()
    finally:
        os.close(main)
        os.close(terminal)
    assert "Writing" in drawn
    assert "4/4" in drawn
    assert "full, 4 keys" in ended.stdout


# -- lines -------------------------------------------------------------------------------------------------------------


def test_what_is_exported_can_be_imported(run: Run, shop: Flask, tmp_path: Path) -> None:
    for bucket in ("kv", "state"):
        ended = run("export", "--bucket", bucket, "-o", str(tmp_path / bucket))
        assert ended.stdout == ""
    lines = [json.loads(line) for line in (tmp_path / "kv").read_text("utf-8").splitlines()]
    assert [line["key"] for line in lines] == ["a", "b:1", "b:2"]
    assert lines[2]["value"] == "ü\x1b[31m"
    [user] = [json.loads(line) for line in (tmp_path / "state").read_text("utf-8").splitlines()]
    assert (user["name"], user["type"], user["status"]) == ("user_1", "user", "created")
    change(shop)
    with shop.app_context():
        StateManager().delete_state("user_1")
    assert run("import", str(tmp_path / "kv")).stdout == "Wrote 3 records.\n"
    assert run("import", str(tmp_path / "state"), "--reason", "moved").stdout == "Wrote 1 record.\n"
    assert (value(shop, "a"), value(shop, "b:1"), value(shop, "c")) == (1, {"deep": [1, None]}, 3)
    with shop.app_context():
        last = StateManager().get_state_history("user_1")[-1]
        assert StateManager().get_state("user_1").data == {"email": "a@example.com"}
    assert (last.transition_type, last.reason, last.actor) == ("import", "moved", "operator")


def test_export_writes_what_counts_now(run: Run, shop: Flask) -> None:
    with shop.app_context():
        StateManager().kv.set("short", 1, ttl=0.001)
        StateManager().kv.remove("a")
    ended = run("export", "--bucket", "kv", "--prefix", "", wide=True)
    assert [json.loads(line)["key"] for line in ended.stdout.splitlines()] == ["b:1", "b:2"]
    assert ended.stderr == "Wrote 2 lines.\n"
    assert run("export", "--bucket", "kv", "--prefix", "b:2", wide=True).stderr == "Wrote 1 line.\n"
    assert "There is no bucket" in run("export", "--bucket", "nowhere", code=1).stderr


BAD = [
    (b"not json", "It is not JSON"),
    (b"[1]", "It is no JSON object"),
    (b"\xff\xfe", "It is not UTF-8"),
    (b'{"key": "../x", "value": 1}', "is not a state id"),
    (b'{"key": "x", "value": NaN}', "NaN is not JSON"),
    (b'{"key": "x", "value": 99999999999999999999}', "more than 64 bits"),
    (b'{"bucket": "nowhere", "key": "x", "value": 1}', "There is no bucket"),
    (b'{"bucket": 5, "key": "x", "value": 1}', "names no bucket"),
    (b'{"key": "x", "value": 1, "expires_at": "soon"}', "is no moment"),
    (b'{"key": "x", "value": 1, "expires_at": "2026-01-01T00:00:00"}', "time zone"),
    (b'{"key": "x", "value": 1, "metadata": 5}', "Must be a JSON object"),
    (b'{"key": "x", "value": 1, "colour": 5}', "'colour' is unknown"),
    (b'{"name": "x", "type": "a b", "status": "s", "data": {}}', "is not a name"),
    (b'{"name": "x", "type": "kv", "status": "set", "data": {}, "schema_version": 0}', "above 0"),
    (b'{"bucket": "state", "name": "u", "type": "user", "status": "sold", "data": {}}', "A user is never sold"),
    (b'{"bucket": "state", "name": "u", "type": "nothing", "status": "created", "data": {}}', "nothing"),
    (b'{"bucket": "state", "name": "u", "type": "user", "status": "created", "data": {"email": 5}}', "Not a valid"),
    (b'{"bucket": "state", "key": "u", "value": 1}', "kv"),
    (b'{"name": "x", "type": "user", "status": "created", "data": {}}', "is for keys and values"),
    (b'{"key": "x", "value": "' + b"x" * 1_100_000 + b'"}', "too large"),
]


@pytest.mark.parametrize(("line", "problem"), BAD, ids=[problem for _, problem in BAD])
def test_a_bad_line_is_told_with_its_number_and_the_others_are_written(
    run: Run, shop: Flask, line: bytes, problem: str
) -> None:
    good = b'{"key": "good", "value": 1}\n'
    ended = run("import", "--bucket", "kv", code=1, stdin=b"\n" + good + line + b"\n" + good, wide=True)
    assert ended.stdout.startswith("Wrote 2 records.\nline 3: ")
    assert problem in ended.stdout
    assert ended.stdout.endswith("1 line refused.\n")
    assert value(shop, "good") == 1
    assert value(shop, "x") is None


def test_thousands_of_lines_are_taken_in_chunks(run: Run, shop: Flask, tmp_path: Path) -> None:
    lines = [{"key": f"n{number}", "value": number} for number in range(2500)]
    lines += [
        {"key": "n7", "value": "again"},
        {"bucket": "state", "key": "no", "value": 1},
        {"key": "last", "value": 1},
    ]
    (tmp_path / "many").write_text("\n".join(map(json.dumps, lines)), "utf-8")
    ended = run("import", str(tmp_path / "many"), "--bucket", "kv", code=1, wide=True)
    assert ended.stdout.startswith("Wrote 2,502 records.\nline 2502: ")
    assert (value(shop, "n7"), value(shop, "n2499"), value(shop, "last")) == ("again", 2499, 1)


def test_what_is_there_can_be_left_as_it_is(run: Run, shop: Flask) -> None:
    lines = '{"key": "a", "value": "new"}\n{"key": "z", "value": "new"}\n'
    assert run("import", "--bucket", "kv", "--skip-existing", stdin=lines).stdout == "Wrote 1 record.\n"
    assert (value(shop, "a"), value(shop, "z")) == (1, "new")


def test_a_dry_run_of_an_import_writes_nothing(run: Run, shop: Flask) -> None:
    ended = run(
        "import", "--bucket", "kv", "--dry-run", code=1, stdin='{"key": "a", "value": 5}\nnonsense\n', wide=True
    )
    assert ended.stdout.startswith("Would write 1 record.\nline 2: ")
    assert value(shop, "a") == 1


def test_of_many_refused_lines_the_first_are_shown(run: Run) -> None:
    ended = run("import", "--bucket", "kv", code=1, stdin="nonsense\n" * 30, wide=True)
    assert ended.stdout.count("\nline ") == 20
    assert ended.stdout.endswith("30 lines refused, the first 20 are shown.\n")
