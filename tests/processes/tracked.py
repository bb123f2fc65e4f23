"""An application whose requests are tracked, which forks and ends: ``tracked {"uri": ..., "mode": ...}``."""

from __future__ import annotations

import json
import os
import sys
import threading
from typing import Any

from flask import Flask

from flask_statemanager import StateManager


def make(uri: str) -> Flask:
    """Put the application together.

    :param uri: its database.
    """
    app = Flask("tracked")
    # At so small a share everything but the first batch is written at the end.
    app.config.update(STATEMANAGER_DATABASE_URI=uri, STATEMANAGER_TRACK_REQUESTS=True, STATEMANAGER_TRACK_SHARE=0.001)
    StateManager(app)

    @app.get("/")
    def hello() -> Any:
        return {"pid": os.getpid()}

    return app


def ask(app: Flask, name: str) -> None:
    """Send a request.

    :param app: the application.
    :param name: its correlation id.
    """
    assert app.test_client().get("/", headers={"X-Correlation-ID": name}).status_code == 200


def fork(app: Flask) -> None:
    """Serve in a parent and in a child, which ends in good order too; what waits in the one is not the other's.

    :param app: the application.
    """
    ask(app, "before")
    child = os.fork()
    ask(app, "child" if child == 0 else "parent")
    if child:
        _pid, status = os.waitpid(child, 0)
        assert status == 0


def hang(app: Flask) -> None:
    """Serve with a store that never answers, and end.

    :param app: the application.
    """
    hanging, never = threading.Event(), threading.Event()

    def wait(*_arguments: Any, **_named: Any) -> None:
        hanging.set()
        never.wait()

    app.extensions["statemanager"].shelves.parts("tracking").bucket.backend.writing = wait
    ask(app, "lost")
    assert hanging.wait(60)
    for number in range(20):
        ask(app, f"lost-{number}")


if __name__ == "__main__":
    order = json.loads(sys.argv[1])
    {"fork": fork, "hang": hang}[order["mode"]](make(order["uri"]))
    sys.stdout.write(f"{json.dumps(os.getpid())}\n")
