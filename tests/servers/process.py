"""What every test server has in common: a private folder, a free port, a guarded process, readiness by condition."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from dataclasses import asdict
from pathlib import Path
from types import TracebackType

from typing_extensions import Self

from tests.servers.guard import Order

GUARD = Path(__file__).with_name("guard.py")
READY_WITHIN = 180.0
PORT_ATTEMPTS = 5


class ServerFailed(RuntimeError):
    """A server did not come up; the message ends with what it logged."""


class Server(ABC):
    """A private server on 127.0.0.1 that nothing but these tests uses.

    The port is chosen at the first start and kept, so that a URL stays good over `restart`.
    """

    title: str
    stop_signal: signal.Signals = signal.SIGTERM
    account: pwd.struct_passwd | None = None

    def __init__(self) -> None:
        self.port = 0
        self._folder: Path | None = None
        self._guard: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def folder(self) -> Path:
        """The server's private folder.

        :raises ServerFailed: when the server was never started.
        """
        if self._folder is None:
            raise ServerFailed(f"{self.title} was not started")
        return self._folder

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._ask("poll").startswith("running")

    @property
    def log(self) -> str:
        """What the server has printed so far."""
        path = self.folder / "server.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> None:
        """Start the server and wait until it answers; nothing happens when it runs already.

        :raises ServerMissing: when its program is not on this machine.
        :raises ServerFailed: when it does not answer.
        """
        if self.running:
            return
        if self._folder is None:
            self._folder = self._make_folder()
            try:
                self.prepare()
            except BaseException:
                self.close()
                raise
        # Somebody else may take a free port before the server does.
        for _ in range(1 if self.port else PORT_ATTEMPTS):
            port = self.port or free_port()
            self._launch(port)
            if self._wait(port):
                self.port = port
                return
            self._dismiss()
        raise ServerFailed(f"{self.title} does not start; its log:\n{self.log}")

    def stop(self) -> None:
        """Stop the server and keep its folder, so that `start` finds its data again."""
        self._ask("stop")

    def restart(self) -> None:
        """Stop the server and start it again on the same port.

        :raises ServerFailed: when it does not answer.
        """
        self.stop()
        self.start()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server's main process.

        :param number: for example `signal.SIGSTOP`, to let clients run into their timeouts.
        """
        self._ask(f"signal {int(number)}")

    def close(self) -> None:
        """Stop the server for good and remove its folder."""
        self._dismiss("")
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    @abstractmethod
    def prepare(self) -> None:
        """Fill the private folder before the first start.

        :raises ServerMissing: when the program is not on this machine.
        """

    @abstractmethod
    def command(self, port: int) -> list[str]:
        """Give the command line.

        :param port: where to listen.
        :returns: the program and its arguments.
        """

    @abstractmethod
    def answers(self, port: int) -> bool:
        """Tell whether this very server, not another one on the port, takes requests.

        :param port: where to ask.
        :returns: whether it is ready.
        """

    def environment(self) -> dict[str, str]:
        """Give the environment of the server's programs: nothing of the caller's but PATH.

        :returns: names and values.
        """
        return {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(self.folder), "LC_ALL": "C", "TZ": "UTC"}

    @property
    def pid(self) -> int:
        """The id of the server's main process.

        :raises ServerFailed: when it does not run.
        """
        state, _, number = self._ask("poll").partition(" ")
        if state != "running":
            raise ServerFailed(f"{self.title} does not run")
        return int(number)

    def _make_folder(self) -> Path:
        # pytest's own folders are closed to other users, and PostgreSQL runs as another user when we are root.
        folder = Path(tempfile.mkdtemp(prefix=f"statemanager-{self.title.lower()}-", dir=_open_folder(self.account)))
        if self.account is not None:
            os.chown(folder, self.account.pw_uid, self.account.pw_gid)
        return folder

    def _launch(self, port: int) -> None:
        self._dismiss()
        order = Order(
            command=self.command(port),
            folder=str(self.folder),
            log=str(self.folder / "server.log"),
            environment=self.environment(),
            user=self.account.pw_uid if self.account else None,
            group=self.account.pw_gid if self.account else None,
            stop_signal=int(self.stop_signal),
            patience=15.0,
        )
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", GUARD, json.dumps(asdict(order))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def _wait(self, port: int) -> bool:
        deadline = time.monotonic() + READY_WITHIN
        while time.monotonic() < deadline:
            if not self.running:
                return False
            if self.answers(port):
                return True
            time.sleep(0.02)
        raise ServerFailed(f"{self.title} gave no answer in {READY_WITHIN:.0f} s; its log:\n{self.log}")

    def _ask(self, command: str) -> str:
        guard = self._guard
        if guard is None or guard.stdin is None or guard.stdout is None:
            return "ended"
        try:
            guard.stdin.write(command + "\n")
            guard.stdin.flush()
        except BrokenPipeError:
            return "ended"
        return guard.stdout.readline().strip() or "ended"

    def _dismiss(self, word: str = "leave\n") -> None:
        """End the server and its guard; without the word the guard removes the folder too."""
        guard, self._guard = self._guard, None
        if guard is not None:
            guard.communicate(word)


def free_port() -> int:
    """Find a port of 127.0.0.1 that nobody listens on.

    :returns: its number.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _open_folder(account: pwd.struct_passwd | None) -> str | None:
    """Choose a folder for temporary files that another user can reach."""
    usual = Path(tempfile.gettempdir()).resolve()
    if account is None or all(part.stat().st_mode & 0o001 for part in (usual, *usual.parents)):
        return str(usual)
    return "/tmp"  # noqa: S108  (mkdtemp makes a private folder in it)
