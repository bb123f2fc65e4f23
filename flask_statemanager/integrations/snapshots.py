"""Snapshots behind a URL, through fsspec: ``s3://bucket/path``, ``gs://``, ``file://``, ``memory://`` and many more.

What a kind of URL needs beside fsspec is its own package (s3fs, gcsfs, ...). Credentials are looked for where that
package looks, such as the environment, and never stand in the URL.
"""

from __future__ import annotations

import io
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import fsspec  # type: ignore[import-untyped,import-not-found,unused-ignore]

from ..errors import ConfigurationError, shown
from ..snapshots.storage import Sink, SnapshotStorage, Source

CLAIM = ".claim"
"""How the name of a file ends by which somebody claims something."""

_BLOCK = 2**20
"""Bytes that are written or fetched at once."""


class UrlStorage(SnapshotStorage):
    """Keeps files behind a URL.

    A file is written on this machine first and then sent, so that a store is not looked at for longer than it takes to
    read it. Where a kind of storage shows what is half-sent, the missing end tells that it is no snapshot.

    :param url: the URL of a folder.
    :param options: what else the storage is to be opened with, for example ``endpoint_url``.
    :raises ConfigurationError: when there is nothing for such URLs, or the package for them is not installed.
    """

    def __init__(self, url: str, **options: Any) -> None:
        try:
            self._files, self._folder = fsspec.core.url_to_fs(url, **options)
        except ImportError as error:
            raise ConfigurationError(f"STATEMANAGER_SNAPSHOTS={shown(url)} needs a package: {error}") from error
        except ValueError as error:
            raise ConfigurationError(f"STATEMANAGER_SNAPSHOTS={shown(url)} is unusable: {error}") from error
        self._folder = self._folder.rstrip("/")
        self._location = self._files.unstrip_protocol(self._folder)

    @property
    def location(self) -> str:
        """The URL."""
        return str(self._location)

    def path(self, name: str) -> str:
        """Return the URL of one file.

        :param name: its name.
        """
        return f"{self._location}/{name}"

    def names(self) -> list[str]:
        """Return the names of the files.

        :raises OSError: when they cannot be listed.
        """
        with _translated():
            # Others write here too: what was listed a while ago is not what is there.
            self._files.invalidate_cache()
            try:
                found = self._files.ls(self._folder, detail=False)
            except FileNotFoundError:
                return []
        names = (path.rsplit("/", 1)[-1] for path in found)
        return [name for name in names if name and not name.endswith(CLAIM)]

    @contextmanager
    def writing(self, name: str) -> Iterator[Sink]:
        """Open a new file: one of this machine's for the time being, which is sent when the block ends.

        :param name: its name.
        :raises OSError: when it cannot be written or sent.
        """
        with tempfile.NamedTemporaryFile(buffering=_BLOCK) as stream:
            yield stream
            stream.flush()
            with _translated():
                self._files.makedirs(self._folder, exist_ok=True)
                self._files.put_file(stream.name, self._at(name))

    @contextmanager
    def reading(self, name: str) -> Iterator[Source]:
        """Open a file.

        :param name: its name.
        :raises FileNotFoundError: when there is none.
        :raises OSError: when it cannot be read.
        """
        with _translated():
            stream = self._files.open(self._at(name), "rb", block_size=_BLOCK, cache_type="readahead")
        with stream:
            yield io.BufferedReader(_Fetching(stream), _BLOCK)

    def tail(self, name: str, length: int) -> tuple[bytes, int]:
        """Return the end of a file, and how large the whole is.

        :param name: its name.
        :param length: the most bytes.
        :raises FileNotFoundError: when there is none.
        :raises OSError: when it cannot be read.
        """
        with _translated():
            size = int(self._files.size(self._at(name)))
            data: bytes = self._files.cat_file(self._at(name), start=max(0, size - length), end=size)
        return data, size

    def remove(self, name: str) -> None:
        """Remove a file, if it is there.

        :param name: its name.
        :raises OSError: when it cannot be removed.
        """
        with _translated(), suppress(FileNotFoundError):
            self._files.rm_file(self._at(name))

    def claim(self, name: str, seconds: float) -> bool:
        """Take a name for oneself, for a while.

        Such storages have nothing by which one of two is refused, so that both write and the one whose text stays has
        it. Two at the very same moment may both get it, and then both make a snapshot.

        :param name: the name.
        :param seconds: after which somebody else may have it.
        :raises OSError: when that cannot be found out.
        """
        path, mine = self._at(f"{name}{CLAIM}"), f"{uuid.uuid4().hex} {time.time() + seconds}".encode()
        with _translated():
            with suppress(FileNotFoundError):
                until = float(self._files.cat_file(path).split()[1])
                if until > time.time():
                    return False
            self._files.makedirs(self._folder, exist_ok=True)
            self._files.pipe_file(path, mine)
            return bool(self._files.cat_file(path) == mine)

    def release(self, name: str) -> None:
        """Give a name back.

        :param name: the name.
        :raises OSError: when that fails.
        """
        self.remove(f"{name}{CLAIM}")

    def _at(self, name: str) -> str:
        return f"{self._folder}/{name}"


class _Fetching(io.RawIOBase):
    """A stream to read from, whose errors are an OSError each."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with _translated():
            data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, place: int, whence: int = 0) -> int:
        with _translated():
            return int(self._stream.seek(place, whence))

    def tell(self) -> int:
        return int(self._stream.tell())


@contextmanager
def _translated() -> Iterator[None]:
    """Turn whatever a storage's package raises into an OSError: each has errors of its own."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(f"{type(error).__name__}: {error}") from error
