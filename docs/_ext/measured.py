"""The results of the benchmarks as reStructuredText, out of the file that a run has written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

SAVED = Path(__file__).parents[2] / "benchmarks" / "results.json"


def measured_figures() -> str:
    """Tabulate the figures to reach."""
    columns = ("Where", "Work", "Against", "It takes", "Ours takes", "To reach", "Measured", "Reached")
    names = ("store", "work", "against", "other", "ours", "reach", "measured")
    rows = [[*(row[name] for name in names), "yes" if row["reached"] else "no"] for row in _saved()["figures"]]
    return _table(columns, rows)


def measured_results() -> str:
    """Tabulate everything that was measured, in the order of the run."""
    columns, groups = ("Work", "Where", "Way", "Median", "Times the first"), _groups(_saved()["results"])
    rows = [
        [each["work"], each["store"], each["way"], _amount(each), _ratio(each, group[0])]
        for group in groups
        for each in group
    ]
    return _table(columns, rows)


def measured_circumstances() -> str:
    """Say what it was measured on."""
    saved = _saved()
    machine, versions = saved["machine"], saved["versions"]
    listed = ", ".join(f"{name} {number}" for name, number in versions.items())
    return f"{machine['cores']} cores, {machine['system']} on {machine['processor']}; {listed}.\n"


def _saved() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(SAVED.read_text(encoding="utf-8"))
    return found


def _groups(found: Iterable[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Put those of one piece of work in one place together."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for each in found:
        groups.setdefault((each["work"], each["store"]), []).append(each)
    return list(groups.values())


def _amount(each: Mapping[str, Any]) -> str:
    number = each["median"]
    return f"{number:,.0f} {each['unit']}" if number >= 100 else f"{number:.3g} {each['unit']}"


def _ratio(each: Mapping[str, Any], first: Mapping[str, Any]) -> str:
    return f"{each['median'] / first['median']:.2f}" if first["median"] else ""


def _table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Write a list-table; an empty cell needs its blank line no less than a full one."""
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in (columns, *rows):
        lines += [f"   {'* -' if place == 0 else '  -'} {cell}".rstrip() for place, cell in enumerate(row)]
    return "\n".join(lines) + "\n"
