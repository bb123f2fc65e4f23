"""Names to be told of later: in memory as long as they are few, and in a file of the system's beyond that."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from itertools import groupby, islice
from types import TracebackType

_MOST = 2**20
_BATCH = 1000


class NameList:
    """Keeps names of records in order; a context, at whose end it forgets them."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=_MOST, mode="w+", encoding="utf-8")  # noqa: SIM115

    def __enter__(self) -> NameList:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, bucket: str, names: Sequence[str]) -> None:
        """Keep names.

        :param bucket: their bucket.
        :param names: the names, none of which holds a line feed.
        """
        self._file.writelines(f"{bucket} {name}\n" for name in names)

    def tell(self, told: Callable[[str, Sequence[str]], None]) -> None:
        """Hand over all names.

        :param told: takes a bucket and some of its names at a time.
        """
        self._file.seek(0)
        lines = (line.rstrip("\n").partition(" ") for line in self._file)
        for bucket, some in groupby(lines, key=lambda parts: parts[0]):
            while batch := [name for _, _, name in islice(some, _BATCH)]:
                told(bucket, batch)
