"""Errors travel between processes."""

from __future__ import annotations

import copy
import pickle

import pytest

from flask_statemanager import GuardFailed, LimitExceeded, StateConflict, StateManagerError, StateNotFound
from flask_statemanager import StateValidationError as Invalid

ERRORS: list[StateManagerError] = [
    StateConflict("k", 1, 2),
    StateNotFound("u1"),
    Invalid({"a": ["Must be b."]}),
    GuardFailed("t", "s", ["x"], guard="g", reason="r"),
    LimitExceeded("The value", 1, 2),
]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_is_whole_in_another_process(error: StateManagerError, protocol: int) -> None:
    for found in (pickle.loads(pickle.dumps(error, protocol)), copy.copy(error)):  # noqa: S301 - its own
        assert (type(found), str(found), vars(found)) == (type(error), str(error), vars(error))
