"""Findings: what a look at the set-up has come to, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import asdict

from ..core.record import JSONObject
from .tables import GAP, painted, printable, say, terminal_width

OK, WARNING, FAILED, OFF = "ok", "warning", "failed", "off"

_COLOURS = {OK: "green", WARNING: "yellow", FAILED: "red"}


class Finding(Struct, frozen=True):
    """What was found.

    :param name: what was looked at.
    :param outcome: ``ok``, ``warning``, ``failed``, or ``off`` where there is nothing to look at.
    :param message: one sentence.
    :param cure: what to do; None where nothing is to be done.
    """

    name: str
    outcome: str
    message: str
    cure: str | None = None


def document_of(found: Sequence[Finding]) -> JSONObject:
    """Return findings as a JSON value.

    :param found: the findings.
    """
    return {"ok": not failures(found), "checks": [asdict(each) for each in found]}


def failures(found: Sequence[Finding], *, strict: bool = False) -> bool:
    """Tell whether something is wrong.

    :param found: the findings.
    :param strict: whether a warning counts.
    """
    return any(each.outcome == FAILED or (strict and each.outcome == WARNING) for each in found)


def print_findings(found: Sequence[Finding], *, err: bool = False) -> None:
    """Print findings, a cure on lines of its own.

    :param found: the findings.
    :param err: on standard error.
    """
    width = max(len(each.name) for each in found)
    margin = " " * (7 + len(GAP) + width + len(GAP))
    for each in found:
        outcome = each.outcome.ljust(7)
        mark = painted(outcome, _COLOURS[each.outcome]) if each.outcome in _COLOURS else outcome
        lines = _wrapped(printable(each.message), terminal_width() - len(margin))
        lines += [f"-> {line}" if i == 0 else f"   {line}" for i, line in enumerate(_cure(each, margin))]
        first, *rest = lines
        say("\n".join([f"{mark}{GAP}{each.name.ljust(width)}{GAP}{first}", *(margin + line for line in rest)]), err=err)


def _cure(found: Finding, margin: str) -> list[str]:
    return [] if found.cure is None else _wrapped(printable(found.cure), terminal_width() - len(margin) - 3)


def _wrapped(text: str, width: int) -> list[str]:
    """Break text into lines at spaces; a word that is longer than a line stays whole, to be copied."""
    lines, line = [], ""
    for word in text.split():
        if line and len(line) + 1 + len(word) > width:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".strip()
    return [*lines, line]
