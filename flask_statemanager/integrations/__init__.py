"""Optional packages that an application may have: a module for each, loaded by name when it is asked for."""

from __future__ import annotations

import importlib
from types import ModuleType

from ..errors import ConfigurationError


def load(name: str, *, wanted_by: str) -> ModuleType:
    """Import one of the integrations.

    :param name: the module, which is also the name of the extra that installs what it needs.
    :param wanted_by: the setting that asks for it, for the message.
    :raises ConfigurationError: when the package it needs is not installed.
    """
    try:
        return importlib.import_module(f"{__name__}.{name}")
    except ImportError as error:
        raise ConfigurationError(
            f"{wanted_by} needs a package that is not installed ({error}): pip install 'Flask-StateManager[{name}]'."
        ) from error
