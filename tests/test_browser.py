"""The browser of the tests is a real one, and gone afterwards."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from selenium import webdriver

from tests.servers import executables
from tests.servers.accessibility import violations
from tests.servers.browser import ChromeDriver, complaints, look
from tests.servers.executables import ServerMissing
from tools import axe

pytest_plugins = ["tests.servers.browser"]

ROOT = Path(__file__).resolve().parent.parent
TOOL = ROOT / "tools" / "browser.py"


def test_a_page_is_shown_and_its_script_runs(window: webdriver.Remote) -> None:
    window.get("data:text/html,<title>before</title><script>document.title = [1, 2].join('-')</script>")
    assert window.title == "1-2"


def test_what_a_page_complains_of_is_told(window: webdriver.Remote) -> None:
    window.get("data:text/html,<script>nothing.here()</script>")
    assert "nothing is not defined" in " ".join(complaints(window))
    assert complaints(window) == []


def test_nothing_is_left_of_a_driver_that_was_killed() -> None:
    driver = ChromeDriver()
    with driver, driver.window() as opened:
        folder = driver.folder
        opened.get("data:text/html,<p>here</p>")
        assert _browsers_of(folder) != []
        driver.signal(signal.SIGKILL)
        deadline = time.monotonic() + 60
        while _browsers_of(folder) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert _browsers_of(folder) == []
    assert not folder.exists()


def _browsers_of(folder: Path) -> list[str]:
    """List the processes whose command lines name the folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and entry.name != str(os.getpid()):
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if str(folder).encode() in command and b"user-data-dir" in command:
                found.append(entry.name)
    return found


def test_a_machine_without_a_browser_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(executables, "script", lambda: tmp_path / "axe.js")
    with pytest.raises(ServerMissing, match=r"python tools/axe\.py"):
        executables.axe_script()
    with pytest.raises(ServerMissing, match="apt-get install chromium"):
        executables.browser_executable()
    with pytest.raises(ServerMissing, match="chromedriver"):
        executables.driver_executable()


@pytest.mark.parametrize("works", [True, False])
def test_the_tool_installs_what_is_missing_or_says_how(tmp_path: Path, works: bool) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    packaged = "for name in chromium chromedriver; do printf '#!/bin/sh' > {0}/$name; chmod 755 {0}/$name; done"
    chmod = shutil.which("chmod")
    assert chmod is not None
    (programs / "chmod").symlink_to(chmod)
    (programs / "apt-get").write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n'
        + (f'case "$*" in *install*) {packaged.format(programs)};; esac\n' if works else "exit 1\n")
    )
    (programs / "apt-get").chmod(0o755)
    run = [
        sys.executable,
        "-c",
        f"import os, runpy; os.geteuid = lambda: 0; runpy.run_path({str(TOOL)!r}, run_name='__main__')",
    ]
    ended = subprocess.run(run, env={"PATH": str(programs)}, capture_output=True, text=True, check=False, timeout=60)
    asked = (tmp_path / "asked").read_text()
    if works:
        assert ended.returncode == 0, ended.stderr
        assert "update" in asked.splitlines()[0]
        assert "chromium chromium-driver" in asked.splitlines()[1]
    else:
        assert "could not be installed" in ended.stderr
        assert "apt-get install chromium chromium-driver" in ended.stderr


def test_the_tool_does_nothing_where_there_is_a_browser(tmp_path: Path) -> None:
    for name in ("google-chrome", "chromedriver"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    run = [sys.executable, str(TOOL)]
    ended = subprocess.run(run, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False, timeout=60)
    assert (ended.returncode, ended.stdout) == (0, "")
    (tmp_path / "chromedriver").unlink()
    ended = subprocess.run(run, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 1
    assert "no Chromium with its driver here" in ended.stderr


def test_a_page_that_not_everybody_can_use_is_told_of(window: webdriver.Remote) -> None:
    look(window)
    window.get("data:text/html,<html lang=en><title>A page</title><main><h1>A page</h1><img src=a.png><input></main>")
    found = " ".join(violations(window))
    assert "image-alt" in found
    assert "label" in found
    window.get("data:text/html,<html lang=en><title>A page</title><main><h1>A page</h1></main>")
    assert violations(window) == []


def test_a_browser_can_be_like_a_phones_at_night_without_scripts(window: webdriver.Remote) -> None:
    page = "data:text/html,<meta name=viewport content='width=device-width'><script>document.title = 'ran'</script>"
    look(window, dark=True, narrow=True, scripts=False)
    window.get(page)
    assert window.title != "ran"
    assert window.execute_script("return [innerWidth, matchMedia('(prefers-color-scheme: dark)').matches]") == [
        390,
        True,
    ]
    look(window)
    window.get(page)
    assert window.title == "ran"
    assert window.execute_script("return matchMedia('(prefers-color-scheme: dark)').matches") is False


def test_axe_core_is_taken_out_of_a_wheel_that_pip_has_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def download(command: list[str], check: bool) -> None:
        asked.append([*command, Path(command[-1]).read_text()])
        with zipfile.ZipFile(Path(command[command.index("--dest") + 1], "some.whl"), "w") as wheel:
            wheel.writestr(axe.MEMBER, "the script")

    monkeypatch.setattr(axe, "script", lambda: tmp_path / "share" / "axe.js")
    monkeypatch.setattr(axe.subprocess, "run", download)
    axe.main()
    axe.main()
    assert len(asked) == 1, "what is there is not fetched again"
    assert "--require-hashes" in asked[0]
    assert "--hash=sha256:" in asked[0][-1]
    assert [path.name for path in (tmp_path / "share").iterdir()] == ["axe.js"]
    assert (tmp_path / "share" / "axe.js").read_text() == "the script"


def test_whoever_cannot_fetch_axe_core_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(axe, "script", lambda: tmp_path / "axe.js")
    monkeypatch.setattr(axe, "REQUIREMENT", "no-such-thing==0\n")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(SystemExit, match="pip must reach a package index"):
        axe.main()
