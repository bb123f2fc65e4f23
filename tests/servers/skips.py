"""Nothing skips silently: the last lines of a run list every skipped test with its reason."""

from __future__ import annotations

from collections.abc import Iterable

import pytest


def skip_lines(reports: Iterable[pytest.TestReport | pytest.CollectReport]) -> list[str]:
    """Write one line per skipped test.

    :param reports: what pytest reported as skipped.
    :returns: a heading and the lines, or one line that says there are none.
    """
    lines = sorted(f"  {report.nodeid}: {_reason(report)}" for report in reports)
    return [f"{len(lines)} skipped:", *lines] if lines else ["no test was skipped"]


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return reason.removeprefix("Skipped: ")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Print the list after pytest's own summary line, which is the last thing it prints itself.

    :param config: the run.
    """
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or hasattr(config, "workerinput"):
        return
    for line in skip_lines(reporter.getreports("skipped")):
        reporter.write_line(line)
