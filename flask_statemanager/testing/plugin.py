"""The pytest plugin: fixtures for applications that use Flask-StateManager."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..extension import StateManager
from .capture import Captured, captured
from .clock import FakeClock


@pytest.fixture
def fake_clock() -> FakeClock:
    """A clock that stands still; hand it to ``state_manager.use_clock()``."""
    return FakeClock()


@pytest.fixture
def state_manager_reset() -> Iterator[None]:
    """A manager of the test's own: the one before is forgotten, and so is the test's afterwards."""
    StateManager.reset_instance()
    yield
    StateManager.reset_instance()


@pytest.fixture
def captured_states() -> Iterator[Captured]:
    """The signals that the test causes, and the changes they carry."""
    with captured() as told:
        yield told
