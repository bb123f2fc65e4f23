"""How results are shown: Markdown tables, and a JSON document that says what they were measured on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.figures import table

MARK = " †"
FOOTNOTE = "† The slowest round took more than twice as long as the fastest: something else was going on."


def document(results: Sequence[Mapping[str, Any]], runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the whole report.

    :param results: what was measured, each with the number of its run.
    :param runs: what each run was made on.
    """
    return {"runs": list(runs), "figures": table(results), "results": list(results)}


def joined(fresh: Mapping[str, Any], saved: Mapping[str, Any], suites: Sequence[str]) -> dict[str, Any]:
    """Return a report together with what an older one has of other suites and stores.

    :param fresh: a report.
    :param saved: an older one.
    :param suites: which suites there are, in their order; others are left out.
    """
    measured = {(each["suite"], each["store"]) for each in fresh["results"]}
    kept = [
        each for each in saved["results"] if (each["suite"], each["store"]) not in measured and each["suite"] in suites
    ]
    used = sorted({each["run"] for each in kept})
    results = [{**each, "run": used.index(each["run"])} for each in kept]
    results += [{**each, "run": len(used) + each["run"]} for each in fresh["results"]]
    runs = [*(saved["runs"][number] for number in used), *fresh["runs"]]
    return document(sorted(results, key=lambda each: suites.index(each["suite"])), runs)


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
            f"| {each['store']} | {each['work']} | {each['way']} | {each['median']:,.4g} {unit} | "
            f"{spread}{MARK * each['unsteady']} | {ratio:.2f} |"
        )
    return "\n".join([*lines, *_footnote(results)])


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
        lines += [f"| {' | '.join(cells)}{MARK * row['unsteady']} |"]
    return "\n".join([*lines, *_footnote(table(results))])


def _footnote(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return ["", FOOTNOTE] if any(row["unsteady"] for row in rows) else []
