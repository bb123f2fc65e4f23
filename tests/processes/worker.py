"""A process that does durable effects and timers, until its input ends, or once and into a trap."""

from __future__ import annotations

import json
import sys
import threading
import warnings
from typing import Any

from tests.processes.application import opened
from tests.processes.traps import Trap
from tests.processes.voice import say


def burst(order: dict[str, Any]) -> None:
    """Work until nothing is due, or into a trap.

    :param order: the database, the paper, the point and at which pass.
    """
    trap = Trap(order["point"], order["turn"])
    with opened(order["url"], paper=order["paper"], notice=trap.passes) as shared:
        trap.lay(shared)
        shared.runtime.workshop.make_worker().run_burst()


def main() -> None:
    """Work until the input ends."""
    warnings.simplefilter("error")
    order = json.loads(sys.argv[1])
    with opened(order["url"], paper=order["paper"]) as shared:
        worker = shared.runtime.workshop.make_worker()
        say("ready")
        threading.Thread(target=lambda: (sys.stdin.read(), worker.stop()), daemon=True).start()
        worker.run_forever()


if __name__ == "__main__":
    main()
