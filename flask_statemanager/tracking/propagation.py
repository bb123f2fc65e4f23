"""Propagation: to whom the changes of a record are told. Rules over plain values, which an application can change.

A user is told of what belongs to it: where the record's owner is its id, or where a whole segment of the key, between
``:`` or ``/``, is. So user 1 is never told of user 12, and an id that holds a separator is found by the owner only.
Keys that begin with ``global:`` or ``market:`` are everybody's, and an administrator is told of everything. Names of
the stores of user interfaces hold what the stores are called, which is no user: they are administrators' alone here.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence

from msgspec import Struct

from ..core.buckets import KEPT_STORES, STORES
from ..core.record import JSON, Change, Record

logger = logging.getLogger("flask_statemanager")

EVERYBODYS = ("global:", "market:")
"""How keys begin that are told to everybody, unless the settings say otherwise."""

_SEPARATORS = re.compile("[:/]")


class Reach(Struct, frozen=True):
    """Whose a record is.

    :param everyone: everybody's who may read at all.
    :param users: the ids of those whose it is otherwise.
    """

    everyone: bool = False
    users: frozenset[str] = frozenset()

    def covers(self, user: str | None) -> bool:
        """Tell whether a user may see the record.

        :param user: the id; None for somebody without one, who sees only what is everybody's.
        """
        return self.everyone or user in self.users


NOBODY = Reach()
"""Only administrators see it."""

ReachRule = Callable[[Record, Reach], Reach]
"""Takes a record and whose it is by the rules of this module, and returns whose it is to be."""


def kept_back(_record: Record, _found: Reach) -> Reach:
    """Leave every record to administrators: the rule where nothing is to be propagated.

    :param _record: the record.
    :param _found: whose it is by the rules of this module.
    """
    return NOBODY


class PropagationSource:
    """How an application says itself whose a record is.

    :param rule: its rule; None where those of this module hold.
    """

    def __init__(self, rule: ReachRule | None = None) -> None:
        self.rule = rule


class Sight(Struct, frozen=True):
    """What of a change somebody may see: of a record that got another owner only one side.

    :param old: the record before it.
    :param new: the record after it.
    :param values: whether the values of what is seen are.
    """

    old: bool
    new: bool
    values: bool = True

    def __bool__(self) -> bool:
        return self.old or self.new


FULL = Sight(True, True)


class Reaches(Struct, frozen=True):
    """Whose a record was before a change, and whose it is after it."""

    before: Reach
    after: Reach

    def sight(self, user: str | None) -> Sight:
        """Return what a user may see of the change.

        :param user: the id, or None.
        """
        return Sight(self.before.covers(user), self.after.covers(user))


class Propagation:
    """The rules of one application.

    :param prefixes: how keys begin that are everybody's.
    :param source: the application's own rule. Where it fails, only administrators are told.
    :param failed: called when it does.
    """

    def __init__(
        self,
        prefixes: Sequence[str] = EVERYBODYS,
        source: PropagationSource | None = None,
        failed: Callable[[], None] = lambda: None,
    ) -> None:
        self._prefixes = tuple(prefixes)
        self._source = source or PropagationSource()
        self._failed = failed

    def reach(self, record: Record) -> Reach:
        """Return whose a record is.

        :param record: the record, a tombstone too.
        """
        by_rules = self._by_rules(record)
        rule = self._source.rule
        if rule is None:
            return by_rules
        try:
            return _checked(rule(record, by_rules))
        except Exception:
            logger.exception("The rule of propagation failed on %s version %d.", record.key, record.version)
            self._failed()
            return NOBODY

    def reaches(self, change: Change) -> Reaches:
        """Return whose a record was before a change and is after it.

        :param change: the change; of a creation both are the same.
        """
        after = self.reach(change.after)
        return Reaches(after if change.before is None else self.reach(change.before), after)

    def _by_rules(self, record: Record) -> Reach:
        if record.key.bucket in (STORES, KEPT_STORES):
            return NOBODY
        name = record.key.name
        users = {*_SEPARATORS.split(name), record.owner or ""} - {""}
        return Reach(name.startswith(self._prefixes), frozenset(users))


def _checked(found: object) -> Reach:
    if not isinstance(found, Reach):
        raise TypeError(f"a rule of propagation returns a Reach, not {type(found).__name__}")
    return found


def without_members(value: JSON, names: frozenset[str]) -> JSON:
    """Return a JSON value without the members of some names, however deep they lie.

    :param value: the value, which stays as it is.
    :param names: the names, in lower case; upper and lower case are the same here.
    """
    if isinstance(value, dict):
        return {name: without_members(each, names) for name, each in value.items() if name.lower() not in names}
    if isinstance(value, list):
        return [without_members(each, names) for each in value]
    return value
