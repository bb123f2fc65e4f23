"""A value as the nucleus keeps it: a JSON object with one text in it, which travels as it is.

Small values stand there as the JSON text that they are. Larger ones are compressed, and written in base64: however
large a value, the nucleus has one flat text to look at.
"""

from __future__ import annotations

import importlib
from base64 import b64encode
from collections.abc import Sequence
from struct import Struct as Layout
from types import ModuleType
from typing import Any

from msgspec import convert

from ..core.record import JSON, JSONObject
from ..errors import ConfigurationError, LimitExceeded, StateManagerError, StorageError
from .values import Written, read, write

LARGE = 2048
"""Bytes from which on a value is compressed."""

LARGEST = 2**31
"""The most bytes that a value can have, whatever is said of it where it is kept."""

TEXT, BASE64 = "text", "base64"

_HEAD = Layout("<IQ")
_SIZE = Layout("<Q")


def pack(value: Any, *, limit: int, compress: bool) -> JSONObject:
    """Write a value as it is kept.

    :param value: what the caller passed.
    :param limit: the most bytes of it, before it is compressed.
    :param compress: whether to compress what is large.
    :raises StateValidationError: when it cannot be kept.
    :raises LimitExceeded: when it is too large.
    :raises ConfigurationError: when a package that it needs is not installed.
    """
    written = write(value)
    whole = _joined(written)
    if len(whole) > limit:
        raise LimitExceeded("The value of the store", limit, len(whole))
    form, body = TEXT, whole
    if compress and len(whole) >= LARGE:
        smaller = _COMPRESSION.smaller(whole)
        # Base64 gives a third back.
        if len(smaller) < len(whole) * 0.7 or written.parts:
            form, body = _COMPRESSION.NAME, smaller
    if form == TEXT and written.parts:
        form = BASE64
    text = body.decode() if form == TEXT else b64encode(body).decode()
    packed = {"form": form, "size": len(whole), "body": text}
    if written.tag is not None:
        packed["tag"] = written.tag
        packed["parts"] = len(written.parts)
    return packed


def unpack(packed: JSON) -> Any:
    """Read what :func:`pack` wrote.

    :param packed: what is kept.
    :raises StorageError: when it is damaged.
    :raises ConfigurationError: when a package that it needs is not installed.
    """
    try:
        form, tag = packed["form"], packed.get("tag")
        whole = packed["body"].encode() if form == TEXT else _unpacked(form, packed)
        text, parts = _parted(whole, packed["parts"]) if tag is not None else (whole, ())
        damaged = len(whole) != packed["size"]
    except StateManagerError:
        raise
    except Exception as error:
        raise StorageError("The value of a store is damaged: set it again.") from error
    if damaged:
        raise StorageError("The value of a store is cut off: set it again.")
    return read(Written(text, parts, tag))


def _unpacked(form: str, packed: JSONObject) -> bytes:
    # Base64, which msgspec checks as strictly as the standard library, four times as fast.
    body = convert(packed["body"], bytes)
    if form == BASE64:
        return body
    size = packed["size"]
    if type(size) is not int or not 0 < size <= LARGEST:
        raise ValueError("of a size that no value has")
    whole: bytes = _compression(form).whole(body, size)
    return whole


def _joined(written: Written) -> bytes:
    """Put the JSON and what lies beside it behind one another."""
    if not written.parts:
        return written.text
    sizes = b"".join(_SIZE.pack(len(part)) for part in written.parts)
    return b"".join([_HEAD.pack(len(written.parts), len(written.text)), sizes, written.text, *written.parts])


def _parted(whole: bytes, number: int) -> tuple[bytes, Sequence[bytes]]:
    if not number:
        return whole, ()
    number, length = _HEAD.unpack_from(whole)
    at = _HEAD.size + number * _SIZE.size
    sizes = [_SIZE.unpack_from(whole, _HEAD.size + place * _SIZE.size)[0] for place in range(number)]
    pieces = []
    for size in (length, *sizes):
        pieces.append(whole[at : at + size])
        at += size
    if at != len(whole):
        raise ValueError("cut off")
    return pieces[0], pieces[1:]


def _compression(name: str) -> ModuleType:
    if name not in _MODULES:
        raise ValueError("unknown form")
    try:
        return importlib.import_module(f"{__package__}.{_MODULES[name]}")
    except ImportError as error:
        raise ConfigurationError(
            f"The value of a store is compressed by {name}: pip install 'Flask-StateManager[stores]' here too."
        ) from error


_MODULES = {"zstd": "zstd", "zlib": "deflate"}


def _best() -> ModuleType:
    try:
        return _compression("zstd")
    except ConfigurationError:
        return _compression("zlib")


_COMPRESSION = _best()
