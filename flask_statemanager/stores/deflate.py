"""Compression by zlib, which every Python has."""

from __future__ import annotations

import zlib

NAME = "zlib"
_LEVEL = 1


def smaller(text: bytes) -> bytes:
    """Compress.

    :param text: any bytes.
    """
    return zlib.compress(text, _LEVEL)


def whole(text: bytes, size: int) -> bytes:
    """Return what was compressed.

    :param text: what :func:`smaller` returned.
    :param size: how many bytes it was, which it never becomes more than.
    :raises ValueError: when it is damaged.
    """
    try:
        return zlib.decompressobj().decompress(text, size)
    except zlib.error as error:
        raise ValueError("not compressed by zlib") from error
