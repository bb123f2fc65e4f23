"""Optional packages that an application may have: a module for each, loaded by name when it is asked for."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from ..errors import ConfigurationError

if TYPE_CHECKING:
    from ..snapshots.storage import SnapshotStorage

_PACKAGE = __name__.rpartition(".")[0]


def load(name: str, *, wanted_by: str) -> ModuleType:
    """Import one of the integrations.

    :param name: the module, which is also the name of the extra that installs what it needs.
    :param wanted_by: the setting that asks for it, for the message.
    :raises ConfigurationError: when the package it needs is not installed.
    """
    return load_part(f"integrations.{name}", extra=name, wanted_by=wanted_by)


def load_part(module: str, *, extra: str, wanted_by: str) -> ModuleType:
    """Import a part of this package that only some applications use, when it is asked for.

    :param module: its dotted name within this package.
    :param extra: the extra that installs what it needs.
    :param wanted_by: the setting that asks for it, for the message.
    :raises ConfigurationError: when a package it needs is not installed.
    """
    try:
        return importlib.import_module(f"{_PACKAGE}.{module}")
    except ImportError as error:
        raise ConfigurationError(
            f"{wanted_by} needs a package that is not installed ({error}): pip install 'Flask-StateManager[{extra}]'."
        ) from error


def storage_at(place: str | None, folder: str) -> SnapshotStorage:
    """Return where snapshots are kept.

    :param place: a directory, or a URL such as ``s3://bucket/path``; None for the default.
    :param folder: the app's instance folder, in which the default is, and relative directories are.
    :raises ConfigurationError: when a package that it needs is not installed, or the URL is unusable.
    """
    found: SnapshotStorage
    if place is not None and "://" in place:
        found = load("snapshots", wanted_by="STATEMANAGER_SNAPSHOTS").UrlStorage(place)
    else:
        directory = importlib.import_module(f"{_PACKAGE}.snapshots.directory")
        found = directory.DirectoryStorage(Path(folder, place or "snapshots"))
    return found
