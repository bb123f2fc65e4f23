"""``flask state worker``: what it prints, how it ends, and with which exit code."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from flask import Flask

from flask_statemanager import StateManager
from flask_statemanager.cli import state
from tests.worlds import World

PATIENCE = 60.0

SHOP = """
import os
import time
from pathlib import Path

from flask import Flask
from flask_statemanager import StateManager

FOLDER = Path(os.environ["SHOP_FOLDER"])

app = Flask("shop")
app.config["STATEMANAGER_DATABASE_URI"] = os.environ["SHOP_DATABASE"]
app.config["STATEMANAGER_WORKER_POLL"] = 0.2
states = StateManager(app)


def note(line):
    with (FOLDER / "effects.txt").open("a") as file:
        file.write(line + "\\n")


@states.register_callback("user_created", durable=True, name="mail")
def mail(state_id, old, new, transition):
    note(f"{state_id} mailed")


@states.register_callback("session_created", durable=True, name="hold")
def hold(state_id, old, new, transition):
    note(f"{state_id} held")
    while not (FOLDER / "release").exists():
        time.sleep(0.01)
    note(f"{state_id} released")


@states.register_callback("transaction_created", durable=True, name="hang", timeout=0.1)
def hang(state_id, old, new, transition):
    note(f"{state_id} hangs")
    while True:
        time.sleep(60)
"""


def until(true: Callable[[], object]) -> None:
    ends = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.01)


class Shop:
    """An application in a file, its states in this process, its workers in others."""

    def __init__(self, folder: Path, database: str) -> None:
        self.folder = folder
        self.environment = {**os.environ, "SHOP_FOLDER": str(folder), "SHOP_DATABASE": database}
        (folder / "shop.py").write_text(SHOP)
        names = ("user_created", "mail"), ("session_created", "hold"), ("transaction_created", "hang")
        StateManager.reset_instance()
        self.app = Flask("shop")
        self.app.config["STATEMANAGER_DATABASE_URI"] = database
        self.states = StateManager(self.app)
        for event, name in names:
            self.states.register_callback(event, lambda *call: None, durable=True, name=name)
        self.backend = self.app.extensions["statemanager"].backend
        self.backend.create_tables()

    def register(self, name: str, state_type: str) -> None:
        with self.app.app_context():
            self.states.register_state(name, state_type)

    @property
    def effects(self) -> list[str]:
        path = self.folder / "effects.txt"
        return path.read_text().splitlines() if path.exists() else []

    @contextmanager
    def worker(self, *options: str) -> Iterator[subprocess.Popen[str]]:
        command = [sys.executable, "-m", "flask", "--app", "shop", "state", "worker", *options]
        with subprocess.Popen(
            command, cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            try:
                yield process
            finally:
                process.kill()


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


@pytest.fixture(params=["sqlite", "postgresql"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    postgres = request.param == "postgresql"
    url = request.getfixturevalue("postgres_url") if postgres else f"sqlite:///{tmp_path / 'shop.db'}"
    shop = Shop(tmp_path, url)
    yield shop
    shop.backend.close()
    StateManager.reset_instance()


@pytest.mark.slow
def test_a_worker_tells_who_it_is_works_and_ends_on_sigterm(shop: Shop) -> None:
    with shop.worker("--threads", "3") as process:
        line = first_line(process)
        database = "PostgreSQL" if "postgresql" in str(shop.backend.engine.url) else "SQLite"
        assert re.fullmatch(rf"Worker \S+:{process.pid}:\w+, 3 threads, {database}\. Press Ctrl-C to stop\.\n", line), (
            line
        )
        shop.register("u1", "user")
        until(lambda: shop.effects == ["u1 mailed"])
        process.terminate()
        out, err = process.communicate(timeout=PATIENCE)
        assert (process.returncode, err) == (0, "")
        assert out == "The worker has ended: 1 job worked on.\n"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_worker_finish_what_it_holds(shop: Shop, number: signal.Signals) -> None:
    shop.register("s1", "session")
    with shop.worker() as process:
        until(lambda: shop.effects == ["s1 held"])
        process.send_signal(number)
        (shop.folder / "release").touch()
        process.communicate(timeout=PATIENCE)
        assert process.returncode == 0
    assert shop.effects == ["s1 held", "s1 released"]
    with shop.app.app_context():
        assert [effect.status for effect in shop.states.list_effects()] == ["done"]


@pytest.mark.slow
def test_a_second_signal_ends_the_worker_at_once(shop: Shop) -> None:
    shop.register("s1", "session")
    with shop.worker() as process:
        until(lambda: shop.effects == ["s1 held"])
        process.terminate()
        until(lambda: process.poll() is not None or process.terminate())
        assert process.returncode == -signal.SIGTERM
    assert shop.effects == ["s1 held"]


@pytest.mark.slow
def test_a_worker_whose_jobs_do_not_end_gives_up_with_exit_code_70(shop: Shop) -> None:
    for name in ("t1", "t2"):
        shop.register(name, "transaction")
    with shop.worker("--threads", "1") as process:
        _out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 70
    assert "has to be restarted" in err
    assert shop.effects == ["t1 hangs", "t2 hangs"]


@pytest.mark.parametrize("how", ["--once", "--burst"])
def test_once_and_burst_end_by_themselves(world: World, how: str) -> None:
    done: list[str] = []
    world.states.register_callback("user", lambda state_id, *rest: done.append(state_id), durable=True, name="mail")
    for name in ("u1", "u2"):
        world.states.register_state(name, "user")
    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    result = world.app.test_cli_runner().invoke(state, ["worker", how, "--threads", "1"])
    assert result.exit_code == 0, result.output
    first, last = result.output.splitlines()
    assert first.endswith(("1 thread, memory.", "1 thread, SQLite.", "1 thread, PostgreSQL."))
    assert last == "The worker has ended: 2 jobs worked on."
    assert sorted(done) == ["u1", "u2"]
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == handlers


def test_two_ways_to_end_are_refused(sqlite_world: World) -> None:
    result = sqlite_world.app.test_cli_runner().invoke(state, ["worker", "--once", "--burst"])
    assert result.exit_code == 2
    assert "give one of them" in result.output
