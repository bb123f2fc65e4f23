"""Completion: what the shell offers, and that it never fails, never takes long, and never prints anything else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import click
import pytest
from click.shell_completion import ShellComplete
from flask.cli import FlaskGroup

from flask_statemanager import cli
from flask_statemanager.cli import completing
from tests.cli_operator import Operator

pytest_plugins = ["tests.cli_operator"]


def offered(operator: Operator | None, *words: str, create: Any = None) -> list[str]:
    """Return what is offered for the last of some words."""
    group = FlaskGroup(create_app=create or (lambda: operator.app), add_version_option=False)  # type: ignore[union-attr]
    group.add_command(cli.state)
    complete = ShellComplete(group, {}, "flask", "_FLASK_COMPLETE")
    return [item.value for item in complete.get_completions(["state", *words[:-1]], words[-1])]


@pytest.fixture
def filled(operator: Operator) -> Operator:
    """An operator of an app with some of everything."""
    for name in ("user_1", "user_2", "other"):
        operator.run("register", name, "user")
    operator.run("transition", "user_1", "suspend")
    operator.states.define_bucket("prefs")
    operator.run("kv", "set-many", '{"k:1": 1, "k:2": 2}')
    operator.run("kv", "set", "p:1", "1", "--bucket", "prefs")
    return operator


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["reg"], ["register"]),
        (["show", "user"], ["user_1", "user_2"]),
        (["register", "x", "pay"], ["payment"]),
        (["list", "--status", "paus"], []),
        (["register", "p", "payment", "--status", "pen"], ["pending"]),
        (["list", "payment", "--status", "pa"], ["paid"]),
        (["transition", "oth"], ["other"]),
        (["transition", "user_1", ""], ["activate", "resume", "expire", "update", "delete"]),
        (["transition", "--type", "payment", "la"], ["lapse"]),
        (["timers", "schedule", "user_1", "act"], ["activate"]),
        (["allowed", "nobody", "laps"], ["lapse"]),
        (["export", "--bucket", "pr"], ["prefs"]),
        (["kv", "get", "k:"], ["k:1", "k:2"]),
        (["kv", "get", "--bucket", "prefs", ""], ["p:1"]),
        (["kv", "get", "--bucket", "nothing", ""], []),
        (["flows", "diagram", "x"], []),
        (["completion", "b"], ["bash"]),
    ],
)
def test_the_words_that_fit_are_offered(filled: Operator, words: list[str], expected: list[str]) -> None:
    assert offered(filled, *words) == expected


def test_no_more_is_offered_than_can_be_looked_at(filled: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completing, "MOST", 2)
    assert len(offered(filled, "show", "")) == 2


def test_whatever_goes_wrong_nothing_is_offered_and_nothing_printed(
    filled: Operator, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> Any:
        print("starting ...")  # noqa: T201 - as applications do
        sys.exit("no database")

    assert offered(None, "show", "u", create=broken) == []
    monkeypatch.setattr(filled.runtime.backend, "listed", lambda *_given: 1 / 0)
    assert offered(filled, "show", "u") == []
    assert completing.STATE_ID.shell_complete(click.Context(cli.state), click.Option(["--x"]), "u") == []
    assert capfd.readouterr() == ("", "")


def test_who_takes_too_long_is_not_waited_for(filled: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completing, "PATIENCE", 0.01)
    release = threading.Event()

    def slow() -> Any:
        release.wait(60)
        return filled.app

    assert offered(None, "show", "u", create=slow) == []
    release.set()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_is_printed(operator: Operator, shell: str) -> None:
    assert "_STATE_COMPLETE" in operator.run("completion", shell).stdout
    operator.run("completion", "tcsh", code=2)


@pytest.mark.slow
def test_a_real_bash_completes(keeper: Operator, tmp_path: Path) -> None:
    bash = shutil.which("bash")
    assert bash is not None
    keeper.run("register", "user_1", "user")
    uri = keeper.app.config["STATEMANAGER_DATABASE_URI"]
    (tmp_path / "app.py").write_text(
        "from flask import Flask\nfrom flask_statemanager import StateManager\nprint('noise')\napp = Flask('shop')\n"
        f"app.config['STATEMANAGER_DATABASE_URI'] = {uri!r}\nStateManager(app)\n"
    )
    script = """
        eval "$(flask state completion bash)"
        complete -p flask
        COMP_WORDS=(flask state show us) COMP_CWORD=3
        for attempt in $(seq 20); do  # a busy machine may take longer than is waited for
            _flask_completion flask us state
            [ -n "$COMPREPLY" ] && break
        done
        echo "${COMPREPLY[@]}"
        COMP_WORDS=(flask --app nowhere state show us) COMP_CWORD=5
        COMPREPLY=()
        _flask_completion flask us show
        echo "none:${COMPREPLY[@]}"
    """
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    ended = subprocess.run(
        [bash, "--norc", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert ended.stderr == ""
    assert ended.stdout.splitlines()[-2:] == ["user_1", "none:"]
