"""One key of the settings, as the fields of their classes declare it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from typing import Any


def declared(
    read: Callable[[Any], Any], default: Any, doc: str, *, alias: str | None = None, secret: bool = False
) -> Any:
    """Declare a setting.

    :param read: reads its value as it stands in the config, or raises ValueError.
    :param default: its value where it is left out.
    :param doc: what it means, for the docs.
    :param alias: its second name, in the config or the environment.
    :param secret: whether an error must not show its value.
    """
    return field(default=default, metadata={"read": read, "doc": doc, "alias": alias, "secret": secret})
