"""Own one server process, and end it when the tests end, however they end.

Started as a script with one JSON argument. The guard is the server's parent, so the process it ends is always the one
it started. It reads commands from its standard input and answers each with a line: `poll`, `signal N`, `stop`. `leave`
stops the server and ends the guard. When the input closes, because the tests closed it or because they were killed, the
guard stops the server, removes its folder and ends. It has a session of its own, out of reach of the terminal's
interrupt.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Order:
    """What to run and how to end it.

    :param command: the program and its arguments.
    :param folder: the server's private folder, its working directory, removed at the end.
    :param log: the file that takes the server's output.
    :param environment: the server's environment.
    :param user: the user id to run as, None for this one.
    :param group: the group id to run as, None for this one.
    :param stop_signal: the number of the signal that asks the server to stop.
    :param patience: how many seconds it has to do so before it is killed.
    """

    command: list[str]
    folder: str
    log: str
    environment: dict[str, str]
    user: int | None
    group: int | None
    stop_signal: int
    patience: float


def launch(order: Order) -> subprocess.Popen[bytes]:
    """Start the server.

    :param order: what to start.
    :returns: its process.
    """
    with open(order.log, "ab") as log:
        return subprocess.Popen(
            order.command,
            cwd=order.folder,
            env=order.environment,
            user=order.user,
            group=order.group,
            extra_groups=None if order.user is None else [],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


def stop(order: Order, server: subprocess.Popen[bytes]) -> None:
    """Ask the server to stop, and kill it when it does not.

    :param order: how long to wait.
    :param server: its process.
    """
    server.send_signal(order.stop_signal)
    # A suspended process acts on no other signal before this one.
    server.send_signal(signal.SIGCONT)
    try:
        server.wait(order.patience)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def answer(order: Order, server: subprocess.Popen[bytes], command: list[str]) -> str:
    """Carry out one command.

    :param order: what was started.
    :param server: its process.
    :param command: the words of the command.
    :returns: `running PID` or `ended STATUS`.
    """
    if command[0] == "signal":
        server.send_signal(int(command[1]))
    elif command[0] == "stop":
        stop(order, server)
    status = server.poll()
    return f"running {server.pid}" if status is None else f"ended {status}"


def main() -> None:
    """Run the server until told to leave or until standard input closes."""
    order = Order(**json.loads(sys.argv[1]))
    server = launch(order)
    for line in sys.stdin:
        if line.strip() == "leave":
            stop(order, server)
            return
        print(answer(order, server, line.split()), flush=True)
    stop(order, server)
    shutil.rmtree(order.folder, ignore_errors=True)


if __name__ == "__main__":
    main()
