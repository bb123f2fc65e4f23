"""Celery dispatch: real workers on a real broker do what stands in the database, whatever happens to the messages."""

from __future__ import annotations

import gc
import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from flask import Flask

from flask_statemanager import ConfigurationError, StateManager
from flask_statemanager.errors import StorageUnavailable
from flask_statemanager.integrations import celery as integration
from flask_statemanager.integrations import load
from flask_statemanager.integrations.celery import ENTRY, TASK, CeleryDispatch
from flask_statemanager.testing.clock import START
from tests.servers.redis_server import RedisServer

PATIENCE = 90.0

SHOP = """
import os
import time
from pathlib import Path

from celery import Celery, Task
from flask import Flask
from flask_statemanager import StateManager
from flask_statemanager.integrations import celery as integration

integration.FLOOR = 2.0
FOLDER = Path(os.environ["SHOP_FOLDER"])


def note(line):
    with (FOLDER / "effects.txt").open("a") as file:
        file.write(line + "\\n")


def celery_init_app(app):
    class FlaskTask(Task):
        def __call__(self, *args, **kwargs):
            with app.app_context():
                return self.run(*args, **kwargs)

    celery_app = Celery(app.name, task_cls=FlaskTask)
    celery_app.config_from_object(app.config["CELERY"])
    celery_app.set_default()
    app.extensions["celery"] = celery_app
    return celery_app


def create_app():
    app = Flask("shop")
    app.config.update(
        STATEMANAGER_DATABASE_URI=os.environ["SHOP_DATABASE"],
        STATEMANAGER_DISPATCH="celery",
        STATEMANAGER_WORKER_LEASE=3.0,
        CELERY={
            "broker_url": os.environ["SHOP_BROKER"],
            "task_ignore_result": True,
            "broker_connection_retry_on_startup": True,
            "worker_cancel_long_running_tasks_on_connection_loss": False,
        },
    )
    states = StateManager(app)

    @states.register_callback("user_created", durable=True, name="mail")
    def mail(state_id, old, new, transition, *, attempt):
        note(f"{state_id} mailed")

    @states.register_callback("session_created", durable=True, name="flaky", backoff=0.2)
    def flaky(state_id, old, new, transition, *, attempt):
        if attempt == 1:
            raise RuntimeError("not today")
        note(f"{state_id} at attempt {attempt}")

    @states.register_callback("transaction_created", durable=True, name="hold", backoff=0.2)
    def hold(state_id, old, new, transition, *, attempt):
        note(f"{state_id} held by {os.getpid()}")
        while attempt == 1:
            time.sleep(0.05)

    return app


app = create_app()
celery_app = celery_init_app(app)
"""


def until(true: Callable[[], bool], tell: Callable[[], str] = str) -> None:
    ends = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < ends, tell()
        time.sleep(0.02)


class Shop:
    """The application in this process, and Celery workers that import the same file."""

    def __init__(self, folder: Path, database: str, broker: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.environment = {"SHOP_FOLDER": str(folder), "SHOP_DATABASE": database, "SHOP_BROKER": broker}
        for name, value in self.environment.items():
            monkeypatch.setenv(name, value)
        (folder / "shop.py").write_text(SHOP)
        self.module = self._imported()
        self.app: Flask = self.module.app
        self.celery: Celery = self.module.celery_app
        self.states = StateManager()
        self.runtime: Any = self.app.extensions["statemanager"]
        self.runtime.backend.create_tables()

    def _imported(self) -> ModuleType:
        found = importlib.util.spec_from_file_location("shop_of_the_test", self.folder / "shop.py")
        assert found is not None
        assert found.loader is not None
        module = importlib.util.module_from_spec(found)
        found.loader.exec_module(module)
        return module

    def register(self, name: str, state_type: str = "user") -> None:
        with self.app.app_context():
            self.states.register_state(name, state_type)

    @property
    def effects(self) -> list[str]:
        """What the effects have noted."""
        path = self.folder / "effects.txt"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def log(self) -> str:
        """What the workers have logged."""
        return "\n".join(path.read_text(errors="replace") for path in sorted(self.folder.glob("worker*.log")))

    def expect(self, *effects: str) -> None:
        """Wait until the effects have noted just these lines, in any order."""
        until(lambda: len(self.effects) >= len(effects), lambda: f"{self.effects}\n{self.log}")
        assert sorted(self.effects) == sorted(effects)

    def wait_for_log(self, text: str) -> None:
        """Wait until a worker has logged something."""
        until(lambda: text in self.log, lambda: self.log)

    @contextmanager
    def worker(self, *options: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run a Celery worker for the block, from the moment at which it is ready."""
        path = self.folder / f"worker{time.monotonic_ns()}.log"
        command = [sys.executable, "-m", "celery", "-A", "shop:celery_app", "worker", "--loglevel", "INFO"]
        with (
            path.open("wb") as log,
            subprocess.Popen(
                [*command, *options],
                cwd=self.folder,
                env={**os.environ, "C_FORCE_ROOT": "1"},
                stdout=log,
                stderr=log,
                start_new_session=True,
            ) as process,
        ):
            try:
                until(lambda: " ready." in path.read_text(errors="replace"), lambda: path.read_text(errors="replace"))
                yield process
            finally:
                process.terminate()
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)

    def close(self) -> None:
        self.runtime.workshop.dispatch.close()
        self.runtime.backend.close()
        self.celery.close()


@pytest.fixture
def shop(tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    StateManager.reset_instance()
    monkeypatch.setattr(integration, "FLOOR", integration.FLOOR)  # the shop changes it
    shop = Shop(tmp_path, f"sqlite:///{tmp_path / 'shop.db'}", redis_url, monkeypatch)
    yield shop
    shop.close()
    StateManager.reset_instance()


# -- with real workers ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_commit_wakes_a_celery_worker_which_does_the_effect_and_its_retry(shop: Shop) -> None:
    with shop.worker("--pool", "prefork", "--concurrency", "2"):
        shop.register("u1")
        shop.expect("u1 mailed")
        shop.register("s1", "session")
        shop.expect("u1 mailed", "s1 at attempt 2")


@pytest.mark.slow
def test_a_worker_that_starts_looks_for_what_is_due_although_the_messages_are_lost(
    shop: Shop, redis_server: RedisServer
) -> None:
    shop.register("u1")
    shop.register("u2")
    shop.runtime.workshop.dispatch.close()
    redis_server.flush()
    with shop.worker("--pool", "solo"):
        shop.expect("u1 mailed", "u2 mailed")


@pytest.mark.slow
def test_a_broker_that_is_away_hurts_no_request_and_is_waited_for(
    shop: Shop, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    with shop.worker("--pool", "prefork", "--concurrency", "1"):
        # With an unacknowledged message in hand a Celery worker does not survive the loss of its Redis.
        shop.wait_for_log("succeeded in")
        redis_server.stop()
        shop.register("u1")
        until(lambda: "Waking the Celery workers fails" in caplog.text)
        shop.register("u2")
        redis_server.start()
        shop.expect("u1 mailed", "u2 mailed")
    assert caplog.text.count("Waking the Celery workers fails") == 1


@pytest.mark.slow
@pytest.mark.parametrize("whole", [False, True], ids=["one-of-the-pool", "the-worker"])
def test_what_a_killed_worker_held_is_done_when_its_lease_is_over(shop: Shop, whole: bool) -> None:
    pool = ["--pool", "solo"] if whole else ["--pool", "prefork", "--concurrency", "1"]
    shop.register("p1", "transaction")
    with shop.worker(*pool) as first:
        until(lambda: len(shop.effects) == 1, lambda: shop.log)
        held_by = int(shop.effects[0].rpartition(" ")[2])
        assert (held_by == first.pid) is whole
        os.kill(held_by, signal.SIGKILL)
        if whole:
            first.wait(PATIENCE)
            with shop.worker(*pool):
                until(lambda: len(shop.effects) == 2, lambda: shop.log)
        else:
            until(lambda: len(shop.effects) == 2, lambda: shop.log)
    assert [line.rpartition(" ")[0] for line in shop.effects] == ["p1 held by"] * 2
    with shop.app.app_context():
        [effect] = shop.states.list_effects()
    assert (effect.status, effect.attempts) == ("done", 2)


# -- the parts -----------------------------------------------------------------------------------------------------


def test_the_beat_schedule_gets_an_entry_that_leaves_the_applications_own_alone(shop: Shop) -> None:
    own = {"task": "shop.sweep", "schedule": 60.0}
    shop.celery.conf.beat_schedule = {"sweep": own}
    shop.celery.loader.import_default_modules()
    assert shop.celery.conf.beat_schedule["sweep"] == own
    entry = shop.celery.conf.beat_schedule[ENTRY]
    assert (entry["task"], entry["schedule"]) == (TASK, integration.FLOOR)
    shop.celery.conf.beat_schedule = {ENTRY: own}
    shop.celery.loader.import_default_modules()
    assert shop.celery.conf.beat_schedule == {ENTRY: own}


def test_the_entry_does_not_get_into_the_schedule_of_other_celery_apps(shop: Shop) -> None:
    shop.celery.loader.import_default_modules()
    assert ENTRY in shop.celery.conf.beat_schedule
    other = Celery("other", set_as_current=False)
    other.loader.import_default_modules()
    assert ENTRY not in other.conf.beat_schedule


def test_with_eager_tasks_the_work_is_done_in_the_process_itself(shop: Shop) -> None:
    shop.celery.conf.task_always_eager = True
    shop.register("u1")
    shop.expect("u1 mailed")


def test_an_app_without_a_celery_app_is_told_what_to_do(tmp_path: Path) -> None:
    StateManager.reset_instance()
    app = Flask("shop")
    app.config.update(STATEMANAGER_DATABASE_URI=f"sqlite:///{tmp_path / 'shop.db'}", STATEMANAGER_DISPATCH="celery")
    states = StateManager(app)
    with app.app_context(), pytest.raises(ConfigurationError, match=r"app\.extensions\['celery'\]"):
        states.get_state("u1")
    app.extensions["statemanager"].backend.close()
    StateManager.reset_instance()


def test_a_missing_package_is_named_with_the_way_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "flask_statemanager.integrations.celery")
    monkeypatch.setitem(sys.modules, "celery", None)
    with pytest.raises(ConfigurationError, match=r"^STATEMANAGER_X needs .*Flask-StateManager\[celery\]"):
        load("celery", wanted_by="STATEMANAGER_X")


def test_a_celery_worker_without_the_flask_app_is_told_what_to_do() -> None:
    other = Celery("other", set_as_current=False)
    with pytest.raises(ConfigurationError, match="have the Celery worker make the Flask app"):
        other.tasks[TASK].apply(throw=True)


class Stub:
    """A worker that finds the queue as a test wants it, and a dispatch that notes what it would send."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.app = Flask("stub")
        self.app.extensions["celery"] = self.celery = Celery("stub", set_as_current=False)
        self.empty_at: datetime | None = START
        self.next_due: datetime | None = None
        self.error: Exception | None = None
        self.exit_code = 0
        self.sent: list[float] = []
        self.woken = 0
        self.made = 0
        self.within: list[float] = []
        self.dispatch = CeleryDispatch(self.app, self.make)
        monkeypatch.setattr(self.dispatch, "_send", self.send)
        monkeypatch.setattr(self.dispatch, "wake", self.wake)

    def make(self, context: Any, threads: int) -> Any:
        self.made += 1
        return self

    @property
    def queue(self) -> Any:
        stub = self

        class Queue:
            def next_due(self, after: datetime) -> datetime | None:
                assert after == stub.empty_at
                return stub.next_due

            def now(self) -> datetime:
                return START

        return Queue()

    def run_burst(self, within: float) -> datetime | None:
        self.within.append(within)
        if self.error is not None:
            raise self.error
        return self.empty_at

    def send(self, countdown: float = 0.0) -> None:
        self.sent.append(countdown)

    def wake(self) -> None:
        self.woken += 1


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Stub:
    return Stub(monkeypatch)


def test_a_task_sends_one_message_for_the_moment_when_the_next_job_falls_due(stub: Stub) -> None:
    stub.dispatch.work()
    assert (stub.sent, stub.woken) == ([], 0)
    stub.next_due = START + timedelta(seconds=20)
    stub.dispatch.work()
    stub.dispatch.work()
    assert stub.sent == [20.0]
    stub.next_due = START + timedelta(seconds=10)
    stub.dispatch.work()
    assert stub.sent == [20.0, 10.0]
    stub.next_due = START - timedelta(seconds=1)
    stub.dispatch.work()
    assert stub.sent == [20.0, 10.0, 0.0]
    assert stub.made == 1


def test_no_message_waits_in_a_worker_for_a_moment_that_is_far_off(stub: Stub) -> None:
    stub.next_due = START + timedelta(seconds=31)
    stub.dispatch.work()
    assert (stub.sent, stub.woken) == ([], 0)


def test_a_celery_worker_looks_again_and_again(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(integration, "FLOOR", 0.01)
    integration._look(SimpleNamespace(app=stub.celery))
    until(lambda: stub.woken >= 3)
    stub.dispatch.close()
    until(lambda: not [thread for thread in threading.enumerate() if thread.name == "statemanager-celery"])


def test_a_task_whose_time_is_up_has_another_one_sent(stub: Stub) -> None:
    stub.empty_at = None
    stub.dispatch.work()
    assert (stub.sent, stub.woken) == ([], 1)


def test_a_task_ends_well_before_the_time_limits_of_the_application(stub: Stub) -> None:
    stub.dispatch.work()
    stub.celery.conf.task_time_limit = 100
    stub.dispatch.work()
    stub.celery.conf.task_soft_time_limit = 10
    stub.dispatch.work()
    assert stub.within == [30.0, 30.0, 5.0]


def test_a_storage_that_fails_is_left_to_a_later_message(stub: Stub, caplog: pytest.LogCaptureFixture) -> None:
    stub.error = StorageUnavailable("nobody there")
    stub.dispatch.work()
    assert (stub.sent, stub.woken) == ([], 0)
    assert "nobody there" in caplog.text


def test_a_message_that_cannot_be_sent_from_a_task_is_logged_and_sent_the_next_time(
    stub: Stub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(countdown: float) -> None:
        raise OSError("no broker")

    stub.next_due = START + timedelta(seconds=20)
    with monkeypatch.context() as broken:
        broken.setattr(stub.dispatch, "_send", fail)
        stub.dispatch.work()
    assert "no broker" in caplog.text
    stub.dispatch.work()
    assert stub.sent == [20.0]


def test_a_worker_that_has_given_up_is_replaced(stub: Stub) -> None:
    stub.dispatch.work()
    stub.exit_code = 70
    stub.dispatch.work()
    assert stub.made == 2


def test_threads_of_one_celery_worker_have_workers_of_their_own(stub: Stub) -> None:
    threads = [threading.Thread(target=stub.dispatch.work) for _ in range(3)]
    for thread in threads:
        thread.start()
        thread.join(PATIENCE)
    assert stub.made == 3


def test_a_dispatch_whose_app_is_gone_does_nothing() -> None:
    dispatch = CeleryDispatch(Flask("gone"), lambda context, threads: pytest.fail("There is no app."))
    gc.collect()
    assert dispatch.app is None
    dispatch.work()
    dispatch.wake()
    dispatch.close()
    with pytest.raises(ConfigurationError):
        dispatch.celery()
    assert integration._dispatches_of(Celery("other", set_as_current=False)) == []
