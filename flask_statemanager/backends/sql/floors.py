"""Where nothing is stored, a record counts as one whose version is the floor of its bucket."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, func, literal_column, select
from sqlalchemy.sql import ColumnElement

from .tables import Tables


def floor_of(tables: Tables, bucket: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return the version floor of a bucket as an expression: 0 where no tombstone was ever removed.

    :param tables: the tables.
    :param bucket: which bucket: a parameter, or a column of the statement around.
    """
    noted = select(tables.bucket.c.version_floor).where(tables.bucket.c.bucket == bucket)
    return func.coalesce(noted.scalar_subquery(), literal_column("0", BigInteger()))


def is_first(tables: Tables, bucket: ColumnElement[Any], version: ColumnElement[Any]) -> ColumnElement[bool]:
    """Return the condition that a version is the one above the floor of its bucket.

    :param tables: the tables.
    :param bucket: which bucket.
    :param version: the version.
    """
    return version == floor_of(tables, bucket) + literal_column("1", BigInteger())
