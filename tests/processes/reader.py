"""A process that reads and writes states when it is told to, over a read cache, and says what it got."""

from __future__ import annotations

import json
import os
import sys
import warnings
from typing import Any

from tests.processes.application import Shared, opened
from tests.processes.child import until
from tests.processes.voice import say


def answer(shared: Shared, order: dict[str, Any]) -> Any:
    """Do what is asked for.

    :param shared: the application.
    :param order: ``do`` and its arguments.
    """
    states, name = shared.states, order.get("name", "")
    if order["do"] == "write":
        return states.update_state(name, order["data"], mode="replace").version
    if order["do"] == "read":
        state = states.get_state(name)
        return None if state is None else state.version
    if order["do"] == "warm":
        return first_and_later(shared, name)[0]
    if order["do"] == "count":
        return shared.runtime.counters.snapshot()
    if order["do"] == "fork":
        return forked(shared, order["number"], name)
    raise AssertionError(order)


def near_hits(shared: Shared) -> int:
    """Return how often the near cache has answered.

    :param shared: the application.
    """
    return int(shared.runtime.counters.value("cache.near"))


def first_and_later(shared: Shared, name: str) -> list[int]:
    """Read until the near cache answers, and return the version, and near hits at the first read and since.

    :param shared: the application.
    :param name: which state.
    """
    before = near_hits(shared)
    version = shared.states.get_state(name).version  # type: ignore[union-attr]
    early = near_hits(shared) - before
    until(lambda: (shared.states.get_state(name), near_hits(shared))[1] > before + early, "the near cache answers")
    return [version, early, near_hits(shared) - before - early]


def forked(shared: Shared, number: int, name: str) -> list[list[int]]:
    """Read in forked processes, and return what each has read first, and its near hits then and later.

    :param shared: the application.
    :param number: how many processes.
    :param name: which state.
    """
    until(lambda: (shared.states.get_state(name), near_hits(shared))[1] > 0, "the near cache answers")
    found = []
    for _ in range(number):
        reader, writer = os.pipe()
        with warnings.catch_warnings():
            # Newer Pythons warn of threads that the child will not have; that it needs none of them is what is tested.
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            try:
                os.write(writer, json.dumps(first_and_later(shared, name)).encode())
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        found.append(json.loads(os.read(reader, 1000)))
        os.close(reader)
        os.close(writer)
    return found


def main() -> None:
    """Obey until the input ends."""
    warnings.simplefilter("error")
    with opened(json.loads(sys.argv[1])["url"]) as shared:
        shared.states.get_state("nobody")
        say("ready")
        for line in sys.stdin:
            say(answer(shared, json.loads(line)))
        shared.runtime.close()


if __name__ == "__main__":
    main()
