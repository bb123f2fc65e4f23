"""What a query means, in plain Python: the memory backend runs it, the SQL backend is held to it by the contract suite.

A condition matches values of its own JSON type only. A missing path, or a value of another type, satisfies only ``ne``
and ``exists=False``. None means JSON null, true is not 1, text is ordered by code point.
"""

from __future__ import annotations

from typing import Any

from .codec import same
from .query import Filter, Lapse, Query
from .record import JSON, Record
from .times import COMPARE

_MISSING: Any = object()


def matches(record: Record, query: Query) -> bool:
    """Tell whether a record is found by a query, its cursor and limit left aside.

    :param record: any record of the bucket.
    :param query: the query.
    """
    if record.deleted or (query.type is not None and record.type != query.type):
        return False
    if not record.key.name.startswith(query.prefix):
        return False
    if query.owner is not None and record.owner != query.owner:
        return False
    if query.statuses is not None and lapsed_status(record, query) not in query.statuses:
        return False
    return _fulfils(record, query)


def _fulfils(record: Record, query: Query) -> bool:
    in_time = all(bound.holds(record) for bound in query.times)
    return in_time and all(holds(record, condition) for condition in query.filters)


def lapsed_status(record: Record, query: Query) -> str:
    """Return the status that a record counts as at the moment of the query.

    :param record: any record.
    :param query: gives the moment and the rules.
    """
    rule = lapse_of(record, query)
    return record.status if rule is None else rule.target


def lapse_of(record: Record, query: Query) -> Lapse | None:
    """Return the rule by which a record has expired at the moment of the query, or None.

    :param record: any record.
    :param query: gives the moment and the rules.
    """
    if record.expires_at is None or record.expires_at > query.now:
        return None
    return next((rule for rule in query.lapses if rule.type == record.type and rule.source == record.status), None)


def is_after(record: Record, query: Query) -> bool:
    """Tell whether a record lies behind the query's cursor.

    :param record: a record that matches.
    :param query: the query, which has a cursor.
    """
    if query.after is None:
        return True
    position: Any = (query.order.value(record), record.key.name)
    return bool(position < query.after) if query.order.descending else bool(position > query.after)


def holds(record: Record, condition: Filter) -> bool:
    """Tell whether one condition holds for a record.

    :param record: any record.
    :param condition: the condition.
    """
    return found_in(getattr(record, condition.root), condition)


def found_in(document: JSON, condition: Filter) -> bool:
    """Tell whether one condition holds for a record's data, or metadata.

    :param document: whichever the condition is about.
    :param condition: the condition.
    """
    found = document
    for name in condition.path:
        found = found.get(name, _MISSING) if isinstance(found, dict) else _MISSING
    wanted = condition.value
    if condition.operator == "exists":
        return (found is not _MISSING) is wanted
    if condition.operator == "ne":
        return found is _MISSING or not same(found, wanted)
    return found is not _MISSING and _compares(found, condition.operator, wanted)


def _compares(found: JSON, name: str, wanted: JSON) -> bool:
    if name == "eq":
        return same(found, wanted)
    if name == "in":
        return any(same(found, item) for item in wanted)
    if name == "contains":
        return _contains(found, wanted)
    if name == "startswith":
        return isinstance(found, str) and found.startswith(wanted)
    return _comparable(found, wanted) and bool(COMPARE[name](found, wanted))


def _contains(found: JSON, wanted: JSON) -> bool:
    if isinstance(found, list):
        return any(same(item, wanted) for item in found)
    return isinstance(found, str) and isinstance(wanted, str) and wanted in found


def _comparable(found: JSON, wanted: JSON) -> bool:
    if isinstance(found, bool):
        return False
    return isinstance(found, str) if isinstance(wanted, str) else isinstance(found, int | float)
