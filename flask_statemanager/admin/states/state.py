"""One state: what it is, what it can become and why not, what awaits it, what became of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import orjson
from msgspec import Struct

from ...core.jobs import DEAD, PAUSED, PENDING
from ...core.record import Record
from ...effects.outbox import Effect
from ...errors import StateNotFound, StateValidationError
from ...lifecycle.definitions import TypeDefinition
from ...lifecycle.explaining import Explanation, explained
from ...lifecycle.scheduling import Timer
from ...lifecycle.state import State
from ...lifecycle.types import DELETE, UPDATE
from ..answers import Download, Shown
from ..causes import timer_without_secrets, without_secrets
from ..visit import Visit
from .forms import UNITS, known_id, version
from .history import changes_of, history_of, meanwhile, record_at

MOST_JOBS = 20
"""Timers, and effects, of one state that its page shows."""


class Move(Struct, frozen=True):
    """A transition, and whether it is possible now.

    :param explanation: whether it is, and why not.
    :param target: the status that it leads to from here; None where it starts elsewhere.
    :param sources: the statuses that it starts from.
    """

    explanation: Explanation
    target: str | None
    sources: Sequence[str]

    @property
    def name(self) -> str:
        """The transition's name."""
        return self.explanation.transition


class Jobs(Struct, frozen=True):
    """What awaits a state.

    :param timers: transitions to be made later.
    :param effects: durable effects that are not done, or given up.
    """

    timers: Sequence[Timer]
    effects: Sequence[Effect]


def show_state(visit: Visit, state_id: str) -> Shown:
    """Show one state; of a deleted one, what its history knows.

    :param visit: the visit.
    :param state_id: which state.
    :raises StateNotFound: when there never was one.
    :raises StorageError: when the storage fails.
    """
    name = known_id(state_id)
    record = visit.runtime.bucket.get(name, strong=True)
    if record is None:
        known = changes_of(visit, name)
        if not known:
            raise StateNotFound(name)
        record = known[0].after
    documents = _documents(visit, record)
    history = history_of(visit, name, documents["bytes"])
    values = {"state": record, "history": history, "meanwhile": meanwhile(visit, record), "units": list(UNITS)}
    outlook = _outlook(record, visit.runtime.declarations.definitions.find(record.type))
    return Shown("state.html", {**values, **outlook, **documents, "jobs": _jobs(visit, name)})


def _outlook(record: Record, definition: TypeDefinition | None) -> dict[str, Any]:
    """Return what a state can become, as far as its type is declared."""
    if definition is None:
        return {"declared": False}
    moves = [] if record.deleted else moves_of(record, definition)
    by_name = {move.name: move for move in moves}
    return {
        "declared": True,
        "final": record.status in definition.machine.final,
        "moves": [move for move in moves if move.name not in (UPDATE, DELETE)],
        "update": by_name.get(UPDATE),
        "removal": by_name.get(DELETE),
        "transitions": _names(definition),
    }


def moves_of(record: Record, definition: TypeDefinition) -> list[Move]:
    """Return every transition of a state's machine, guards asked with its data as it is.

    :param record: the state.
    :param definition: its type.
    """
    machine, sources = definition.machine, dict[str, list[str]]()
    for source, name, _target in machine.edges():
        sources.setdefault(name, []).append(source)
    return [
        Move(explained(record, machine, name), machine.target(record.status, name), sources.get(name, ()))
        for name in _names(definition)
    ]


def _names(definition: TypeDefinition) -> list[str]:
    return list(dict.fromkeys(transition.name for transition in definition.machine.transitions))


def _documents(visit: Visit, record: Record) -> dict[str, Any]:
    data, metadata = visit.covered(record.data), visit.covered(record.metadata)
    return {
        "data": data,
        "metadata": metadata,
        "bytes": len(orjson.dumps(record.data)) + len(orjson.dumps(record.metadata)),
        "secrets": (data, metadata) != (record.data, record.metadata),
    }


def _jobs(visit: Visit, name: str) -> Jobs | None:
    """Return what awaits a state, or None where the backend keeps no timers and effects."""
    runtime = visit.runtime
    if runtime.bucket.jobs.enqueues is None:
        return None
    timers = runtime.lifecycle.list_timers(name, status=(PENDING, PAUSED, DEAD), limit=MOST_JOBS)
    effects = runtime.workshop.outbox.effects(
        status=(PENDING, DEAD), state_id=name, effect=None, limit=MOST_JOBS, after=None
    )
    return Jobs(
        [timer_without_secrets(visit, timer) for timer in timers],
        [without_secrets(visit, effect) for effect in effects],
    )


def download(visit: Visit, state_id: str) -> Download:
    """Send a state as a file, as it is or as it was at the version in the query.

    :param visit: the visit.
    :param state_id: which state.
    :raises StateNotFound: when there is none.
    :raises StateValidationError: when the version is none.
    :raises StorageError: when the storage fails.
    """
    name, written = known_id(state_id), visit.query.get("version")
    number = None if written is None else version(written)
    if written is not None and number is None:
        raise StateValidationError({"version": ["Must be a version, a positive number."]})
    record = visit.runtime.bucket.get(name, strong=True) if number is None else record_at(visit, name, number)
    if record is None:
        raise StateNotFound(name, at=None if number is None else f"version {number}")
    state = State.of(record)
    state |= {part: visit.covered(state[part]) for part in ("data", "metadata")}
    file = re.sub(r"[^A-Za-z0-9._-]", "_", name)
    return Download(_lines(state), "application/json", f"{file}-v{record.version}.json")


def _lines(state: State) -> Iterator[bytes]:
    yield orjson.dumps(state, option=orjson.OPT_INDENT_2)
    yield b"\n"
