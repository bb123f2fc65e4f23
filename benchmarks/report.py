"""How results are shown: Markdown tables, and a JSON document that says what they were measured on."""

from __future__ import annotations

import os
import platform
import sqlite3
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from benchmarks.figures import table

PACKAGES = (
    "Flask-StateManager",
    "Flask",
    "SQLAlchemy",
    "psycopg",
    "redis",
    "orjson",
    "Flask-SQLAlchemy",
    "Flask-Caching",
    "transitions",
    "SQLAlchemy-Continuum",
    "Django",
    "django-fsm-2",
    "django-fsm-log",
    "eventsourcing",
    "gunicorn",
)


def document(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the whole report.

    :param results: what was measured.
    """
    found = {"Python": platform.python_version(), "SQLite": sqlite3.sqlite_version}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    machine = {"cores": os.cpu_count(), "system": platform.system(), "processor": platform.machine()}
    return {"machine": machine, "versions": found, "figures": table(results), "results": list(results)}


def results_table(results: Sequence[Mapping[str, Any]]) -> str:
    """Draw what was measured.

    :param results: what was measured; who does the same in the same place stands together.
    """
    lines = ["| store | work | way | median | lowest to highest | times the first |", "|---|---|---|---:|---:|---:|"]
    first: Mapping[str, Any] = {}
    for each in in_order(results):
        if (each["store"], each["work"]) != (first.get("store"), first.get("work")):
            first = each
        unit, spread = each["unit"], f"{each['lowest']:,.4g} to {each['highest']:,.4g}"
        ratio = each["median"] / first["median"] if first["median"] else 1
        lines.append(
            f"| {each['store']} | {each['work']} | {each['way']} | {each['median']:,.4g} {unit} | {spread} | "
            f"{ratio:.2f} |"
        )
    return "\n".join(lines)


def in_order(results: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return results such that those of one piece of work stand together, in the order of their first appearance.

    :param results: what was measured.
    """
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for each in results:
        groups.setdefault((each["store"], each["work"]), []).append(each)
    return [each for group in groups.values() for each in group]


def figures_table(results: Sequence[Mapping[str, Any]]) -> str:
    """Draw the figures to reach beside what was measured.

    :param results: what was measured.
    """
    columns = ("store", "work", "against", "other", "ours", "reach", "measured")
    lines = [f"| {' | '.join(columns)} | reached |", f"|{'---|' * (len(columns) + 1)}"]
    for row in table(results):
        cells = [*(row[name] for name in columns), "yes" if row["reached"] else "NO"]
        lines += [f"| {' | '.join(cells)} |"]
    return "\n".join(lines)
