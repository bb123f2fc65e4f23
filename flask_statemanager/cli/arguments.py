"""How the command line's words become values: callbacks for click's options."""

from __future__ import annotations

import json
import re
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from ..core.conditions import conditions as written_conditions
from ..core.written import moment_of
from ..errors import StateValidationError


def json_object(ctx: click.Context, param: click.Parameter, value: str | None) -> dict[str, Any] | None:
    """Read a JSON object: written out, ``@file``, or ``-`` for standard input.

    :param ctx: click's context.
    :param param: the option.
    :param value: the word, or None where the option is left out.
    :raises click.BadParameter: when there is no JSON object.
    """
    if value is None:
        return None
    try:
        found = json.loads(_text(value))
    except OSError as error:
        raise click.BadParameter(f"{value[1:]!r} cannot be read: {error.strerror}.", ctx, param) from error
    except UnicodeDecodeError as error:
        raise click.BadParameter("The text is not UTF-8.", ctx, param) from error
    except (ValueError, RecursionError) as error:
        raise click.BadParameter(f"This is not JSON: {error}.", ctx, param) from error
    if not isinstance(found, dict):
        raise click.BadParameter('A JSON object is needed, such as {"email": "a@example.com"}.', ctx, param)
    return found


def moment(ctx: click.Context, param: click.Parameter, value: str | None) -> datetime | None:
    """Read a moment in ISO 8601 with a time zone.

    :param ctx: click's context.
    :param param: the option.
    :param value: the word, or None where the option is left out.
    :raises click.BadParameter: when it is no moment, or has no time zone.
    """
    if value is None:
        return None
    found = moment_of(value)
    if found is None:
        raise click.BadParameter(f"{value!r} is no moment with a time zone, such as 2026-01-31T12:00:00Z.", ctx, param)
    return found


def position(ctx: click.Context, param: click.Parameter, value: str | None) -> int | datetime | None:
    """Read a version, or a moment.

    :param ctx: click's context.
    :param param: the option.
    :param value: the word, or None where the option is left out.
    :raises click.BadParameter: when it is neither.
    """
    if value is not None and re.fullmatch(r"[0-9]{1,18}", value):
        return int(value)
    return moment(ctx, param, value)


def conditions(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> dict[str, Any]:
    """Read the conditions of a search, each like ``data.amount__gte=10``; a value is JSON, or else text.

    :param ctx: click's context.
    :param param: the option.
    :param value: the words.
    :raises click.BadParameter: when one has no ``=``, or two the same path and operator, of which one would be lost; or
        when one that needs a moment has none.
    """
    try:
        return written_conditions(value)
    except StateValidationError as error:
        told = [f"{field}: {message}" if field != "filters" else message for field, [message] in error.errors.items()]
        raise click.BadParameter(" ".join(told), ctx, param) from error


def _text(value: str) -> str:
    if value == "-":
        return sys.stdin.read()
    return Path(value[1:]).read_text(encoding="utf-8") if value.startswith("@") else value
