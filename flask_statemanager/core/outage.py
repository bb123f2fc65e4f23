"""Outages: something that does not answer is logged once, and asked again after growing pauses."""

from __future__ import annotations

import logging
import random
import threading

_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 30.0


class Outage:
    """Follows whether something answers; safe in threads.

    :param logger: where the beginning and the end are written.
    :param subject: what may fail to answer, as the beginning of a sentence.
    """

    def __init__(self, logger: logging.Logger, subject: str) -> None:
        self._logger = logger
        self._subject = subject
        self._lock = threading.Lock()
        self._failures = 0

    def failed(self, error: BaseException, *, trace: bool = False) -> float:
        """Note a failure.

        :param error: what went wrong; logged if it is the first.
        :param trace: whether with its traceback.
        :returns: how many seconds to wait before the next attempt, random within a bound that doubles up to 30.
        """
        with self._lock:
            self._failures += 1
            failures = self._failures
        if failures == 1:
            text = " ".join(str(error).split())
            info = error if trace else None
            self._logger.warning("%s fails (%s); it is tried until it works.", self._subject, text, exc_info=info)
        bound = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(failures, 16))
        return random.uniform(bound / 2, bound)  # noqa: S311 - spreading attempts needs no secrecy

    def over(self) -> None:
        """Note that it answers."""
        with self._lock:
            failures, self._failures = self._failures, 0
        if failures:
            self._logger.warning("%s works again.", self._subject)
