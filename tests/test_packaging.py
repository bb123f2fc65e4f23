"""What is installed is what lies in the tree, in a wheel and in an editable installation alike."""

from __future__ import annotations

import configparser
import importlib
import json
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "flask_statemanager"
SOURCES = ("setup.cfg", "setup.py", "pyproject.toml", "README.rst", "LICENSE", "MANIFEST.in")
PURE = ("core", "lifecycle", "kv", "flows", "flags", "snapshots")
FOR_WORK = {"test", "lint", "docs", "dev"}
"""The extras that whoever works on the package installs, not who uses it."""
BESIDES = "# What these versions themselves need"
DATA = ("py.typed", ".lua", ".mako", ".html", ".css", ".js", ".svg")


def installed_names() -> set[str]:
    """List the files of the tree that belong into an installation, by the names they have there."""
    files = [path for path in PACKAGE.rglob("*") if path.suffix == ".py" or path.name.endswith(DATA)]
    names = {path.relative_to(ROOT).as_posix() for path in files}
    moved = [path for path in (ROOT / "migrations").rglob("*") if path.suffix in {".py", ".mako"}]
    return names | {f"flask_statemanager/{path.relative_to(ROOT).as_posix()}" for path in moved}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy what a build reads, so that it leaves nothing behind in the tree."""
    copy = tmp_path_factory.mktemp("tree")
    for name in SOURCES:
        shutil.copy(ROOT / name, copy)
    for name in ("flask_statemanager", "migrations"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def build(tree: Path, hook: str, folder: Path) -> Path:
    """Build a wheel with the build backend of this environment, without the network."""
    folder.mkdir()
    call = f"import sys; from setuptools import build_meta; build_meta.{hook}(sys.argv[1])"
    ended = subprocess.run(
        [sys.executable, "-c", call, str(folder)], cwd=tree, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    [wheel] = folder.glob("*.whl")
    return wheel


def find_modules(site: Path, *names: str) -> dict[str, str]:
    """Import modules in a process that sees the site folder and the dependencies, but not this tree."""
    # -I -S keep this environment's own editable installation out.
    program = (
        "import importlib, json, site, sys; "
        "site.addsitedir(sys.argv[1]); sys.path.append(sys.argv[2]); "
        "print(json.dumps({n: list(importlib.import_module(n).__path__)[0] for n in sys.argv[3:]}))"
    )
    libraries = sysconfig.get_path("purelib")
    ended = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program, str(site), libraries, *names],
        cwd=site,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return dict(json.loads(ended.stdout))


@pytest.mark.slow
def test_a_wheel_holds_every_module_and_data_file(tree, tmp_path):
    wheel = build(tree, "build_wheel", tmp_path / "wheel")
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
        archive.extractall(tmp_path / "site")
    assert {"flask_statemanager/migrations/env.py", "flask_statemanager/py.typed"} <= held
    assert any(name.startswith("flask_statemanager/migrations/versions/") for name in held)
    assert held == installed_names()
    found = find_modules(tmp_path / "site", "flask_statemanager", "flask_statemanager.migrations")
    assert found["flask_statemanager.migrations"] == str(tmp_path / "site" / "flask_statemanager" / "migrations")


@pytest.mark.slow
def test_an_editable_installation_finds_the_migrations_in_the_tree(tree, tmp_path):
    wheel = build(tree, "build_editable", tmp_path / "wheel")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    names = ("flask_statemanager", "flask_statemanager.migrations", "flask_statemanager.migrations.versions")
    found = find_modules(tmp_path / "site", *names)
    places = (tree / "flask_statemanager", tree / "migrations", tree / "migrations" / "versions")
    assert found == dict(zip(names, map(str, places), strict=True))


def test_the_running_installation_finds_the_migrations():
    migrations = importlib.import_module("flask_statemanager.migrations")
    assert (Path(next(iter(migrations.__path__))) / "env.py").is_file()


def test_all_is_what_can_be_imported():
    package = importlib.import_module("flask_statemanager")
    visible = {
        name for name, value in vars(package).items() if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert len(package.__all__) == len(set(package.__all__))
    assert [name for name in package.__all__ if not hasattr(package, name)] == []
    # A submodule is visible as soon as anything imports it, so modules may be listed but need not be.
    listed = {name for name in package.__all__ if not isinstance(getattr(package, name), ModuleType)}
    assert {name for name in listed if not name.startswith("_")} == visible


def test_importing_the_package_loads_no_part_that_not_every_application_uses():
    parts = ("admin", "backends.memory", "backends.redis", "backends.sql", "kv.store", "snapshots.archive", "web")
    names = [f"flask_statemanager.{part}" for part in parts]
    program = f"import sys, flask_statemanager; print(*(name for name in {names} if name in sys.modules))"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == []


def test_every_pure_layer_that_exists_is_under_the_contract():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    [contract] = [contract for contract in settings["contracts"] if contract["id"] == "pure"]
    expected = {f"flask_statemanager.{name}" for name in PURE if (PACKAGE / name).is_dir()}
    assert set(contract["source_modules"]) == expected


def test_the_lowest_versions_are_the_ones_that_setup_cfg_names():
    settings = configparser.ConfigParser(interpolation=None)
    settings.read(ROOT / "setup.cfg")
    extras = settings["options.extras_require"]
    blocks = [settings["options"]["install_requires"], *(extras[name] for name in extras if name not in FOR_WORK)]
    named = {full_version(line) for block in blocks for line in block.splitlines() if line}
    pinned = (ROOT / "requirements" / "lowest.txt").read_text().partition(BESIDES)[0]
    assert {full_version(line.replace("==", ">=")) for line in pinned.splitlines() if "==" in line} == named


def full_version(requirement: str) -> str:
    """Write the lowest version that a requirement allows, with three numbers: 3.0 is 3.0.0."""
    name, _, version = re.split("[;,]", requirement)[0].strip().partition(">=")
    return f"{name}>={version}" + ".0" * (2 - version.count("."))
