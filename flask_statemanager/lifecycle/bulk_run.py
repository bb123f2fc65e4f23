"""A run over many states: chunk by chunk, with an account of what was done and what was refused."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..core.batch import Answer, Done, Row
from ..core.idempotency import Request
from ..errors import BulkInterrupted, StateConflict, StorageError, TransitionNotAllowed
from .parts import MAX_KEY, Parts

Progress = Callable[[int, int, int | None], Any]
"""Called after each chunk with the number of states done, of states seen, and of all states, None where not known."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """One state that was left as it was.

    :param state_id: which one; None for an item without an id.
    :param error: why: what the verb for one state would have raised.
    :param index: its place in the input, from 0 on.
    """

    state_id: str | None
    error: Exception
    index: int


@dataclass(frozen=True, slots=True)
class BulkResult:
    """What came of many states.

    :param done: how many were changed, or had been by an earlier call with the same idempotency key.
    :param refused: those that were left as they were, in the order of the input.
    :param ids: of :meth:`register_many`, the ids of the states, in the order of the input without the refused ones.
    :param repeated: how many of ``done`` an earlier call had changed.
    """

    done: int
    refused: tuple[Refusal, ...] = ()
    ids: tuple[str, ...] = ()
    repeated: int = 0

    @property
    def ok(self) -> bool:
        """Whether none was refused."""
        return not self.refused


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing of the input.

    :param index: its place.
    :param state_id: how to name it in a refusal.
    :param row: what is to be written; None where the input is unusable.
    :param error: why it is unusable.
    """

    index: int
    state_id: str | None
    row: Row | None
    error: Exception | None = None


@dataclass(slots=True)
class Run:
    """One call of a verb for many states.

    :param parts: the running parts.
    :param transition: the name under which refused transitions are told of.
    :param write: writes the rows of a chunk.
    :param chunk: how many states a chunk takes.
    :param progress: told after each chunk.
    :param total: of how many, if that is known.
    :param joined: whether somebody else commits.
    :param listing: whether the ids are listed in the result.
    """

    parts: Parts
    transition: str
    write: Callable[[Sequence[Row]], dict[str, Answer]]
    chunk: int
    progress: Progress | None
    total: int | None
    joined: bool
    listing: bool = False
    _done: int = 0
    _repeated: int = 0
    _refused: list[Refusal] = field(default_factory=list)
    _ids: list[str] = field(default_factory=list)

    def over(self, entries: Iterable[Entry]) -> BulkResult:
        """Write everything, chunk by chunk.

        :param entries: the input.
        :raises BulkInterrupted: when the storage fails, or racers won every attempt at a chunk.
        """
        seen = 0
        for chunk in _chunks(entries, self.chunk):
            self._account(chunk, self._written([entry.row for entry in chunk if entry.row is not None]))
            seen += len(chunk)
            if self.progress is not None:
                self.progress(self._done, seen, self.total)
        return self._result()

    def _written(self, rows: Sequence[Row]) -> dict[str, Answer]:
        if not rows:
            return {}
        try:
            return self.write(rows)
        except (StorageError, StateConflict) as error:
            if self.joined:
                raise
            raise BulkInterrupted(self._result(), self._done) from error

    def _account(self, chunk: Sequence[Entry], answers: dict[str, Answer]) -> None:
        for entry in chunk:
            answer = entry.error if entry.row is None else answers[entry.row.name]
            if isinstance(answer, Done):
                self._done += 1
                self._repeated += answer.repeated
                self._ids += [answer.name] if self.listing else []
                continue
            assert answer is not None
            self._refused.append(Refusal(entry.state_id, answer, entry.index))
            if isinstance(answer, TransitionNotAllowed) and entry.state_id is not None:
                self.parts.refused(entry.state_id, self.transition, answer)

    def _result(self) -> BulkResult:
        return BulkResult(self._done, tuple(self._refused), tuple(self._ids), self._repeated)


def row_request(once: Request | None, place: str) -> Request | None:
    """Return the request by which one state of a repeatable call is recognised.

    :param once: the call's own request, or None.
    :param place: the state's id, or something that is no id.
    """
    if once is None:
        return None
    # No id has a blank in it, so that two keys cannot run into each other.
    key = f"{once.key} {place}"
    return replace(once, key=key if len(key) <= MAX_KEY else hashlib.sha256(key.encode()).hexdigest())


def _chunks(entries: Iterable[Entry], size: int) -> Iterator[list[Entry]]:
    """Cut the input into chunks without a name that occurs twice: the second time is decided after the first."""
    chunk: list[Entry] = []
    names: set[str] = set()
    for entry in entries:
        name = None if entry.row is None else entry.row.name
        if len(chunk) == size or name in names:
            yield chunk
            chunk, names = [], set()
        chunk.append(entry)
        if name is not None:
            names.add(name)
    if chunk:
        yield chunk
