"""What the commands print: tables that fit the terminal, JSON, and text that cannot steer the terminal."""

from __future__ import annotations

import json
import os
import shutil
import sys
import unicodedata
from collections.abc import Sequence
from itertools import compress
from typing import Any

import click
from msgspec import Struct

GAP = "  "
ELLIPSIS = "…"
BELOW = " " * 4
"""What a line below a row begins with."""
NARROWEST = 6
"""The columns of the terminal that a shortened column keeps at least."""

_WIDE = f"{__name__}.wide"
_WIDEST = 1_000_000


class Column(Struct, frozen=True):
    """A column of a table.

    :param title: its heading.
    :param right: whether it is aligned to the right, as numbers are.
    :param firm: whether the others are shortened first.
    """

    title: str
    right: bool = False
    firm: bool = False


def printable(value: object) -> str:
    """Write a value on one line, with every control, format and surrogate character escaped.

    :param value: anything; None is shown as nothing.
    :returns: text that cannot move the cursor, change colours or reverse the line.
    """
    text = "" if value is None else str(value)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def document(value: Any) -> str:
    """Write a value as a JSON document of ASCII characters.

    :param value: a JSON value.
    """
    # DEL is the one control character that json leaves as it is, and it can only stand inside a string.
    return json.dumps(value, indent=2).replace("\x7f", "\\u007f")


def say(text: str, *, err: bool = False) -> None:
    """Print text, with characters that the terminal's encoding lacks escaped.

    :param text: one or more lines.
    :param err: on standard error.
    """
    encoding = (sys.stderr if err else sys.stdout).encoding or "utf-8"
    click.echo(text.encode(encoding, "backslashreplace").decode(encoding), err=err)


def painted(text: str, colour: str) -> str:
    """Write text in a colour, where the terminal shows colours and nobody has said NO_COLOR (https://no-color.org).

    :param text: printable text.
    :param colour: a colour of the terminal's own, so that it goes with light and dark ones.
    """
    return click.style(text, fg=colour) if coloured() else text


def coloured() -> bool:
    """Tell whether what is printed may have colours."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def moment(iso: str | None) -> str:
    """Write a moment to the second, for a table whose heading says UTC.

    :param iso: ISO 8601 in UTC, or None.
    """
    return "" if iso is None else iso[:19].replace("T", " ")


def table(columns: Sequence[Column], rows: Sequence[Sequence[object]]) -> str:
    """Draw a table that fits the terminal; a column without any content is left out, unless it is the first.

    :param columns: the headings.
    :param rows: the cells, in the order of the columns.
    :returns: lines without anything behind the last character.
    """
    cells = [[printable(cell) for cell in row] for row in rows]
    filled = [i == 0 or any(row[i] for row in cells) for i in range(len(columns))]
    heads = list(compress(columns, filled))
    body = [list(compress(row, filled)) for row in cells]
    widths = _widths(heads, body, terminal_width())
    titles = [column.title for column in heads]
    return "\n".join(_line(heads, widths, line) for line in (titles, *body))


def beneath(drawn: str, texts: Sequence[str | None]) -> str:
    """Put a text on a line below each row of a table, cut to the terminal.

    :param drawn: the table.
    :param texts: one for each row; nothing is put below where there is none.
    """
    head, *lines = drawn.split("\n")
    result = [head]
    for line, text in zip(lines, texts, strict=True):
        result.append(line)
        if text:
            result.append(shortened(f"{BELOW}{printable(text)}", terminal_width()))
    return "\n".join(result)


def terminal_width() -> int:
    """Return how many columns a line may take: ``COLUMNS``, else the terminal's, else 80; with ``--wide`` any."""
    command = click.get_current_context(silent=True)
    if command is not None and command.meta.get(_WIDE):
        return _WIDEST
    return max(20, shutil.get_terminal_size((80, 24)).columns)


def widen(ctx: click.Context) -> None:
    """Have nothing cut for the rest of a command.

    :param ctx: click's context.
    """
    ctx.meta[_WIDE] = True


def shortened(text: str, width: int) -> str:
    """Cut text to a number of terminal columns, with an ellipsis where something is missing.

    :param text: printable text.
    :param width: terminal columns.
    """
    if breadth(text) <= width:
        return text
    shown, used = "", 1
    for character in text:
        used += breadth(character)
        if used > width:
            break
        shown += character
    return shown + ELLIPSIS


def breadth(text: str) -> int:
    """Return how many terminal columns text takes; East Asian wide characters take two, combining ones none.

    :param text: printable text.
    """
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _widths(columns: Sequence[Column], rows: Sequence[Sequence[str]], available: int) -> list[int]:
    """Give every column what it needs, then take from the widest until the line fits, from headings last."""
    titles = [breadth(column.title) for column in columns]
    widths = [max([title, *(breadth(row[i]) for row in rows)]) for i, title in enumerate(titles)]
    room = available - len(GAP) * (len(columns) - 1)
    whole = [max(NARROWEST, title) for title in titles]
    loose = [i for i, column in enumerate(columns) if not column.firm]
    every, narrow = range(len(columns)), [NARROWEST] * len(columns)
    for able, least in ((loose, whole), (loose, narrow), (every, whole), (every, narrow)):
        _narrow(widths, room, able, least)
    return widths


def _narrow(widths: list[int], room: int, able: Sequence[int], least: Sequence[int]) -> None:
    """Take from the widest of some columns what is too much, down to what each keeps at least."""
    while sum(widths) > room:
        given = [i for i in able if widths[i] > least[i]]
        if not given:
            return
        widths[max(given, key=lambda i: widths[i])] -= 1


def _line(columns: Sequence[Column], widths: Sequence[int], cells: Sequence[str]) -> str:
    parts = []
    for column, width, cell in zip(columns, widths, cells, strict=True):
        text = shortened(cell, width)
        padding = " " * (width - breadth(text))
        parts.append(padding + text if column.right else text + padding)
    return GAP.join(parts).rstrip()
