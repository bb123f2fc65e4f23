"""Put Chromium and its driver on this machine, if it has none: some tests look at pages as a browser shows them.

On Debian and its kin, and as root, the packages are installed; elsewhere this says what to install. No test tool's own
download of a browser is used: it would come from a place that a machine for tests often cannot reach.
"""

import os
import shutil
import subprocess
import sys

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
DRIVER = "chromedriver"
PACKAGES = ("chromium", "chromium-driver")
PATIENCE = 900
"""Seconds that a step of the installation may take."""


def found() -> bool:
    """Tell whether a browser and its driver are on PATH.

    :returns: whether nothing is left to do.
    """
    return any(map(shutil.which, BROWSERS)) and shutil.which(DRIVER) is not None


def install() -> None:
    """Install the packages, with their lists fetched anew.

    :raises subprocess.SubprocessError: when that fails, or takes too long.
    """
    quiet = ["-q", "-o", "Acquire::Retries=3", "-o", "Dpkg::Use-Pty=0", "-o", "DPkg::Lock::Timeout=300"]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for step in (["update"], ["install", "--yes", "--no-install-recommends", *PACKAGES]):
        command = ["apt-get", *quiet, *step]
        subprocess.run(command, check=True, env=environment, stdin=subprocess.DEVNULL, timeout=PATIENCE)


def main() -> None:
    """Install browser and driver unless they are on PATH.

    :raises SystemExit: when they cannot be installed, with what to do instead.
    """
    if found():
        return
    advice = f"install them, on Debian with `apt-get install {' '.join(PACKAGES)}`"
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        sys.exit(f"no Chromium with its driver here, and this is no Debian, or not root: {advice}")
    print("no Chromium with its driver here; installing Debian's", flush=True)
    try:
        install()
    except (OSError, subprocess.SubprocessError) as error:
        sys.exit(f"Chromium could not be installed ({error}): {advice}")
    if not found():
        sys.exit(f"Chromium is installed, but not on PATH: {advice}")


if __name__ == "__main__":
    main()
