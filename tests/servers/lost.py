"""A worker of a test run that dies says how: the last lines of the run tell its signal, memory and last frames.

What a dying process prints itself stands where it died, thousands of lines before the end of the run.
"""

from __future__ import annotations

import faulthandler
import subprocess
from pathlib import Path
from signal import Signals
from typing import Any

import pytest

_FOLDER, _LOST = "last_words", pytest.StashKey[list[str]]()
_IN_TIME = 30.0
_MEMORY = ("MemTotal", "MemAvailable")


def how_it_ended(code: int | None) -> str:
    """Say how a process has ended.

    :param code: its return code as :mod:`subprocess` tells it; None while it runs.
    """
    if code is None:
        return "it still runs"
    return f"exit code {code}" if code >= 0 else Signals(-code).name


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """In a worker, write the frames of a fatal signal to a file, behind pytest's own plugin for that.

    :param config: the run.
    """
    folder = getattr(config, "workerinput", {}).get(_FOLDER)
    if folder is None:
        config.stash[_LOST] = []
        return
    words = (Path(folder) / config.workerinput["workerid"]).open("w")  # type: ignore[attr-defined]
    faulthandler.enable(file=words)
    config.add_cleanup(words.close)
    config.add_cleanup(faulthandler.disable)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker where it may leave its last words.

    :param node: the worker.
    """
    node.workerinput[_FOLDER] = str(node.config._tmp_path_factory.mktemp(_FOLDER))


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Keep how a worker ended that should not have.

    :param node: the worker.
    :param error: what was in the way; None for one that is done.
    """
    if not error:
        return
    process: subprocess.Popen[bytes] = node.gateway._io.popen
    try:
        ended = how_it_ended(process.wait(_IN_TIME))
    except subprocess.TimeoutExpired:
        ended = how_it_ended(None)
    words = Path(node.workerinput[_FOLDER]) / node.workerinput["workerid"]
    lines = words.read_text(errors="replace").splitlines() if words.exists() else []
    memory = [line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith(_MEMORY)]
    node.config.stash[_LOST] += [f"{words.name} was lost: {ended}", *memory, *lines]


def pytest_unconfigure(config: pytest.Config) -> None:
    """Print it after pytest's own summary.

    :param config: the run.
    """
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:
        return
    for line in config.stash.get(_LOST, []):
        reporter.write_line(line)
