"""Compression by zstd."""

from __future__ import annotations

import threading

import zstandard

NAME = "zstd"
_LEVEL = 1
"""The quickest but for those that leave twice as much: beyond it values get little smaller."""

_own = threading.local()


def smaller(text: bytes) -> bytes:
    """Compress.

    :param text: any bytes.
    """
    compressor = getattr(_own, "compressor", None)
    if compressor is None:
        # Not to be shared by threads, and dear to make.
        compressor = _own.compressor = zstandard.ZstdCompressor(level=_LEVEL)
    found: bytes = compressor.compress(text)
    return found


def whole(text: bytes, size: int) -> bytes:
    """Return what was compressed.

    :param text: what :func:`smaller` returned.
    :param size: how many bytes it was.
    :raises ValueError: when it is damaged.
    """
    try:
        # It says itself how much it becomes, and that much memory would be taken for it.
        if zstandard.frame_content_size(text) != size:
            raise ValueError("of another size")
        return zstandard.ZstdDecompressor().decompress(text)
    except zstandard.ZstdError as error:
        raise ValueError("not compressed by zstd") from error
