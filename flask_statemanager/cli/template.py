"""The configuration as a commented block of Python, made from the settings, so that it says what they are."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

from ..config import PREFIX, Settings
from ..config.declared import Declaration, DeclaredSettings

WIDTH = 79

_HEADINGS = {
    "Settings": "States, keys, conversations, the worker, snapshots, tracking",
    "StoresSettings": "Stores of user interfaces",
    "WebSettings": "The API",
    "LiveSettings": "Live events",
    "AdminSettings": "The admin pages",
}
_ROLES = (
    (re.compile(r":\w+:`([^`<]+?)(?: <[^`>]+>)?`"), r"\1"),
    (re.compile(r"``([^`]*)``"), r"\1"),
    (re.compile(r"`([^`]*)`"), r"\1"),
)


def configuration() -> str:
    """Return the block: every key with its meaning and its default, each a comment."""
    lines = [
        "# Configuration of Flask-StateManager. Each key has its default: take the mark",
        "# off what is to be another one.",
    ]
    for owner in _owners():
        own = {name: each for name, each in vars(owner).items() if isinstance(each, Declaration)}
        lines += ["", "", f"# -- {_HEADINGS.get(owner.__name__, owner.__name__)} ".ljust(WIDTH, "-")]
        for name, each in own.items():
            lines += ["", *_described(each), *_assigned(f"{PREFIX}{name.upper()}", default_of(each))]
    return "\n".join([*lines, ""])


def default_of(each: Declaration) -> str:
    """Write a default as Python that the setting reads again.

    :param each: the setting.
    """
    default = each.default
    if default is None:
        return "None"
    if isinstance(default, frozenset):
        return repr(sorted(default))
    if isinstance(default, tuple):
        try:
            each.read(list(default))
        except ValueError:
            return "{}"
        return repr(list(default))
    return repr(default)


def _assigned(key: str, default: str) -> list[str]:
    """Write a setting with its default; a long list takes several lines."""
    line = f"# {key} = {default}"
    if len(line) <= WIDTH or not default.startswith("["):
        return [line]
    words = textwrap.wrap(default[1:-1] + ",", WIDTH, initial_indent="#     ", subsequent_indent="#     ")
    return [f"# {key} = [", *words, "# ]"]


def _owners() -> Iterator[type[DeclaredSettings]]:
    yield from (owner for owner in Settings.__mro__ if _HEADINGS.get(owner.__name__) or _declares(owner))


def _declares(owner: type) -> bool:
    return any(isinstance(each, Declaration) for each in vars(owner).values())


def _described(each: Declaration) -> list[str]:
    text = each.doc
    for pattern, instead in _ROLES:
        text = pattern.sub(instead, text)
    if each.alias is not None:
        text += f" Also {each.alias}, in the config or as an environment variable."
    return textwrap.wrap(text, WIDTH, initial_indent="# ", subsequent_indent="# ", break_long_words=False)
