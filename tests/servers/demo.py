"""The example application as a process of its own, with a small sample."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

import pytest

from tests.servers.fixtures import serve
from tests.servers.process import Server

ROOT = Path(__file__).resolve().parent.parent.parent


class Demo(Server):
    """The Credit System, beginning with an empty database."""

    title = "Demo"

    def prepare(self) -> None:
        """Make the folder of the database."""
        self.instance.mkdir()

    @property
    def instance(self) -> Path:
        """The folder of the database and the snapshots."""
        return self.folder / "instance"

    @property
    def root(self) -> str:
        """The address, which ends with a slash."""
        return f"http://127.0.0.1:{self.port}/"

    def command(self, port: int) -> list[str]:
        """Give the command line.

        :param port: where to listen.
        :returns: the program and its arguments.
        """
        return [sys.executable, "-m", "tests.processes.demo", str(self.instance), str(port)]

    def environment(self) -> dict[str, str]:
        """Give the environment: beside the usual where the tree is."""
        measuring = {name: value for name, value in os.environ.items() if name.startswith("COV")}
        return {**super().environment(), **measuring, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}

    def answers(self, port: int) -> bool:
        """Tell whether it takes requests.

        :param port: where to ask.
        :returns: whether it is ready.
        """
        opener = build_opener(ProxyHandler({}))
        with (
            suppress(URLError, ConnectionError, TimeoutError),
            opener.open(f"http://127.0.0.1:{port}/login", timeout=5),
        ):
            return True
        return False


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    """A demo of the module's own."""
    yield from serve(Demo())
