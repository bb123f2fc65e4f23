"""Real web servers with an application of the tests: Flask's own, and gunicorn with threads or greenlets."""

from __future__ import annotations

import http.client
import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.processes.live_application import SETTINGS
from tests.servers.process import Server

ROOT = Path(__file__).resolve().parent.parent.parent
FACTORY = "tests.processes.live_application:from_environment()"
DASH = "tests.processes.dash_application:from_environment()"

KINDS = {
    "development": ["flask", "--app", FACTORY, "run"],
    "gthread": ["gunicorn", "--worker-class", "gthread", FACTORY],
    "gevent": ["gunicorn", "--worker-class", "gevent", FACTORY],
    "dash": ["gunicorn", DASH],
}
"""What each kind of server is started with."""


class WebServer(Server):
    """A web server.

    :param kind: one of :data:`KINDS`.
    :param config: the application's config.
    :param options: of the command line.
    """

    title = "Web"

    def __init__(self, kind: str, config: dict[str, Any], *options: str) -> None:
        super().__init__()
        self._kind = kind
        self._config = config
        self._options = options

    def prepare(self) -> None:
        """Do nothing: the application is in the tree."""

    def command(self, port: int) -> list[str]:
        """Give the command line.

        :param port: where to listen.
        """
        if self._kind == "development":
            where = ["--port", str(port)]
        else:
            # A worker that takes long to import everything is no dead one.
            limits = ["--timeout", "600", "--graceful-timeout", "5"]
            where = ["--bind", f"127.0.0.1:{port}", *limits, "--chdir", str(ROOT)]
        return [sys.executable, "-m", *KINDS[self._kind], *where, *self._options]

    def environment(self) -> dict[str, str]:
        """Give the environment: beside the usual the config, and where the tree is."""
        measuring = {name: value for name, value in os.environ.items() if name.startswith("COV")}
        return {
            **super().environment(),
            **measuring,
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            SETTINGS: json.dumps(self._config),
        }

    def answers(self, port: int) -> bool:
        """Tell whether this very server takes requests.

        :param port: where to ask.
        """
        with suppress(OSError, http.client.HTTPException):
            return bool(self.ask(port, "/pid"))
        return False

    def ask(self, port: int, path: str) -> str:
        """Return what is at a path.

        :param port: where to ask.
        :param path: the path.
        """
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.read().decode() if answer.status == 200 else ""
        finally:
            connection.close()

    def worker(self) -> int:
        """Return the id of a process that answers."""
        return int(self.ask(self.port, "/pid"))
