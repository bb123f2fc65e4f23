"""A run over many states: chunk by chunk, with an account of what was done and what was refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from msgspec import Struct, field

from ..core.batch import Answers, Claim, Done, Row
from ..errors import BulkInterrupted, IdempotencyKeyReused, StateConflict, StorageError, TransitionNotAllowed
from .bulk_calls import Entry
from .parts import Parts

Write = Callable[[Sequence[Row], Claim | None], Answers | None]
"""Writes the rows of a chunk, and remembers the call with its first change; None when another has done that."""

Progress = Callable[[int, int, int | None], Any]
"""Called after each chunk with the number of states done, of states seen, and of all states, None where not known."""


class Refusal(Struct, frozen=True):
    """One state that was left as it was.

    :param state_id: which one; None for an item without an id.
    :param error: why: what the verb for one state would have raised.
    :param index: its place in the input, from 0 on.
    """

    state_id: str | None
    error: Exception
    index: int


class BulkResult(Struct, frozen=True):
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


class Input(Struct, frozen=True):
    """What a run is over.

    :param entries: the states, or what is to become one.
    :param total: how many there are, if that is known.
    :param claim: remembers the call with its first change; None where that is not wanted, or done.
    """

    entries: Iterable[Entry]
    total: int | None
    claim: Claim | None = None


class Run(Struct):
    """One call of a verb for many states.

    :param parts: the running parts.
    :param transition: the name under which refused transitions are told of.
    :param chunk: how many states a chunk takes.
    :param progress: told after each chunk.
    :param joined: whether somebody else commits.
    :param listing: whether the ids are listed in the result.
    :param actor: who asks.
    """

    parts: Parts
    transition: str
    chunk: int
    progress: Progress | None
    joined: bool
    listing: bool = False
    actor: str | None = None
    _seen: int = 0
    _done: int = 0
    _repeated: int = 0
    _refused: list[Refusal] = field(default_factory=list)
    _ids: list[str] = field(default_factory=list)

    def over(self, given: Callable[[], Input], write: Write) -> BulkResult:
        """Write everything, chunk by chunk.

        :param given: returns the input from its beginning. It is asked again when another has claimed the same call
            while this one had changed nothing.
        :param write: writes a chunk.
        :raises BulkInterrupted: when it ends in the middle, by whatever error, or the storage fails, or racers won
            every attempt at a chunk; where somebody else commits, the error itself is raised.
        :raises IdempotencyKeyReused: when the key of the claim belongs to another call.
        """
        while not self._through(given(), write):
            self._seen = 0
            self._refused.clear()
        return self._result()

    def _through(self, given: Input, write: Write) -> bool:
        chunks = _chunks(given.entries, self.chunk)
        try:
            while chunk := next(chunks, None):
                rows = [entry.row for entry in chunk if entry.row is not None]
                answers = write(rows, None if self._done else given.claim) if rows else {}
                if answers is None:
                    return False
                self._account(chunk, answers)
                if self.progress is not None:
                    self.progress(self._done, self._seen, given.total)
        except Exception as error:
            if self._interrupts(error):
                raise BulkInterrupted(self._result(), self._done) from error
            raise
        return True

    def _interrupts(self, error: Exception) -> bool:
        """Tell whether there is something to say beside the error: what is committed, and that some may not be."""
        if self.joined or (isinstance(error, IdempotencyKeyReused) and not self._done):
            return False
        return self._seen > 0 or isinstance(error, StorageError | StateConflict)

    def _account(self, chunk: Sequence[Entry], answers: Answers) -> None:
        self._seen += len(chunk)
        for entry in chunk:
            answer = entry.error if entry.row is None else answers[entry.row.name]
            if isinstance(answer, Done):
                self._done += 1
                self._repeated += answer.repeated
                self._ids += [answer.name] if self.listing else []
                continue
            assert answer is not None
            self._refused.append(Refusal(entry.state_id, answer, entry.place))
            if isinstance(answer, TransitionNotAllowed) and entry.state_id is not None:
                self.parts.refused(entry.state_id, self.transition, answer, self.actor)

    def _result(self) -> BulkResult:
        return BulkResult(self._done, tuple(self._refused), tuple(self._ids), self._repeated)


def _chunks(entries: Iterable[Entry], size: int) -> Iterator[list[Entry]]:
    """Cut the input into chunks without a name that occurs twice: the second time is decided after the first."""
    chunk: list[Entry] = []
    names: set[str] = set()
    for entry in entries:
        name = None if entry.row is None else entry.row.name
        if name in names:
            yield chunk
            chunk, names = [], set()
        chunk.append(entry)
        if name is not None:
            names.add(name)
        if len(chunk) == size:  # at once: what comes next may be long in coming, or never come
            yield chunk
            chunk, names = [], set()
    if chunk:
        yield chunk
