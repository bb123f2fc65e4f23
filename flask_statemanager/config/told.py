"""Settings as they may be shown: what they are, where each comes from, without what is secret."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from .settings import PREFIX, Settings

HIDDEN = "[hidden]"
"""What stands in place of a secret."""

_CREDENTIALS = re.compile(r"(?<=://)[^/?#\s]*(?=@)")
_ARGUMENTS = re.compile(r"(?i)([?&][^=&]*(?:password|passwd|secret|token|key)[^=&]*=)[^&#]*")


class Told(Struct, frozen=True):
    """A setting of one app.

    :param key: its key.
    :param value: its value, without what is secret.
    :param origin: ``default``, ``config`` or ``environment``, with the second name where that was used.
    """

    key: str
    value: Any
    origin: str


def told_settings(settings: Settings, config: Mapping[str, Any], environ: Mapping[str, str]) -> list[Told]:
    """Return the settings of an app as they may be shown.

    :param settings: the settings.
    :param config: the config that they were read from.
    :param environ: the environment variables.
    """
    found = []
    for name, each in settings.declarations.items():
        key = f"{PREFIX}{name.upper()}"
        value = getattr(settings, name)
        shown = HIDDEN if each.secret and value else covered(value)
        found.append(Told(key, shown, _origin(key, each.alias, config, environ)))
    return found


def covered(value: Any) -> Any:
    """Return a value without user names and passwords of URLs.

    >>> covered("redis://:s3cret@cache:6379/0")
    'redis://[hidden]@cache:6379/0'

    :param value: any value of a setting.
    """
    if not isinstance(value, str):
        return value
    return _ARGUMENTS.sub(rf"\1{HIDDEN}", _CREDENTIALS.sub(HIDDEN, value))


def _origin(key: str, alias: str | None, config: Mapping[str, Any], environ: Mapping[str, str]) -> str:
    if config.get(key) is not None:
        return "config"
    if alias is None:
        return "default"
    if config.get(alias) is not None:
        return f"config ({alias})"
    return f"environment ({alias})" if environ.get(alias) is not None else "default"
