"""Processes that do a batch of work when they are asked to, so that what they have imported disturbs nobody else."""

from __future__ import annotations

import multiprocessing
import traceback
from contextlib import ExitStack
from importlib import import_module
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.rounds import Batch

PATIENCE = 120.0
"""Seconds after which an answer is not waited for any longer."""


class ChildFailed(RuntimeError):
    """A process could not do its work; the message is its traceback."""


class ChildMissing(ChildFailed):
    """What a process needs is not installed; the message names it."""


class Child:
    """A process of its own, for one way to do some pieces of work.

    :param module: a module whose function ``works`` returns a batch for each piece of work.
    :param arguments: what ``works`` is called with, behind an exit stack.
    :raises ChildMissing: when the module needs a package that is not installed.
    :raises ChildFailed: when ``works`` fails.
    """

    def __init__(self, module: str, *arguments: Any) -> None:
        # A forked child would share connections and locks with everybody else.
        context = multiprocessing.get_context("spawn")
        self._pipe, far = context.Pipe()
        self._process = context.Process(target=_serve, args=(far, module, arguments), daemon=True)
        self._process.start()
        far.close()
        try:
            self.works: list[str] = self.answer()
        except ChildFailed:
            self.close()
            raise
        """What it can do."""

    def batch(self, work: str) -> Batch:
        """Return a batch that the process does.

        :param work: one of :attr:`works`.
        """

        def run(numbers: range) -> float:
            self.ask(work, numbers)
            return float(self.answer())

        return run

    def ask(self, work: str, numbers: range) -> None:
        """Have a batch done.

        :param work: one of :attr:`works`.
        :param numbers: a number for each run.
        """
        self._pipe.send((work, numbers))

    def answer(self) -> Any:
        """Return what the process answers.

        :raises ChildMissing: when it needs a package that is not installed.
        :raises ChildFailed: when it failed, or is silent.
        """
        if not self._pipe.poll(PATIENCE):
            raise ChildFailed(f"A process has not answered for {PATIENCE:.0f} seconds.")
        try:
            kind, found = self._pipe.recv()
        except EOFError as error:
            raise ChildFailed("A process has ended.") from error
        if kind == "done":
            return found
        raise (ChildMissing if kind == "missing" else ChildFailed)(found)

    def close(self) -> None:
        """End the process."""
        self._pipe.close()
        self._process.join(30)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _serve(pipe: Connection, module: str, arguments: tuple[Any, ...]) -> None:
    with ExitStack() as stack:
        try:
            works: dict[str, Batch] = import_module(module).works(stack, *arguments)
        except ModuleNotFoundError as error:
            pipe.send(("missing", str(error)))
            return
        except Exception:  # noqa: BLE001  the parent raises it
            pipe.send(("failed", traceback.format_exc()))
            return
        pipe.send(("done", list(works)))
        _work(pipe, works)


def _work(pipe: Connection, works: dict[str, Batch]) -> None:
    while True:
        try:
            work, numbers = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send(("done", works[work](numbers)))
        except Exception:  # noqa: BLE001  the parent raises it
            pipe.send(("failed", traceback.format_exc()))
