"""From what is refused to the bucket that all processes share: what keeping refusals needs of the other parts.

The bucket is a ring for each kind: a refusal takes the place of the two-hundredth before it of its kind, whoever wrote
that, and none of another. So it is bounded whatever happens, and what is refused to strangers by the thousand does not
drive out what an operator looks for.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial

import msgspec
from flask import Flask
from msgspec import Struct

from .core.buckets import REFUSALS
from .core.record import JSON, Origin, Record, living
from .core.step import Decide, Step
from .core.together import Together
from .effects.embedded import AppContext
from .kv.decisions import Set
from .kv.parts import KvParts
from .kv.setting import setting
from .kv.store import KeyValueStore
from .kv.value import KEEP, VALUE
from .runtime import Runtime
from .tracking.backlog import Backlog, Pace
from .tracking.refusals import KINDS, Refusal

SLOTS = 200
"""How many refusals of each kind are kept."""

PACE = Pace(most=1000, share=0.05)
"""How many may wait to be written, and which share of its time the thread may write."""

TIDY = 60.0
"""Seconds after which a process that writes clears away what is not kept any more, as there may be no worker."""

_ORIGIN = Origin("system", "refusals")


class Kept(Struct, frozen=True):
    """A refusal as it is kept: the fields of :class:`~flask_statemanager.tracking.refusals.Refusal`.

    ``times`` is the number when it was written last, and less than half of the true one never.
    """

    id: str
    kind: str
    face: str
    what: str
    who: str | None
    target: str | None
    why: str | None
    address: str | None
    first: datetime
    last: datetime
    times: int


class RefusalBook:
    """Writes refusals into the ring of their kind, and reads them.

    :param parts: finds the bucket.
    :param ttl: seconds that a refusal is kept.
    :param tidy: clears away what is not kept any more.
    """

    def __init__(self, parts: Callable[[], KvParts], ttl: float, tidy: Callable[[], bool]) -> None:
        self._parts = parts
        self._ttl = ttl
        self._tidy = tidy
        self._next_tidy = time.monotonic()

    def write(self, batch: Sequence[Refusal]) -> None:
        """Write refusals, new ones and those that have happened again.

        :param batch: in the order in which they came.
        :raises StateManagerError: when nothing could be written; it may be tried again.
        """
        parts = self._parts()
        found = list(dict.fromkeys(batch))
        for kind in KINDS:
            self._place(parts, kind, [each for each in found if each.kind == kind and each.slot is None])
        decisions: dict[str, Decide] = {}
        for each in found:
            assert each.slot is not None, "each has its place by now"
            key = _key(each.kind, each.slot)
            decisions[key] = _Own(setting(parts, key, each.note(), KEEP, self._ttl), each.id, each.first)
        Together(parts.bucket).write(decisions, origin=_ORIGIN)
        if time.monotonic() >= self._next_tidy:
            self._next_tidy = time.monotonic() + TIDY
            self._tidy()

    def _place(self, parts: KvParts, kind: str, fresh: Sequence[Refusal]) -> None:
        if fresh:
            number = KeyValueStore(lambda: parts).increment(f"{kind}:next", len(fresh), "refusals", actor="system")
            for place, each in enumerate(fresh):
                each.slot = (int(number) - len(fresh) + place) % SLOTS

    def latest(self) -> list[Kept]:
        """Return what is kept, the newest first.

        :raises StorageError: when the storage fails.
        """
        kv = KeyValueStore(self._parts)
        names = [_key(kind, slot) for kind in KINDS for slot in range(SLOTS)]
        found = (_read(value) for value in kv.get_many(names).values())
        return sorted((each for each in found if each is not None), key=lambda each: each.last, reverse=True)


class _Own(Struct, frozen=True):
    """Decides to write a refusal, unless a newer one has taken its place since.

    :param put: writes it.
    :param id: whose it is.
    :param first: when it was refused first.
    """

    put: Set
    id: str
    first: datetime

    def __call__(self, stored: Record | None, now: datetime) -> Step | None:
        alive = living(stored)
        held = None if alive is None else _read(alive.data[VALUE])
        if held is not None and held.id != self.id and held.first > self.first:
            return None
        return self.put(stored, now)


def _key(kind: str, slot: int) -> str:
    return f"{kind}:{slot:03}"


def _read(value: JSON) -> Kept | None:
    try:
        return msgspec.convert(value, Kept)
    except msgspec.ValidationError:
        return None


def book_of(runtime: Runtime) -> RefusalBook:
    """Return the book of an app's refusals.

    :param runtime: its running parts.
    """
    return RefusalBook(
        partial(runtime.shelves.kept, REFUSALS),
        runtime.settings.refusals_ttl,
        partial(runtime.shelves.tidy, REFUSALS),
    )


def keep_refusals(app: Flask, runtime: Runtime) -> None:
    """Have what an app refuses kept.

    :param app: the app, which is not kept.
    :param runtime: its running parts.
    """
    count = runtime.counters.increment
    backlog: Backlog[Refusal] = Backlog(
        book_of(runtime).write,
        pace=PACE,
        context=AppContext(app),
        count=lambda name, by: count(name.replace("tracking", "refusals"), by),
    )
    runtime.refusals.keep(backlog.add, backlog.flush)
    runtime.closing.append(backlog.close)
    weakref.finalize(app, backlog.close, 0).atexit = False
