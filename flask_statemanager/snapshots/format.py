"""The file of a snapshot: lines of JSON, and blocks of compressed records between them.

::

    {"format": "flask-statemanager-snapshot", "version": 1, "label": {...}}
    {"block": 1, "records": 512, "raw": 262144, "stored": 30011, "sha256": "..."}
    <30011 bytes: zlib (RFC 1950), and in it 262144 bytes: one record as JSON on each line>
    ...
    {"label": {...}, "contents": {...}, "size": 812345}
    sha256 <64 hexadecimal digits>

Every line and every block ends with a line feed. ``label`` and ``contents`` are the values in ``snapshot``; the line
before the last one repeats the label, so that a listing reads the end of a file and nothing else, and says how many
bytes lie before it. ``sha256`` of a block is that of its compressed bytes; that in the last line is of all bytes before
that line. A file without a good end is no snapshot: it was never finished.

Records stand in the order of the label's buckets and, in each, of the code points of their names, each once. Tombstones
are among them, for their versions. Nothing in a file is ever executed.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Iterator, Sequence
from typing import TypeVar

import msgspec
from msgspec import Struct

from ..core.record import Record
from ..core.snapshots import tombstone
from ..errors import SnapshotDamaged
from .snapshot import Contents, Label, Snapshot
from .storage import Sink, Source

FORMAT, VERSION = "flask-statemanager-snapshot", 1

BLOCK = 256 * 1024
"""Bytes of JSON after which a block is complete."""

END = 64 * 1024
"""Bytes that a listing reads of a file at first."""

_LEVEL = 3
"""zlib's level: a third slower than 1, and much smaller for many small records."""

_LINE = 4 * 2**20
_LARGEST = 256 * 2**20
"""Bytes of a line, and of a block, that nothing honest exceeds; a block has at least one record, however large."""

_STEP = 64
"""Records that are written to a block at once."""

_SEAL = re.compile(rb"sha256 ([0-9a-f]{64})\n")
_SEAL_LENGTH = 72


class _Head(Struct, frozen=True):
    format: str
    version: int
    label: Label


class _Block(Struct, frozen=True):
    block: int
    records: int
    raw: int
    stored: int
    sha256: str


class _End(Struct, frozen=True):
    label: Label
    contents: Contents
    size: int


_Kind = TypeVar("_Kind", _Head, _Block)

_encode = msgspec.json.Encoder().encode
_encode_lines = msgspec.json.Encoder().encode_lines
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError)
"""What msgspec raises for what is not the JSON that was asked for; an early one the second, for what is no UTF-8."""
_decode_lines = msgspec.json.Decoder(Record).decode_lines


class SnapshotWriter:
    """Writes the file of one snapshot.

    :param stream: where to.
    :param label: what is known of it.
    :param floors: for each bucket, the version above which a record starts where nothing is stored.
    """

    def __init__(self, stream: Sink, label: Label, floors: dict[str, int]) -> None:
        self._stream, self._label = stream, label
        self._hash = hashlib.sha256()
        self._size = self._keys = self._deleted = self._blocks = 0
        self._floors = floors
        self._lines: list[bytes] = []
        self._held = self._records = 0
        self._write(_encode(_Head(FORMAT, VERSION, label)) + b"\n")

    def add(self, records: Sequence[Record]) -> None:
        """Write records that lie behind those written before.

        :param records: in order, of the label's buckets.
        """
        # Of a tombstone nothing is needed but its version.
        kept = [tombstone(each, each.version) if each.deleted else each for each in records]
        dead = sum(record.deleted for record in kept)
        self._deleted += dead
        self._keys += len(kept) - dead
        for at in range(0, len(kept), _STEP):
            self._hold(kept[at : at + _STEP])

    def _hold(self, records: Sequence[Record]) -> None:
        lines = _encode_lines(records)
        self._lines.append(lines)
        self._held += len(lines)
        self._records += len(records)
        if self._held >= BLOCK:
            self._end_block()

    def _end_block(self) -> None:
        if not self._lines:
            return
        raw = b"".join(self._lines)
        stored = zlib.compress(raw, _LEVEL)
        self._blocks += 1
        block = _Block(self._blocks, self._records, len(raw), len(stored), hashlib.sha256(stored).hexdigest())
        self._write(_encode(block) + b"\n")
        self._write(stored + b"\n")
        self._lines, self._held, self._records = [], 0, 0

    def finish(self) -> Contents:
        """Write what stands at the end.

        :returns: what the snapshot holds.
        """
        self._end_block()
        contents = Contents(self._keys, self._deleted, self._floors, self._blocks)
        self._write(_encode(_End(self._label, contents, self._size)) + b"\n")
        self._stream.write(b"sha256 " + self._hash.hexdigest().encode() + b"\n")
        return contents

    def _write(self, data: bytes) -> None:
        self._hash.update(data)
        self._size += len(data)
        self._stream.write(data)


class SnapshotReader:
    """Reads the file of one snapshot, and believes nothing in it that it has not checked.

    :param stream: the file, from its beginning.
    :param snapshot: what the end of the file says.
    """

    def __init__(self, stream: Source, snapshot: Snapshot) -> None:
        self._stream, self.snapshot = stream, snapshot

    def verify(self) -> Iterator[int]:
        """Read all of it, and check every byte.

        :returns: how many records were read so far, again and again.
        :raises SnapshotDamaged: when it is not what was written.
        :raises OSError: when it cannot be read.
        """
        read = deleted = blocks = 0
        for records in self._blocks(hashlib.sha256()):
            blocks += 1
            deleted += sum(record.deleted for record in records)
            read += len(records)
            yield read
        contents = self.snapshot.contents
        if (read - deleted, deleted, blocks) != (contents.keys, contents.deleted, contents.blocks):
            raise self._damaged("it holds something else than it says")

    def records(self) -> Iterator[Record]:
        """Yield the records once more, from the beginning; each block is checked before anything in it is used.

        :raises SnapshotDamaged: when it is not what was written.
        :raises OSError: when it cannot be read.
        """
        self._stream.seek(0)
        for records in self._blocks(hashlib.sha256()):
            yield from records

    def _blocks(self, hash_: hashlib._Hash) -> Iterator[list[Record]]:
        head = self._parsed(self._line(hash_), _Head)
        if (head.format, head.label) != (FORMAT, self.snapshot.label):
            raise self._damaged("its first line is of another file")
        if head.version != VERSION:
            raise self._damaged(f"its format has the version {head.version}, and this package knows {VERSION}")
        last = (-1, "")
        while not (line := self._line(hash_)).startswith(b'{"label"'):
            records = self._block(self._parsed(line, _Block), hash_)
            for record in records:
                place = self._place(record)
                if place <= last:
                    raise self._damaged(f"{record.key} stands in the wrong place")
                last = place
            yield records
        if self._stream.read(_SEAL_LENGTH + 1) != b"sha256 " + hash_.hexdigest().encode() + b"\n":
            raise self._damaged("the hash in its last line is not that of the file")
        if hash_.hexdigest() != self.snapshot.sha256:
            raise self._damaged("it was exchanged")

    def _block(self, block: _Block, hash_: hashlib._Hash) -> list[Record]:
        if not 0 < block.stored <= _LARGEST or not 0 < block.raw <= _LARGEST:
            raise self._damaged(f"the block {block.block} has an impossible size")
        stored = self._stream.read(block.stored + 1)
        hash_.update(stored)
        if hashlib.sha256(stored[:-1]).hexdigest() != block.sha256:
            raise self._damaged(f"the block {block.block} has another hash")
        try:
            unpacking = zlib.decompressobj()
            raw = unpacking.decompress(stored[:-1], block.raw)
            records = _decode_lines(raw)
        except (zlib.error, *_UNREADABLE) as error:
            raise self._damaged(f"the block {block.block} cannot be read: {error}") from error
        if not unpacking.eof or unpacking.unused_data or (len(raw), len(records)) != (block.raw, block.records):
            raise self._damaged(f"the block {block.block} holds something else than it says")
        return records

    def _place(self, record: Record) -> tuple[int, str]:
        label, key = self.snapshot.label, record.key
        if key.bucket not in label.buckets or not key.name.startswith(label.prefix):
            raise self._damaged(f"{key} does not belong into it")
        return label.buckets.index(key.bucket), key.name

    def _line(self, hash_: hashlib._Hash) -> bytes:
        line = self._stream.readline(_LINE)
        hash_.update(line)
        if not line.endswith(b"\n"):
            raise self._damaged("it ends in the middle")
        return line

    def _parsed(self, line: bytes, kind: type[_Kind]) -> _Kind:
        try:
            return msgspec.json.decode(line, type=kind)
        except _UNREADABLE as error:
            raise self._damaged(f"a line cannot be read: {error}") from error

    def _damaged(self, problem: str) -> SnapshotDamaged:
        return SnapshotDamaged(self.snapshot.id, problem)


def read_end(tail: bytes, size: int, location: str) -> Snapshot | None:
    """Return what the end of a file says of its snapshot.

    :param tail: the last bytes of the file.
    :param size: how large the file is.
    :param location: where it is.
    :returns: the snapshot; None where the file has no good end, or it is longer than what was passed.
    """
    seal = _SEAL.fullmatch(tail[-_SEAL_LENGTH:])
    start = tail.rfind(b"\n", 0, max(0, len(tail) - _SEAL_LENGTH - 1)) + 1
    if seal is None or start == 0:
        return None
    try:
        end = msgspec.json.decode(tail[start:-_SEAL_LENGTH], type=_End)
    except _UNREADABLE:
        return None
    if end.size != size - len(tail) + start:
        return None
    return Snapshot(end.label, end.contents, size, seal[1].decode(), location)
