"""What the powers of the SQL backend share: each power is a class of its own, in a file of its own."""

from __future__ import annotations

from sqlalchemy.engine import Engine

from .dialect import Dialect
from .statements import Statements
from .tables import Tables


class SqlPower:
    """The parts that :class:`SqlBackend` makes, for its powers to use."""

    engine: Engine
    tables: Tables
    _dialect: Dialect
    _statements: Statements
