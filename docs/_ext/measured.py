"""The results of the benchmarks as reStructuredText, out of the file that a run has written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

SAVED = Path(__file__).parents[2] / "benchmarks" / "results.json"


UNSTEADY = ("†", "† The slowest round took more than twice as long as the fastest: something else was going on.\n")


def measured_figures() -> str:
    """Tabulate the figures to reach."""
    columns = ("Where", "Work", "Against", "It takes", "Ours takes", "To reach", "Measured", "Reached")
    names = ("store", "work", "against", "other", "ours", "reach", "measured")
    figures = _saved()["figures"]
    rows = [[*(row[name] for name in names), _marked("yes" if row["reached"] else "no", row)] for row in figures]
    return _table(columns, rows) + _footnote(figures)


def measured_results() -> str:
    """Tabulate everything that was measured, in the order of the run."""
    results = _saved()["results"]
    columns, groups = ("Work", "Where", "Way", "Median", "Times the first"), _groups(results)
    rows = [
        [each["work"], each["store"], each["way"], _marked(_amount(each), each), _ratio(each, group[0])]
        for group in groups
        for each in group
    ]
    return _table(columns, rows) + _footnote(results)


def measured_circumstances() -> str:
    """Say what each run was made on, and what was measured in it where there were several."""
    saved = _saved()
    runs = saved["runs"]
    about = ["" if len(runs) == 1 else f"{_measured_in(number, saved['results'])}: " for number in range(len(runs))]
    return "\n".join(f"{what}{_circumstances(run)}\n" for what, run in zip(about, runs, strict=True))


def _measured_in(run: int, results: Iterable[Mapping[str, Any]]) -> str:
    """Name the suites of a run, with their places where a suite was measured in several runs."""
    places: dict[str, dict[int, list[str]]] = {}
    for each in results:
        found = places.setdefault(each["suite"], {}).setdefault(each["run"], [])
        if each["store"] not in found:
            found.append(each["store"])
    named = {suite: of[run] if len(of) > 1 else [] for suite, of in places.items() if run in of}
    return "; ".join(f"{suite} on {' and '.join(stores)}" if stores else suite for suite, stores in named.items())


def _circumstances(run: Mapping[str, Any]) -> str:
    machine, versions = run["machine"], run["versions"]
    told = [f"{machine['cores']} cores, {machine['system']} on {machine['processor']}"]
    told.append(", ".join(f"{name} {number}" for name, number in versions.items()))
    if None not in run["load"]:
        told.append("load average {} at the beginning and {} at the end".format(*run["load"]))
    took = "" if run["minutes"] is None else f" It took {run['minutes']:.0f} minutes."
    return f"{'; '.join(told)}.{took}"


def _marked(cell: str, row: Mapping[str, Any]) -> str:
    return f"{cell} {UNSTEADY[0]}" if row["unsteady"] else cell


def _footnote(rows: Iterable[Mapping[str, Any]]) -> str:
    return f"\n{UNSTEADY[1]}" if any(row["unsteady"] for row in rows) else ""


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
