"""The parts of the documentation that are made out of the package, as reStructuredText."""

from __future__ import annotations

from collections.abc import Iterable

from blinker import NamedSignal

from flask_statemanager import signals
from flask_statemanager.config import Settings
from flask_statemanager.core.query import OPERATORS, ORDERS


def config_keys() -> str:
    """Describe every setting."""
    return _joined(_setting(*found) for found in Settings.documented())


def _setting(key: str, default: object, doc: str) -> str:
    return f".. confval:: {key}\n   :default: ``{default!r}``\n\n   {doc}\n"


def signal_list() -> str:
    """Describe every signal."""
    found = {name: value for name, value in vars(signals).items() if isinstance(value, NamedSignal)}
    return _joined(_signal(name, str(value.__doc__)) for name, value in found.items())


def _signal(name: str, doc: str) -> str:
    return f".. py:data:: flask_statemanager.signals.{name}\n\n   {doc}\n"


def operators() -> str:
    """List the filter operators."""
    return ", ".join(f"``__{name}``" for name in OPERATORS) + "\n"


def orders() -> str:
    """List what a search can be ordered by."""
    return ", ".join(f"``{name}``" for name in ORDERS) + "\n"


def _joined(parts: Iterable[str]) -> str:
    return "\n".join(parts)
