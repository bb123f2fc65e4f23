"""The parts of the documentation that are made out of the package, as reStructuredText."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import click
from blinker import NamedSignal

from flask_statemanager import signals
from flask_statemanager.cli import state
from flask_statemanager.cli.exits import EXITS
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


def exit_codes() -> str:
    """List the exit codes of the commands."""
    return "".join(f"- **{code}**: {meaning}\n" for code, meaning in EXITS)


def commands() -> str:
    """Describe every command, section by section."""
    parts = []
    for section in state.sections:
        parts.append(f"{section.title}\n{'-' * len(section.title)}\n")
        for name in section.commands:
            parts += _command(state, name, "flask state", "^")
    return _joined(parts)


def _command(group: click.Group, name: str, before: str, mark: str) -> Iterator[str]:
    context = click.Context(group, info_name=before)
    command = group.get_command(context, name)
    assert command is not None, "what is listed is there"
    path = f"{before} {name}"
    inner = click.Context(command, info_name=path)
    title = f"``{path}``"
    yield f"{title}\n{mark * len(title)}\n"
    yield _help(command.help or "")
    if isinstance(command, click.Group):
        for each in command.list_commands(inner):
            yield from _command(command, each, path, '"' if mark == "^" else "'")
        return
    usage = " ".join([path, *command.collect_usage_pieces(inner)])
    yield f".. code-block:: text\n\n   {usage}\n"
    yield f".. program:: {path}\n"
    yield from _options(command, inner)


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    for parameter in command.params:
        record = parameter.get_help_record(context) if isinstance(parameter, click.Option) else None
        if record is not None:
            yield f".. option:: {record[0]}\n\n   {_escaped(record[1])}\n"


def _help(text: str) -> str:
    """Turn the help of a command into reStructuredText; what stands behind a \\b keeps its lines."""
    paragraphs = re.sub(r"\f.*", "", text, flags=re.S).strip().split("\n\n")
    return _joined(f"{_paragraph(each)}\n" for each in paragraphs)


def _paragraph(text: str) -> str:
    lines = [line.strip() for line in text.strip("\n").splitlines()]
    if lines[0] == "\b":
        return ".. code-block:: text\n\n" + "\n".join(f"   {line}" for line in lines[1:])
    return _escaped(" ".join(lines))


def _escaped(text: str) -> str:
    """Write quoted words as code, and anything else such that it means nothing to reStructuredText."""
    parts = re.split(r"(?<![\w=])'([^']+)'(?![\w])", text)
    marked = (f"``{part}``" if place % 2 else re.sub(r"([*`|_\\])", r"\\\1", part) for place, part in enumerate(parts))
    return "".join(marked)


def _joined(parts: Iterable[str]) -> str:
    return "\n".join(parts)
