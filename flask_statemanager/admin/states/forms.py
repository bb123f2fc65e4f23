"""Forms: how what was typed becomes what the verbs take."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from ...core.names import check_id
from ...core.record import JSONObject, Record
from ...core.secrets import uncovered
from ...core.written import moment_of
from ...errors import StateManagerError, StateNotFound, StateValidationError
from ..typed_json import parsed
from ..visit import Visit

logger = logging.getLogger("flask_statemanager.admin")

UNITS = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86400}
"""Units of a length of time, in seconds."""

_NUMBER = re.compile(r"\d{1,9}(\.\d{1,6})?", re.ASCII)


def known_id(state_id: str) -> str:
    """Return an id that a state can have.

    :param state_id: as it stands in a path.
    :raises StateNotFound: when no state can have it.
    """
    try:
        return check_id(state_id)
    except StateValidationError as error:
        raise StateNotFound(state_id) from error


def live(visit: Visit, state_id: str) -> Record:
    """Return a state as it is stored now.

    :param visit: the visit.
    :param state_id: which state.
    :raises StateNotFound: when there is none.
    :raises StorageError: when the storage fails.
    """
    found = visit.runtime.bucket.get(known_id(state_id), strong=True)
    if found is None:
        raise StateNotFound(state_id)
    return found


def seen(visit: Visit) -> int:
    """Return the version that a form's page showed; without one, it could overwrite what nobody has looked at.

    :param visit: the visit.
    :raises StateValidationError: when the form has none.
    """
    found = version(visit.form.get("expect", ""))
    if found is None:
        raise StateValidationError(
            {"expect": ["The form does not say which version it is about: load its page again."]}
        )
    return found


def version(written: str) -> int | None:
    """Read a version.

    :param written: the text.
    :returns: the number, or None when it is none.
    """
    fits = written.isascii() and written.isdecimal() and len(written) <= 18
    return int(written) or None if fits else None


def an_object(written: str, field: str) -> JSONObject:
    """Read a JSON object.

    :param written: the text.
    :param field: how to name it in an error.
    :raises StateValidationError: when it is none, with the place where it stops being one.
    """
    found = parsed(written, field)
    if not isinstance(found, dict):
        raise StateValidationError({field: ['Must be a JSON object, such as {"plan": "pro"}.']})
    return found


def mended(visit: Visit, field: str, stored: JSONObject) -> JSONObject:
    """Return a document as it was typed, with the stored secrets in place of their covers.

    :param visit: the visit.
    :param field: the form field, ``data`` or ``metadata``.
    :param stored: what the page showed covered.
    :raises StateValidationError: when it is no JSON object, or a cover stands for nothing.
    """
    found: JSONObject = uncovered(
        an_object(visit.form.get(field, ""), field), stored, visit.runtime.settings.live_secrets, field
    )
    return found


def moment(visit: Visit, field: str) -> datetime | None:
    """Return the moment in a form field, in UTC where it says nothing else; None where nothing was typed.

    :param visit: the visit.
    :param field: the form field.
    :raises StateValidationError: when it is no moment.
    """
    written = visit.form.get(field, "").strip()
    found = moment_of(written) or moment_of(f"{written}Z")
    if found is None and written:
        raise StateValidationError({field: ["Must be a moment, such as 2026-01-31T12:00 (UTC)."]})
    return found


def span(visit: Visit, field: str) -> float | None:
    """Return the seconds of the length of time in a form field and its unit; None where nothing was typed.

    :param visit: the visit.
    :param field: the form field; its unit stands in ``<field>_unit``.
    :raises StateValidationError: when it is no number.
    """
    written = visit.form.get(field, "").strip()
    if not written:
        return None
    if not _NUMBER.fullmatch(written):
        raise StateValidationError({field: ["Must be a number, such as 15 or 1.5."]})
    return float(written) * UNITS.get(visit.form.get(f"{field}_unit", ""), 1)


@contextmanager
def named(rename: Callable[[str], str]) -> Iterator[None]:
    """Name the fields in what a verb refuses as the form does.

    :param rename: returns the name of the form's field for that of the verb's argument.
    :raises StateValidationError: when the block does.
    """
    try:
        yield
    except StateValidationError as error:
        raise StateValidationError({rename(name): told for name, told in error.errors.items()}) from error


@contextmanager
def vetoable() -> Iterator[None]:
    """Show what a guard or callback of the application raised to refuse a write, which can be any exception.

    :raises StateManagerError: when the block raises anything.
    """
    try:
        yield
    except StateManagerError:
        raise
    except Exception as error:
        logger.info("The write was refused.", exc_info=True)
        said = f"{type(error).__name__}: {error}".rstrip(": ")
        raise StateValidationError(
            {"application": [f"The application refused the write ({said}); nothing was written."]}
        ) from error
