"""The backends of Serverside of dash-extensions, in files and in Redis, as its page "Serverside" shows them."""

from __future__ import annotations

from contextlib import ExitStack
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

from dash_extensions.enrich import FileSystemBackend, RedisBackend


def backends(stack: ExitStack, url: str | None) -> dict[str, Any]:
    """Return what keeps a value under a key, by how to name it.

    :param stack: removes the files.
    :param url: of a Redis; None for files.
    """
    if url is None:
        folder = stack.enter_context(TemporaryDirectory(prefix="statemanager-bench-"))
        return {"dash-extensions, Serverside, files": FileSystemBackend(folder)}
    parts = urlsplit(url)
    return {"dash-extensions, Serverside, Redis": RedisBackend(host=parts.hostname, port=parts.port)}
