"""What the log holds of values that its followers are not told: nothing.

So a value, which may be of megabytes, is written once. Nobody looks back at it either: where earlier values are wanted,
they are kept in a bucket of their own.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import case, cast, literal_column, or_
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql import ColumnElement

from ...core.buckets import BRIEF
from ...core.codec import encode
from ...core.held import VALUE

NOTHING = encode({VALUE: None})
"""What is written in place of a value."""


def logged(bucket: str, data: str) -> str:
    """Return what the log holds of a record's data.

    :param bucket: the collection.
    :param data: what the state holds.
    """
    return NOTHING if bucket in BRIEF else data


def logged_column(bucket: ColumnElement[Any], data: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return the same as an expression of PostgreSQL's.

    :param bucket: the column of the collection.
    :param data: what the state holds.
    """
    nothing = cast(literal_column(f"'{NOTHING}'"), JSONB)
    return case((or_(*(bucket == literal_column(f"'{name}'") for name in sorted(BRIEF))), nothing), else_=data)
