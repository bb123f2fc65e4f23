"""pandas DataFrames and Series, as Arrow writes them."""

from __future__ import annotations

from typing import Any

import pandas as pd  # type: ignore[import-untyped]
import pyarrow as pa  # type: ignore[import-untyped]

from ..core.record import JSON
from ..errors import StateValidationError

Form = tuple[str | None, JSON, bytes | None]
"""The kind, what is told about it, and its bytes; without a kind just a JSON value."""

_VALUES = "values"
"""What the column of a Series is called on its way."""


def form_of(value: Any) -> Form | None:
    """Return how something of pandas' is kept; None where it cannot be.

    :param value: a DataFrame, a Series, a moment, or what stands for a missing one.
    :raises StateValidationError: when Arrow cannot hold it, for example a column of different types.
    """
    if isinstance(value, pd.DataFrame):
        return "frame", None, _written(value)
    if isinstance(value, pd.Series):
        return "series", _name_of(value), _written(value.to_frame(_VALUES))
    if value is pd.NaT or value is pd.NA:
        return None, None, None
    if isinstance(value, pd.Timestamp):
        return "datetime", value.isoformat(timespec="microseconds"), None
    if isinstance(value, pd.Timedelta):
        return "timedelta", [value.days, value.seconds, value.microseconds], None
    return None


def restored(kind: str, about: JSON, part: bytes) -> Any:
    """Return the DataFrame or Series.

    :param kind: ``frame`` or ``series``.
    :param about: the name of a Series.
    :param part: what Arrow wrote.
    :raises ValueError: when it is damaged.
    """
    try:
        with pa.ipc.open_stream(pa.py_buffer(part)) as reader:
            table = reader.read_all()
        # Arrow believes what it is given: what is damaged would end the process.
        table.validate(full=True)
        frame = table.to_pandas()
    except (pa.ArrowException, OSError, AttributeError, NotImplementedError) as error:
        raise ValueError("not written by Arrow") from error
    if kind == "frame":
        return frame
    found = frame[_VALUES]
    found.name = about
    return found


def _written(frame: pd.DataFrame) -> bytes:
    if not isinstance(frame.columns, pd.MultiIndex) and frame.columns.inferred_type.startswith("mixed"):
        # Arrow would make texts of all of them.
        raise StateValidationError(
            {"data": ["The columns of a DataFrame in a store are called by texts or by numbers."]}
        )
    try:
        table = pa.Table.from_pandas(frame)
    except (pa.ArrowException, ValueError, TypeError) as error:
        raise StateValidationError(
            {"data": [f"The DataFrame cannot be kept in a store, give each column one type: {error}"]}
        ) from error
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    found: bytes = sink.getvalue().to_pybytes()
    return found


def _name_of(series: Any) -> JSON:
    if series.name is None or isinstance(series.name, str | int | float):
        return series.name
    raise StateValidationError({"data": ["A Series in a store is called by a text or a number, or not at all."]})
