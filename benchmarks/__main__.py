"""Run the benchmarks: ``python -m benchmarks [NAME ...]``, see ``--help``."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.circumstances import Run
from benchmarks.ground import NOWHERE, Choice, Ground
from benchmarks.report import document, figures_table, joined, results_table
from benchmarks.suites import STORES, SUITES

SAVED = Path(__file__).with_name("results.json")
"""What the documentation shows."""

FIGURES = "figures"
"""Asks for the table of the figures to reach alone."""


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    found = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure, and print Markdown and JSON.")
    names = ", ".join(SUITES)
    about = (
        f"what to measure: {names}; all by default. With {FIGURES} among them, only the figures to reach are printed"
    )
    found.add_argument("names", nargs="*", metavar="NAME", help=about)
    found.add_argument("--stores", default=",".join(STORES), help=f"where, some of {','.join(STORES)}")
    found.add_argument("--no-peers", action="store_true", help="leave other packages out")
    found.add_argument("--rounds", type=int, help="how many rounds count (default: what each needs)")
    found.add_argument(
        "--apart", action="store_true", help="cores of their own for client and servers: a quiet machine"
    )
    found.add_argument(
        "--large", action="store_true", help="lists of keys among a million, too, and snapshots of as many"
    )
    found.add_argument("--quick", action="store_true", help="be short rather than exact")
    found.add_argument(
        "--postgres", metavar="URL", help="a server on which databases may be made, postgresql+psycopg://"
    )
    found.add_argument(
        "--json", metavar="FILE", type=Path, help="write the JSON document there, instead of printing it"
    )
    found.add_argument(
        "--save", action="store_true", help=f"write it to {SAVED.name} for the docs, beside the rest there"
    )
    return found


def measured(names: list[str], choice: Choice) -> dict[str, Any]:
    """Measure, and return the report.

    :param names: of the suites.
    :param choice: what is asked for.
    """
    found: list[dict[str, Any]] = []
    run = Run()
    with ExitStack() as stack:
        ground = Ground(choice, stack)
        for name in names:
            begin = time.monotonic()
            found += [{"suite": name, "run": 0, **each} for each in SUITES[name].results(ground)]
            print(f"{name}: {time.monotonic() - begin:.0f} s", file=sys.stderr)
        return document(found, [run.told(ground.versions)])


def text(report: dict[str, Any]) -> str:
    """Return the JSON document.

    :param report: the report.
    """
    return json.dumps(report, indent=1, ensure_ascii=False)


def write(path: Path, report: dict[str, Any]) -> None:
    """Write the JSON document.

    :param path: where.
    :param report: the report.
    """
    path.write_text(f"{text(report)}\n", encoding="utf-8")


def save(report: dict[str, Any], path: Path = SAVED) -> None:
    """Write a report beside what is saved of other suites and stores.

    :param report: the report.
    :param path: where that is saved.
    """
    saved = json.loads(path.read_text(encoding="utf-8")) if path.exists() else document([], [])
    write(path, joined(report, saved, list(SUITES)))


@contextmanager
def _unwarned() -> Iterator[None]:
    """Let nobody be warned that no worker carries effects out."""
    logger = logging.getLogger("flask_statemanager.effects")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def main(words: list[str] | None = None) -> None:
    """Measure and print.

    :param words: the command line; that of the process by default.
    """
    reader = parser()
    given = reader.parse_intermixed_args(words)
    stores = frozenset(given.stores.split(","))
    names = [name for name in given.names if name != FIGURES]
    alone = len(names) < len(given.names)
    unknown = [*(set(names) - set(SUITES)), *(stores - set(STORES))]
    if unknown:
        reader.error(f"{', '.join(sorted(unknown))} is not known")
    if given.quick and given.save:
        reader.error("a quick run is among few states and of few rounds: save one without --quick")
    choice = Choice(
        stores | {NOWHERE},
        peers=not given.no_peers,
        quick=given.quick,
        apart=given.apart,
        rounds=given.rounds,
        postgres=given.postgres,
        large=given.large,
    )
    with _unwarned():
        report = measured(names or list(SUITES), choice)
    if not alone:
        print(results_table(report["results"]), end="\n\n")
    print(figures_table(report["results"]))
    if given.save:
        save(report)
    if given.json:
        write(given.json, report)
    elif not alone and not given.save:
        print(f"\n{text(report)}")


if __name__ == "__main__":
    main()
