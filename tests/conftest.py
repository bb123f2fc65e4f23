"""What every test may use: the servers, and what the end of a run tells: skipped tests, lost workers."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

# Modules import from these plugins before they name them.
pytest.register_assert_rewrite("tests.servers")

pytest_plugins = [
    "pytester",
    "tests.servers.fixtures",
    "tests.worlds",
    "tests.archives",
    "tests.flow_application",
    "flask_statemanager.testing.plugin",
    "tests.servers.skips",
    "tests.servers.lost",
]

# Fixtures of some modules only. Those import from them too, before pytest knows that their asserts are to be rewritten,
# which it warns of; and here warnings are errors.
pytest.register_assert_rewrite(
    "tests.cli_operator",
    "tests.flow_worlds",
    "tests.servers.browser",
    "tests.servers.demo",
)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, Any]:
    """Keep captured text such that it can travel between the processes of a test run: no lone surrogates."""
    report = yield
    report.sections = [(title, text.encode("utf-8", "backslashreplace").decode()) for title, text in report.sections]
    return report
