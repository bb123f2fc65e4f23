"""What is kept of an error: a sentence and a traceback, short, and text that every database takes."""

from __future__ import annotations

import traceback

from .jobs import Job

_LONGEST_SENTENCE, _LONGEST_TRACE = 2_000, 10_000
_GAP = "\n[...]\n"


def sentence_of(error: BaseException) -> str:
    """Return kind and message of an error, at most 2,000 characters.

    :param error: any error.
    """
    try:
        said = str(error)
    except Exception:  # noqa: BLE001 - its own __str__ fails, in whatever way
        said = "its message cannot be read"
    return storable(f"{type(error).__name__}: {said}".rstrip(": "))[:_LONGEST_SENTENCE]


def trace_of(error: BaseException) -> str:
    """Return the traceback of an error; of a long one the beginning and the end, about 10,000 characters.

    :param error: any error.
    """
    text = storable("".join(traceback.format_exception(error)))
    half = _LONGEST_TRACE // 2
    return text if len(text) <= _LONGEST_TRACE else f"{text[:half]}{_GAP}{text[-half:]}"


def unrecorded(job: Job) -> str:
    """Return what to say of a job whose attempts are used up, the last ones without a record of how they ended.

    :param job: the claimed job.
    """
    last = f" The last error on record: {job.error}" if job.error else ""
    return f"{job.attempts - 1} attempts ended, the last ones without a record: a worker was killed, perhaps.{last}"


def storable(text: str) -> str:
    """Write text so that every database takes it.

    :param text: any text, with NUL or lone surrogates perhaps.
    """
    return text.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")
