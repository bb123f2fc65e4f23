"""Reading a request: its body, its query, the media types."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from itertools import islice
from typing import Any, NoReturn

from flask import Request
from marshmallow import RAISE, Schema, ValidationError
from webargs.flaskparser import FlaskParser
from werkzeug.datastructures import MIMEAccept
from werkzeug.exceptions import HTTPException
from werkzeug.http import parse_accept_header

from ..core.codec import MAX_DEPTH
from ..errors import LimitExceeded, StateValidationError, shown
from .problems import MALFORMED, NOT_ACCEPTABLE, UNSUPPORTED_MEDIA_TYPE, Problem

_MOST_DIGITS = 20
_DEEPEST = MAX_DEPTH + 10
"""Levels of a body: those of a value, and what may stand around it."""

_MOST_TOLD, _LONGEST_PATH = 20, 120
"""How many wrong members are told of, and how many characters of where each is."""


class Parser(FlaskParser):
    """Loads a query or a body with a schema; what it refuses is this package's own error."""

    DEFAULT_UNKNOWN_BY_LOCATION = {"query": RAISE, "json": RAISE}  # noqa: RUF012 - as its base declares it

    def handle_error(
        self, error: Any, req: Any, schema: Any, *, error_status_code: Any, error_headers: Any
    ) -> NoReturn:
        """Raise what the API answers 422.

        :param error: marshmallow's error, its messages by location.
        :param req: the request.
        :param schema: the schema.
        :param error_status_code: not used.
        :param error_headers: not used.
        :raises StateValidationError: always.
        """
        [messages] = error.messages.values()
        raise _refusal(messages) from None


_parser = Parser()


def query_of(request: Request, schema: Schema) -> Mapping[str, Any]:
    """Load the query.

    :param request: the request.
    :param schema: its schema.
    :raises Problem: when a parameter is given twice.
    :raises StateValidationError: when the schema refuses it.
    """
    for name, values in request.args.lists():
        if len(values) > 1:
            raise Problem(MALFORMED, f"The query parameter {shown(name)} is given {len(values)} times: give it once.")
    found: Mapping[str, Any] = _parser.parse(schema, request, location="query")
    return found


def body_of(request: Request, schema: Schema, media_types: tuple[str, ...], limit: int, *, required: bool) -> Any:
    """Load the body.

    :param request: the request.
    :param schema: its schema.
    :param media_types: what it may be.
    :param limit: the most bytes.
    :param required: whether there must be one; else an empty one counts as ``{}``.
    :raises Problem: when it is no JSON.
    :raises LimitExceeded: when it is too large.
    :raises StateValidationError: when the schema refuses it.
    """
    text = read_body(request, limit)
    if not text and not required:
        given: Any = {}
    else:
        _check_media_type(request, media_types)
        given = parsed(text)
    try:
        return schema.load(given, unknown=RAISE)
    except ValidationError as error:
        raise _refusal(error.messages) from None


def read_body(request: Request, limit: int) -> bytes:
    """Return the bytes of the body, however they are sent.

    :param request: the request.
    :param limit: the most of them.
    :raises LimitExceeded: when there are more.
    :raises Problem: when they cannot be received.
    """
    announced = request.content_length
    if announced is not None and announced > limit:
        raise LimitExceeded("The body", limit, announced)
    found = bytearray()
    while chunk := _received(request, limit + 1 - len(found)):
        found += chunk
        if len(found) > limit:
            raise LimitExceeded("The body", limit, len(found))
    return bytes(found)


def _received(request: Request, most: int) -> bytes:
    try:
        return request.stream.read(most)
    except HTTPException:
        raise
    except Exception as error:  # for malformed chunks, and clients that are gone, each server raises something else
        raise Problem(MALFORMED, "The body breaks off, or its chunks are malformed: send it again.") from error


def parsed(text: bytes) -> Any:
    """Parse JSON strictly: UTF-8, no member twice, no NaN, no integer beyond 64 bits, not too deep.

    :param text: the body.
    :raises Problem: when it is anything else.
    """
    try:
        found = json.loads(text.decode(), object_pairs_hook=_members, parse_constant=_no_number, parse_int=_integer)
    except UnicodeDecodeError as error:
        raise Problem(MALFORMED, f"The body is no UTF-8 (byte {error.start}): send JSON as UTF-8.") from None
    except RecursionError:
        raise _too_deep() from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise Problem(MALFORMED, f"The body is no JSON ({error.msg}, {where}): correct it.") from None
    # What has so few brackets cannot be deeper.
    if text.count(b"[") + text.count(b"{") > _DEEPEST and _deeper(found, _DEEPEST):
        raise _too_deep()
    return found


def _too_deep() -> Problem:
    return Problem(MALFORMED, f"The body is nested more than {_DEEPEST} levels deep: nest it less.")


def _deeper(value: Any, levels: int) -> bool:
    """Tell whether a JSON value has more levels of lists and objects, which are looked at level by level."""
    level = [value]
    for _ in range(levels + 1):
        level = [
            each
            for holder in level
            if isinstance(holder, dict | list)
            for each in (holder.values() if isinstance(holder, dict) else holder)
        ]
        if not level:
            return False
    return True


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _value in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise Problem(MALFORMED, f"The body has the member {shown(twice)} twice in one object: send it once.")
    return found


def _no_number(word: str) -> NoReturn:
    raise Problem(MALFORMED, f"The body has {word} in it, which is not JSON: send null or text.")


def _integer(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise Problem(MALFORMED, f"The integer {shown(text)} has more than 64 bits: send it as text.")
    return int(text)


def _refusal(messages: Any) -> StateValidationError:
    """Return the error of what a schema has refused, no larger than somebody can read."""
    flat = _flat(messages)
    told = {path[:_LONGEST_PATH]: each for path, each in islice(flat.items(), _MOST_TOLD)}
    if len(flat) > len(told):
        told["body"] = [*told.get("body", ()), f"There is more: {len(flat):,} members are wrong."]
    return StateValidationError(told)


def _flat(messages: Any, path: str = "") -> dict[str, list[str]]:
    """Write marshmallow's messages as ours: a list by dotted path."""
    if not isinstance(messages, dict):
        listed = messages if isinstance(messages, list) else [messages]
        return {path or "body": [str(each) for each in listed]}
    found: dict[str, list[str]] = {}
    for name, each in messages.items():
        within = path if name == "_schema" else f"{path}.{name}" if path else str(name)
        found |= _flat(each, within)
    return found


def _check_media_type(request: Request, media_types: tuple[str, ...]) -> None:
    charset = request.mimetype_params.get("charset", "utf-8").lower()
    if request.mimetype in media_types and charset in ("utf-8", "utf8") and "Content-Encoding" not in request.headers:
        return
    raise Problem(
        UNSUPPORTED_MEDIA_TYPE,
        f"Send {' or '.join(media_types)} as UTF-8, not compressed, and say so: Content-Type: {media_types[0]}.",
        headers={"Accept": ", ".join(media_types)},
    )


def acceptable(accept: str | None, produced: tuple[str, ...]) -> str:
    """Return the media type to answer with, or refuse whoever takes none.

    :param accept: the header ``Accept``, or None.
    :param produced: what there is, the default first.
    :raises Problem: when nothing of it is accepted.
    """
    chosen = _chosen(accept, produced) if accept else produced[0]
    if chosen is None:
        raise Problem(NOT_ACCEPTABLE, f"Only {' or '.join(produced)} is answered: accept it.")
    return chosen


@lru_cache(maxsize=256)
def _chosen(accept: str, produced: tuple[str, ...]) -> str | None:
    ranges = parse_accept_header(accept, MIMEAccept)
    # Many clients name a charset, which JSON has none of (RFC 8259 section 11); no other parameter matters here either.
    return MIMEAccept([(name.partition(";")[0], quality) for name, quality in ranges]).best_match(produced)
