"""Which of many changes are the first rows of their records, above the floor of their bucket."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import bindparam, select

from ...core.record import Change, Key
from .connection import SqlUnit
from .moves import among, listed, named
from .statements import Statements, compiled


class Firsts:
    """Tells them from changes of what is stored, which a floor makes necessary: without one it is the version 1.

    :param statements: tables and the database's habits.
    """

    def __init__(self, statements: Statements) -> None:
        self._statements = statements
        state = statements.tables.state.c
        here = state.bucket == bindparam("k_bucket"), among(statements, state.name, "k_names")
        one_by_one = named(statements, [state.name], lock=False) if statements.postgres else None
        self._present = compiled(
            select(state.name).where(*here) if one_by_one is None else one_by_one, statements.dialect
        )

    def among(self, unit: SqlUnit, changes: Sequence[Change]) -> set[Key]:
        """Return the keys of changes that follow nothing, and ask for what is stored only where that is in doubt.

        :param unit: an open writing unit.
        :param changes: changes of different records.
        :raises StorageError: when the database fails.
        """
        found = {change.key for change in changes if change.version == 1}
        doubted: dict[str, list[str]] = {}
        for change in changes:
            if change.version > 1 and change.before is None:
                doubted.setdefault(change.key.bucket, []).append(change.key.name)
        for bucket, names in doubted.items():
            values = {"k_bucket": bucket, "k_names": listed(self._statements, sorted(names))}
            present = {row[0] for row in unit.run(self._present, values, planned=False)}
            found.update(Key(bucket, name) for name in names if name not in present)
        return found
