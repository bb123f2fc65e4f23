"""The example application as a process of its own, with a small sample."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By

from example_app.sample import LOGINS
from example_app.visit import expect, wait_for
from example_app.walk import Walk
from tests.processes.demo import SECRET, TOKEN
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

    def elsewhere(self, *words: str) -> str:
        """Have another process do something in it.

        :param words: a command of ``flask state``.
        :returns: what it prints.
        """
        application = f"tests.processes.demo:build({str(self.instance)!r})"
        command = [sys.executable, "-m", "flask", "--app", application, "state", *words]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def walk(self) -> Walk:
        """Return what walks through it by HTTP, step by step."""
        return Walk(self.root, TOKEN, LOGINS, SECRET)

    def sign_in(self, window: webdriver.Remote, login: str = "admin") -> None:
        """Have a browser log in by the form.

        :param window: the browser.
        :param login: as whom.
        """
        window.get(f"{self.root}login")
        for name, typed in (("login", login), ("password", LOGINS[login][1])):
            window.find_element(By.NAME, name).send_keys(typed)
        window.find_element(By.CSS_SELECTOR, "main form button").click()


def fail_a_mail(walk: Walk, login: str) -> str:
    """Have a user suspended whose mail cannot be delivered, and wait until the effect is a dead letter.

    :param walk: walks through a demo, logged in as operator.
    :param login: the user's login.
    :returns: the user's id.
    """
    fields = {"login": login, "email": f"{login}@bounces.example.com", "display_name": "G. Gone"}
    state_id = str(expect(walk.program.call("POST", "api/users", fields), 201).json["state_id"])
    expect(walk.program.call("POST", f"api/users/{state_id}/transitions", {"transition": "suspend"}), 200)
    key = f"state:{state_id}:2:suspension-mail dead"
    wait_for(lambda: key in walk.operator.get("mails/").words, "there is no dead letter")
    return state_id


def throw_switch(walk: Walk, to: str) -> None:
    """Have the operator close or open registration: a switch, which is a key.

    :param walk: walks through a demo, logged in as operator.
    :param to: ``off`` or ``on``.
    """
    form = walk.operator.get("keys/").form("/switches/registration", to)
    expect(walk.operator.send(form, to=to), 200)


def enliven(demo: Demo, walk: Walk) -> None:
    """Have something be on every page: a conversation, a switch, a dead letter, a snapshot.

    :param demo: the demo.
    :param walk: walks through it, logged in.
    """
    walk.chat_onboard()
    throw_switch(walk, "off")
    throw_switch(walk, "on")
    fail_a_mail(walk, "gone")
    demo.elsewhere("snapshot", "create", "--bucket", "kv")


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    """A demo of the module's own."""
    yield from serve(Demo())
