"""What the commands for keys and values share: which bucket, how a value is given, what is printed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ..core.clock import iso
from ..core.record import JSON, JSONObject
from ..core.secrets import redacted
from ..core.written import value_of
from ..globals import current_runtime
from ..kv.store import KeyValueStore
from ..kv.value import KeyValue
from .completing import BUCKET_NAME
from .tables import printable, say

Command = Callable[..., Any]

VALUE_SHAPE = "VALUE|@FILE|-"
"""How a value is given."""

bucket = click.option(
    "--bucket", type=BUCKET_NAME, default="kv", show_default=True, metavar="NAME", help="The bucket of the keys."
)
reveal = click.option("--reveal", is_flag=True, help="Show the members that the bucket declares secret.")
as_text = click.option("--text", "as_text", is_flag=True, help="The value is text, whatever it looks like.")
no_ttl = click.option("--no-ttl", is_flag=True, help="Let the key live until it is removed.")


def store_of(name: str) -> KeyValueStore:
    """Return the keys and values of a bucket of the current app.

    :param name: the bucket.
    :raises StateValidationError: when it is unknown, with the known ones.
    :raises ConfigurationError: when it has verbs of its own, or its backend cannot be had.
    """
    parts = current_runtime.shelves.parts(name)
    return KeyValueStore(lambda: parts)


def shown_value(name: str, value: JSON, reveal: bool) -> JSON:
    """Return a value as it may be shown.

    :param name: the bucket.
    :param value: the value.
    :param reveal: show what the bucket declares secret, too.
    """
    secrets = current_runtime.shelves.parts(name).definition.secrets
    return value if reveal or not secrets else redacted(value, secrets)


def given(word: str, *, text: bool) -> JSON:
    """Read a value: JSON or else text, written out, from ``@file``, or from standard input for ``-``.

    :param word: the word.
    :param text: take it as text, whatever it looks like.
    :raises click.UsageError: when a file cannot be read.
    """
    try:
        if word == "-":
            word = sys.stdin.read()
        elif word.startswith("@"):
            word = Path(word[1:]).read_text(encoding="utf-8")
    except OSError as error:
        raise click.UsageError(f"{printable(word[1:])} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise click.UsageError("The text is not UTF-8.") from error
    return word if text else value_of(word)


def fields_of(name: str, entry: KeyValue, reveal: bool) -> JSONObject:
    """Return everything about a key.

    :param name: the bucket.
    :param entry: the key.
    :param reveal: show secrets, too.
    """
    return {
        "key": entry.key,
        "value": shown_value(name, entry.value, reveal),
        "metadata": entry.metadata,
        "version": entry.version,
        "revision": entry.revision,
        "created_at": iso(entry.created_at),
        "updated_at": iso(entry.updated_at),
        "expires_at": None if entry.expires_at is None else iso(entry.expires_at),
    }


def tell(entry: KeyValue) -> None:
    """Say what a key is now.

    :param entry: the key.
    """
    until = "" if entry.expires_at is None else f", until {iso(entry.expires_at)[:19].replace('T', ' ')} UTC"
    say(f"{printable(entry.key)}: version {entry.version}{until}")


def compact(value: JSON) -> str:
    """Write a value as JSON on one line.

    :param value: the value.
    """
    return printable(json.dumps(value, ensure_ascii=False))
