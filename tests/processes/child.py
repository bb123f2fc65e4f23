"""Start one process, talk to it in lines of JSON, and end it by its id."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import Any

from typing_extensions import Self

PATIENCE = 90.0
"""Seconds in which whatever is waited for has to happen; far more than it needs."""

ROOT = Path(__file__).parents[2]
KILLED = -int(signal.SIGKILL)

LONG = os.environ.get("STATEMANAGER_LONG_TESTS") == "1" or "true" in os.environ.get("CI", "").lower()
"""Whether to run many rounds, as the continuous integration does."""


class ChildDied(AssertionError):
    """A process has ended that should not have; the message ends with what it printed."""


class Child:
    """A process of its own that runs one of the programs beside this file.

    :param program: the module's name.
    :param order: what it is told at the start.
    :param handles: open file descriptors that it inherits.
    :param environment: more environment variables.
    """

    def __init__(
        self,
        program: str,
        order: Any = None,
        *,
        handles: Sequence[int] = (),
        environment: dict[str, str] | None = None,
    ) -> None:
        self._errors = TemporaryFile()  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"tests.processes.{program}", json.dumps(order)],
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            pass_fds=handles,
            text=True,
        )
        self._heard: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    def tell(self, order: Any) -> None:
        """Send a line to the process.

        :param order: what JSON can hold.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise ChildDied(self._obituary()) from error

    def hear(self, patience: float = PATIENCE) -> Any:
        """Return the next line that the process says.

        :param patience: the most seconds to wait.
        :raises ChildDied: when it has ended, or says nothing.
        """
        try:
            line = self._heard.get(timeout=patience)
        except queue.Empty:
            raise ChildDied(f"The process says nothing for {patience:g} seconds. {self._obituary()}") from None
        if line is None:
            raise ChildDied(self._obituary())
        return json.loads(line)

    def heard(self) -> list[Any]:
        """Return what the process has said and nobody has heard, without waiting."""
        found = []
        while not self._heard.empty():
            line = self._heard.get()
            if line is None:
                raise ChildDied(self._obituary())
            found.append(json.loads(line))
        return found

    def rest(self) -> list[Any]:
        """Let the process end by itself, as its input ends, and return what else it says.

        :raises ChildDied: when it does not end, or not well.
        """
        assert self._process.stdin is not None
        self._process.stdin.close()
        if self.ended() != 0:
            raise ChildDied(self._obituary())
        self._reader.join(PATIENCE)
        lines = []
        while not self._heard.empty():
            line = self._heard.get()
            if line is not None:
                lines.append(json.loads(line))
        return lines

    def kill(self) -> None:
        """Kill the process, this one and no other, and wait until it is gone."""
        self._process.kill()
        self._process.wait(PATIENCE)

    def ended(self) -> int:
        """Wait until the process has ended.

        :returns: its exit code, negative for a signal.
        :raises ChildDied: when it does not end.
        """
        try:
            return self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ChildDied(f"The process did not end. {self._obituary()}") from None

    def close(self) -> None:
        """End the process, whatever it does, and close what belongs to it."""
        if self._process.poll() is None:
            self.kill()
        self._reader.join(PATIENCE)
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream is not None and not stream.closed:
                try:
                    stream.close()
                except BrokenPipeError:
                    continue

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            # A killed process may have stopped in the middle of a line.
            if line.endswith("\n"):
                self._heard.put(line)
        self._heard.put(None)

    def printed(self) -> str:
        """Return what the process has printed as errors, or the end of it."""
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")[-8000:]

    def _obituary(self) -> str:
        return f"The process {self.pid} (exit code {self._process.poll()}) printed:\n{self.printed()}"


def until(true: Callable[[], Any], what: Callable[[], str] | str) -> None:
    """Wait until something is so.

    :param true: looks.
    :param what: how to name it, or what says so in the end.
    """
    ends = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < ends, f"waited in vain until {what if isinstance(what, str) else what()}"
        time.sleep(0.01)
