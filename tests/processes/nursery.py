"""A process that brings others into the world that are going to be killed, quickly: it has imported everything already.

It has no threads and no connections, so forking it is safe. It reads lists of orders, runs each in a process of its
own, all at once, and answers with their exit codes, negative for a signal.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
import warnings
from typing import Any, NoReturn

from tests.processes import worker, writer
from tests.processes.voice import say

PROGRAMS = {"worker": worker.burst, "writer": writer.once}
LIFETIME = 60.0
"""Seconds after which a process is killed that was not killed as it should have been."""


def born(order: dict[str, Any]) -> int:
    """Start a process.

    :param order: what it has to do.
    :returns: its id.
    """
    pid = os.fork()
    if pid == 0:
        _live(order)
    return pid


def _live(order: dict[str, Any]) -> NoReturn:
    code = 1
    try:
        PROGRAMS[order["program"]](order)
        code = 0
    except BaseException:  # noqa: BLE001 - whatever it is, this process must not go on as its parent
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def exit_code(pid: int) -> int:
    """Wait until a process has ended.

    :param pid: its id.
    """
    ends = time.monotonic() + LIFETIME
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > ends:
            sys.stderr.write(f"{pid} did not run into its trap.\n")
            sys.stderr.flush()
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return 1
        time.sleep(0.005)


def main() -> None:
    """Obey until the input ends."""
    warnings.simplefilter("error")
    for line in sys.stdin:
        pids = [born(order) for order in json.loads(line)]
        say([exit_code(pid) for pid in pids])


if __name__ == "__main__":
    main()
