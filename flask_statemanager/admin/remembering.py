"""What is dear to count is counted once in a few seconds, and its age is said."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from msgspec import Struct

from ..core.waking import PerProcess
from ..runtime import Runtime

Value = TypeVar("Value")


class Remembered(Struct, Generic[Value], frozen=True):
    """A value, and how old it is.

    :param value: the value.
    :param age: in seconds; 0 for one that was made just now.
    """

    value: Value
    age: float


class Memory:
    """Keeps values for some seconds, for each app apart, in this process.

    One request makes a value while others that want the same wait for it, so that a crowd costs what one does.

    :param seconds: for how long.
    :param most: how many values of one app.
    :param timer: tells the seconds.
    """

    def __init__(self, seconds: float, most: int = 64, timer: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._most = most
        self._timer = timer
        # A fork while another thread holds a lock would leave it held in the child for good.
        self._locks = PerProcess(threading.Lock)
        self._kept: weakref.WeakKeyDictionary[Runtime, dict[Hashable, tuple[float, object]]]
        self._kept = weakref.WeakKeyDictionary()

    def get(
        self, runtime: Runtime, key: Hashable, make: Callable[[], Value], *, fresh: bool = False
    ) -> Remembered[Value]:
        """Return a value, made anew where there is none or it is too old.

        :param runtime: the app's running parts.
        :param key: which value.
        :param make: makes it.
        :param fresh: make it anew in any case.
        """
        with self._locks.get():
            kept = self._kept.setdefault(runtime, {})
            found = kept.get(key)
            if found is not None and not fresh and self._timer() - found[0] < self._seconds:
                value: Value = found[1]  # type: ignore[assignment]
                return Remembered(value, self._timer() - found[0])
            made = make()
            if len(kept) >= self._most:
                kept.clear()
            kept[key] = self._timer(), made
            return Remembered(made, 0.0)
