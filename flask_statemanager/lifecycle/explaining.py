"""Why a transition is possible or not, without making it."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from ..core.record import Record
from .decisions import refusing_guard
from .machine import Machine
from .types import DELETED


class Explanation(Struct, frozen=True):
    """Whether a transition is possible now, and if not, what refuses it. True in a condition if it is possible.

    :param possible: whether it is.
    :param transition: the transition in question.
    :param status: the present status.
    :param allowed: the transitions that this status allows, guards left aside.
    :param rule: what refuses: ``status`` or ``guard``; None when possible.
    :param guard: the guard's name, if one refuses.
    :param reason: a sentence for the user.
    """

    possible: bool
    transition: str
    status: str
    allowed: tuple[str, ...]
    rule: str | None = None
    guard: str | None = None
    reason: str = "It is possible."

    def __bool__(self) -> bool:
        return self.possible


def explained(record: Record, machine: Machine, name: str) -> Explanation:
    """Tell whether a transition of a record is possible, its guards asked with the data as it is.

    :param record: the present record.
    :param machine: its machine.
    :param name: the transition.
    :raises StateValidationError: when the machine has no such transition.
    """
    allowed = machine.allowed(record.status)
    edge = machine.edge(record.status, name)
    if edge is None:
        machine.check_transition(name)
        reason = f"The status {record.status!r} allows only: {', '.join(allowed) or 'nothing'}."
        return Explanation(False, name, record.status, allowed, "status", reason=reason)
    deleted_at = record.updated_at if edge.target == DELETED else None
    after = replace(record, status=edge.target or record.status, deleted_at=deleted_at)
    guard = refusing_guard(edge, record, after)
    if guard is not None:
        return Explanation(False, name, record.status, allowed, "guard", guard.title, f"{guard.sentence.rstrip('.')}.")
    return Explanation(True, name, record.status, allowed)
