"""The benchmarks run, and say what they have measured. How fast anything is, is no matter for a test."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from pathlib import Path

import pytest

from benchmarks.__main__ import SAVED, main
from benchmarks.children import Child, ChildFailed, ChildMissing
from benchmarks.figures import COST, FIGURES, OWN, SPEED, Figure, table
from benchmarks.ground import Choice, Ground
from benchmarks.rounds import Batch, Contestant, measure, timed
from benchmarks.work import DRIVER, EXTENSION, GET, HISTORY, REGISTER, SEARCH, UPDATE


def works(_stack: ExitStack, wish: str) -> dict[str, Batch]:
    """Speak for another package, in a process of its own."""
    if wish == "missing":
        raise ModuleNotFoundError("No module named 'absent'")
    if wish == "broken":
        raise ValueError("broken on purpose")
    return {"count": lambda numbers: float(len(numbers)), "fail": lambda _numbers: 1 / 0}


def test_a_quick_run_measures_driver_and_extension_and_prints_both_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "found.json"
    main(["writes", "reads", "--stores", "sqlite", "--no-peers", "--quick", "--json", str(path)])
    found = json.loads(path.read_text())
    ways = {(each["work"], each["way"]): each for each in found["results"]}
    assert set(ways) == {
        (work, way) for work in (UPDATE, REGISTER, GET, SEARCH, HISTORY) for way in (DRIVER, EXTENSION)
    }
    assert all(0 < each["lowest"] <= each["median"] <= each["highest"] for each in ways.values())
    assert [row["work"] for row in found["figures"]] == [UPDATE, REGISTER, GET]
    assert {"Python", "SQLite", "Flask-StateManager"} <= set(found["versions"])
    assert found["machine"]["cores"] == os.cpu_count()
    printed = capsys.readouterr().out
    assert "| SQLite, WAL, NORMAL | update_state | bare driver |" in printed
    assert "cost at most 2" in printed


def test_an_unknown_name_is_refused_before_anything_runs(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["writes", "flights"])
    assert "flights is not known" in capsys.readouterr().err


def test_contestants_take_turns_and_the_first_round_does_not_count() -> None:
    order: list[str] = []

    def taking(name: str) -> Batch:
        def batch(numbers: range) -> float:
            order.append(name)
            return 3e-6 * len(numbers)

        return batch

    one, two = (Contestant("here", "work", name, taking(name), pieces=3) for name in ("one", "two"))
    measure([one, two], rounds=3, runs=10)
    assert order == ["two", "one", "one", "two", "two", "one", "one", "two"]
    assert one.times == pytest.approx([1.0] * 3)


def test_an_operation_gets_each_number_once_inside_its_context() -> None:
    seen: list[int] = []
    entered = ExitStack()
    entered.callback(seen.append, -1)
    assert timed(seen.append, lambda: entered)(range(3)) > 0
    assert seen == [0, 1, 2, -1]


@pytest.mark.parametrize(
    ("sign", "bound", "measured", "reached"),
    [(COST, 2, "1.50", True), (COST, 1.4, "1.50", False), (SPEED, 0.6, "0.67", True), (SPEED, 0.7, "0.67", False),
     (OWN, 4, "3 µs", True), (OWN, 2, "3 µs", False)],
)  # fmt: skip
def test_a_figure_is_reached_or_not(sign: str, bound: float, measured: str, reached: bool) -> None:
    results = [
        {"store": "s", "work": "w", "way": way, "unit": "µs", "median": median}
        for way, median in ((EXTENSION, 3.0), (DRIVER, 2.0))
    ]
    known = {(str(each["store"]), str(each["work"]), str(each["way"])): each for each in results}
    row = Figure("s", "w", DRIVER, sign, bound).row(known)
    assert row is not None
    assert (row["measured"], row["reached"]) == (measured, reached)


def test_a_figure_of_what_was_not_measured_is_left_out() -> None:
    assert table([]) == []


def test_a_process_does_a_batch_and_tells_of_its_failure() -> None:
    child = Child(__name__, "well")
    try:
        assert child.works == ["count", "fail"]
        assert child.batch("count")(range(7)) == 7
        with pytest.raises(ChildFailed, match="ZeroDivisionError"):
            child.batch("fail")(range(1))
        assert child.batch("count")(range(2)) == 2
    finally:
        child.close()


def test_a_package_that_is_not_installed_is_told_from_one_that_fails() -> None:
    with pytest.raises(ChildMissing, match="absent"):
        Child(__name__, "missing")
    with pytest.raises(ChildFailed, match="broken on purpose") as failed:
        Child(__name__, "broken")
    assert not isinstance(failed.value, ChildMissing)


def test_nothing_is_started_for_a_store_that_is_not_asked_for() -> None:
    with ExitStack() as stack:
        ground = Ground(Choice(stores=frozenset(["sqlite"])), stack)
        assert [store.short for store in ground.stores(("sqlite", "postgresql"))] == ["sqlite"]


def test_the_saved_results_have_every_figure_and_the_page_is_made_of_them() -> None:
    saved = json.loads(SAVED.read_text(encoding="utf-8"))
    assert saved["figures"] == table(saved["results"])
    assert len(saved["figures"]) == len(FIGURES)
    page = (SAVED.parents[1] / "docs" / "benchmarks.rst").read_text("utf-8")
    for part in ("figures", "results", "circumstances"):
        assert f".. generated:: measured_{part}\n" in page
