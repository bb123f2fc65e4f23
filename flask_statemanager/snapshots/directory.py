"""Files of snapshots in a directory."""

from __future__ import annotations

import errno
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .storage import Sink, SnapshotStorage, Source

PART = ".part"
"""How the name of a file ends that is not complete."""

DEBRIS = 86_400.0
"""Seconds since the last byte after which an incomplete file is one that a killed process has left."""


class DirectoryStorage(SnapshotStorage):
    """Keeps files in a directory, which is made at the first write.

    A file is written under another name, brought to the disk, and then renamed. Only its owner may read it.

    :param folder: the directory.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = Path(folder).absolute()

    @property
    def location(self) -> str:
        """The directory."""
        return str(self._folder)

    def path(self, name: str) -> str:
        """Return where one file is.

        :param name: its name.
        """
        return str(self._folder / name)

    def names(self) -> list[str]:
        """Return the names of the files that are complete.

        :raises OSError: when the directory cannot be listed.
        """
        try:
            found = os.listdir(self._folder)
        except FileNotFoundError:
            return []
        return [name for name in found if not name.endswith(PART)]

    @contextmanager
    def writing(self, name: str) -> Iterator[Sink]:
        """Open a new file.

        :param name: its name.
        :raises OSError: when it cannot be written.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._tidy()
        part = self._folder / f"{name}.{uuid.uuid4().hex}{PART}"
        try:
            handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb", buffering=1 << 20) as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(part, self._folder / name)
            self._sync()
        except BaseException:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            raise

    @contextmanager
    def reading(self, name: str) -> Iterator[Source]:
        """Open a file; it stays readable when somebody removes it meanwhile.

        :param name: its name.
        :raises FileNotFoundError: when there is none.
        :raises OSError: when it cannot be read.
        """
        with open(self._folder / name, "rb", buffering=1 << 20) as stream:
            yield stream

    def tail(self, name: str, length: int) -> tuple[bytes, int]:
        """Return the end of a file, and how large the whole is.

        :param name: its name.
        :param length: the most bytes.
        :raises FileNotFoundError: when there is none.
        :raises OSError: when it cannot be read.
        """
        with open(self._folder / name, "rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - length))
            return stream.read(), size

    def remove(self, name: str) -> None:
        """Remove a file, if it is there.

        :param name: its name.
        :raises OSError: when it cannot be removed.
        """
        (self._folder / name).unlink(missing_ok=True)

    def claim(self, name: str, seconds: float) -> bool:
        """Take a name for oneself, for a while: whoever makes its file has it.

        :param name: the name.
        :param seconds: after which somebody else may have it.
        :raises OSError: when the file cannot be made.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / f"{name}{PART}"
        with suppress(FileNotFoundError):
            if path.stat().st_mtime + seconds < time.time():
                path.unlink()
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            return False
        return True

    def release(self, name: str) -> None:
        """Give a name back.

        :param name: the name.
        :raises OSError: when its file cannot be removed.
        """
        (self._folder / f"{name}{PART}").unlink(missing_ok=True)

    def _sync(self) -> None:
        """Bring the new name to the disk; some systems cannot do that for a directory."""
        if os.name != "posix":
            return
        handle = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):
                raise
        finally:
            os.close(handle)

    def _tidy(self) -> None:
        """Remove what killed processes have left."""
        # Somebody else may tidy up at the same moment.
        with suppress(OSError), os.scandir(self._folder) as entries:
            for entry in entries:
                if entry.name.endswith(PART) and entry.stat().st_mtime + DEBRIS < time.time():
                    os.unlink(entry.path)
