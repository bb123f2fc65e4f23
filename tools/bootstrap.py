"""Make the virtual environment that the Makefile works in.

Usage: python3 tools/bootstrap.py DIRECTORY

Runs on whatever python3 the machine has, so it uses the standard library alone and nothing newer than Python 3.6, to be
able to say that a Python is too old. A fresh Debian lacks `ensurepip`, without which `venv` gives no pip; the ways
around that are tried in turn.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

OLDEST = (3, 10)


def say(text: str) -> None:
    """Print one line at once, so that it stands before what the next command prints.

    :param text: the line.
    """
    print("bootstrap: " + text, flush=True)


def succeeds(*command: str, quiet: bool = False) -> bool:
    """Run a command and tell whether it succeeded.

    :param command: the program and its arguments.
    :param quiet: whether to hide its output, for a question that may well be answered with no.
    :returns: whether it ended with status 0.
    """
    output = subprocess.DEVNULL if quiet else None
    try:
        return subprocess.call(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output) == 0
    except OSError:
        return False


def works(directory: Path) -> bool:
    """Tell whether a directory holds an environment with a new enough Python and pip.

    :param directory: the environment.
    :returns: whether nothing is left to do.
    """
    python = str(directory / "bin" / "python")
    new_enough = "import sys; sys.exit(sys.version_info < {})".format(OLDEST)
    return succeeds(python, "-c", new_enough, quiet=True) and succeeds(python, "-m", "pip", "--version", quiet=True)


def with_venv(directory: Path) -> bool:
    """Use the standard library's `venv`.

    :param directory: the environment to make.
    :returns: whether the environment works now.
    """
    if not succeeds(sys.executable, "-m", "ensurepip", "--version", quiet=True):
        return False
    return succeeds(sys.executable, "-m", "venv", "--clear", str(directory)) and works(directory)


def with_virtualenv(directory: Path) -> bool:
    """Use an installed `virtualenv`, as a module or as a command.

    :param directory: the environment to make.
    :returns: whether the environment works now.
    """
    arguments = ("--clear", "--python", sys.executable, str(directory))
    if succeeds(sys.executable, "-m", "virtualenv", "--version", quiet=True):
        say("no ensurepip here; using the installed virtualenv module")
        return succeeds(sys.executable, "-m", "virtualenv", *arguments) and works(directory)
    if shutil.which("virtualenv"):
        say("no ensurepip here; using the virtualenv command")
        return succeeds("virtualenv", *arguments) and works(directory)
    return False


def with_pip(directory: Path) -> bool:
    """Fetch `virtualenv` into a temporary folder with the interpreter's pip.

    :param directory: the environment to make.
    :returns: whether the environment works now.
    """
    if not succeeds(sys.executable, "-m", "pip", "--version", quiet=True):
        return False
    say("no ensurepip here; fetching virtualenv with pip into a temporary folder")
    with tempfile.TemporaryDirectory() as folder:
        if not succeeds(sys.executable, "-m", "pip", "install", "--target", folder, "virtualenv"):
            return False
        run = "import sys; sys.path.insert(0, {!r}); import virtualenv; virtualenv.cli_run(sys.argv[1:])".format(folder)
        return succeeds(sys.executable, "-c", run, "--clear", str(directory)) and works(directory)


def with_apt(directory: Path) -> bool:
    """Install Debian's package that brings ensurepip, when this is Debian's Python and we are root.

    :param directory: the environment to make.
    :returns: whether the environment works now.
    """
    if not (shutil.which("apt-get") and os.geteuid() == 0 and sys.executable.startswith("/usr/bin/")):
        return False
    package = debian_package()
    say("no ensurepip here; running apt-get install -y {}".format(package))
    os.environ["DEBIAN_FRONTEND"] = "noninteractive"
    install = ("apt-get", "install", "-y", "--no-install-recommends", package)
    if not succeeds(*install):
        say("that failed; running apt-get update and trying once more")
        if not (succeeds("apt-get", "update") and succeeds(*install)):
            return False
    return with_venv(directory)


def debian_package() -> str:
    """Name the Debian package that completes this interpreter.

    :returns: for example `python3.11-venv`.
    """
    return "python{}.{}-venv".format(*sys.version_info[:2])


def refuse_old_python() -> None:
    """End with a sentence when this Python is older than the project supports.

    :raises SystemExit: when it is.
    """
    if sys.version_info >= OLDEST:
        return
    names = ["python3.{}".format(minor) for minor in range(13, OLDEST[1] - 1, -1)]
    found = [name for name in names if shutil.which(name)]
    cure = "use `make PYTHON={} ...`".format(found[0]) if found else "install one and name it: `make PYTHON=...`"
    sys.exit(
        "bootstrap: Python {}.{} or later is needed, {} is {}.{}; {}".format(
            OLDEST[0], OLDEST[1], sys.executable, sys.version_info[0], sys.version_info[1], cure
        )
    )


def main(arguments: "list[str]") -> None:
    """Make the environment, or say exactly what to install.

    :param arguments: the directory.
    :raises SystemExit: when no way led to an environment.
    """
    if len(arguments) != 1:
        sys.exit("usage: bootstrap.py DIRECTORY")
    directory = Path(arguments[0])
    refuse_old_python()
    if works(directory):
        return
    say("making {} with {}".format(directory, sys.executable))
    if any(way(directory) for way in (with_venv, with_virtualenv, with_pip, with_apt)):
        return
    sys.exit(
        "bootstrap: {0} can make no virtual environment with pip. Install what is missing and run make again:\n"
        "    apt-get install {1}        (Debian, Ubuntu; as root)\n"
        "    {0} -m pip install virtualenv        (where pip is at hand)".format(sys.executable, debian_package())
    )


if __name__ == "__main__":
    main(sys.argv[1:])
