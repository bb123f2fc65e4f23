"""Duplicates: of two requests that are one, sent twice, the second waits for the answer of the first."""

from __future__ import annotations

import threading
import time
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

from ..errors import RequestInProgress


class Duplicates:
    """Lets one request of a kind at a time be under way in this process; a store tells those of other processes.

    :param patience: for how many seconds another one is waited for.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._lock = threading.Lock()
        self._under_way: dict[Hashable, threading.Event] = {}

    @contextmanager
    def alone(self, verb: str, actor: str, key: str) -> Iterator[None]:
        """Let the block be carried out while no other of its kind is.

        :param verb: what is asked for.
        :param actor: who asks.
        :param key: the idempotency key.
        :raises RequestInProgress: when the other one takes too long.
        """
        scope, own = (verb, actor, key), threading.Event()
        deadline = time.monotonic() + self._patience
        while (other := self._entered(scope, own)) is not None:
            if not other.wait(max(0.0, deadline - time.monotonic())):
                raise RequestInProgress(key, verb)
        try:
            yield
        finally:
            with self._lock:
                del self._under_way[scope]
            own.set()

    def _entered(self, scope: Hashable, own: threading.Event) -> threading.Event | None:
        """Take the place of a scope; return the event at whose end it may be free, where it is taken."""
        with self._lock:
            other = self._under_way.setdefault(scope, own)
        return None if other is own else other
