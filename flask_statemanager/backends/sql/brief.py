"""What the log holds of values that nobody looks back at: nothing.

Those who follow the stores of user interfaces are told which of them has changed, and not what they hold; those whose
earlier values are wanted are kept in a bucket of their own. So a value, which may be of megabytes, is written once.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import case, cast, literal_column
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql import ColumnElement

from ...core.buckets import STORES
from ...core.codec import encode
from ...core.held import VALUE

NOTHING = encode({VALUE: None})
"""What is written in place of a value."""


def logged(bucket: str, data: str) -> str:
    """Return what the log holds of a record's data.

    :param bucket: the collection.
    :param data: what the state holds.
    """
    return NOTHING if bucket == STORES else data


def logged_column(bucket: ColumnElement[Any], data: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return the same as an expression of PostgreSQL's.

    :param bucket: the column of the collection.
    :param data: what the state holds.
    """
    nothing = cast(literal_column(f"'{NOTHING}'"), JSONB)
    return case((bucket == literal_column(f"'{STORES}'"), nothing), else_=data)
