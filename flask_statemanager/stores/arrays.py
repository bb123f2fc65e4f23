"""NumPy arrays and numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.record import JSON
from ..errors import StateValidationError

Form = tuple[str | None, JSON, bytes | None]
"""The kind, what is told about it, and its bytes; without a kind just a JSON value."""

_KINDS = frozenset("biufcSUmM")
"""Booleans, numbers, texts and times: what lies in an array as bytes that mean the same everywhere."""


def form_of(value: Any) -> Form | None:
    """Return how something of NumPy's is kept; None where it cannot be.

    :param value: an array or a number.
    :raises StateValidationError: when it is an array of Python objects, or one with a mask.
    """
    if isinstance(value, np.ma.MaskedArray):
        raise StateValidationError({"data": ["An array in a store has no mask: fill it first, value.filled(...)."]})
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in _KINDS:
            raise StateValidationError(
                {"data": [f"An array of {value.dtype} cannot be kept in a store: give it a type of numbers or text."]}
            )
        return "array", [value.dtype.str, list(value.shape)], value.tobytes()
    if isinstance(value, np.datetime64 | np.timedelta64):
        return form_of(np.asarray(value))
    if isinstance(value, np.generic) and not isinstance(value, np.void | np.complexfloating):
        return None, value.item(), None
    return None


def restored(kind: str, about: JSON, part: bytes) -> Any:
    """Return the array, which may be written to.

    :param kind: ``array``.
    :param about: its type and shape.
    :param part: its bytes.
    :raises ValueError: when these do not fit each other.
    """
    dtype, shape = np.dtype(about[0]), tuple(about[1])
    if kind != "array" or dtype.kind not in _KINDS:
        raise ValueError("no such array was ever written")
    found = np.frombuffer(part, dtype=dtype).reshape(shape).copy()
    return found[()] if found.ndim == 0 else found
