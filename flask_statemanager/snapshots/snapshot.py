"""The value that tells of a snapshot."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

FULL, DELTA = "full", "delta"


class Label(Struct, frozen=True):
    """What is known of a snapshot before its first record.

    :param id: a UUID of version 7: ids sort by the time at which they were made.
    :param kind: ``full``, or ``delta``, which holds what has changed since its base.
    :param base: the id of the snapshot that a delta stands on; None for a full one.
    :param buckets: the collections, in the order in which they stand in it.
    :param prefix: how the names begin; empty for all.
    :param cursors: for each bucket, the position in its store up to which nothing is missing. Empty where none was to
        be had, because a transaction was open for too long; no delta can stand on such a snapshot.
    :param stores: for each bucket, a hash of which store it was in. Buckets of one store are of one moment, those of
        two stores of two moments close to each other.
    :param created_at: when.
    :param automatic: whether a worker made it by itself, so that it may be removed again by itself.
    """

    id: str
    kind: str
    base: str | None
    buckets: tuple[str, ...]
    prefix: str
    cursors: dict[str, str]
    stores: dict[str, str]
    created_at: datetime
    automatic: bool


class Contents(Struct, frozen=True):
    """What is known of a snapshot behind its last record.

    :param keys: how many live records it holds.
    :param deleted: how many tombstones.
    :param floors: for each bucket, the version above which a record started where nothing was stored.
    :param blocks: how many blocks there are.
    """

    keys: int
    deleted: int
    floors: dict[str, int]
    blocks: int


class Snapshot(Struct, frozen=True):
    """A snapshot that is complete.

    :param label: what was known before its first record.
    :param contents: what it holds.
    :param bytes: the size of its file.
    :param sha256: the hash of all of its file but the last line, in which it stands.
    :param location: where the file is.
    """

    label: Label
    contents: Contents
    bytes: int
    sha256: str
    location: str

    @property
    def id(self) -> str:
        """Its id."""
        return self.label.id

    @property
    def kind(self) -> str:
        """``full`` or ``delta``."""
        return self.label.kind

    @property
    def base(self) -> str | None:
        """The id of the snapshot that a delta stands on."""
        return self.label.base

    @property
    def buckets(self) -> tuple[str, ...]:
        """The collections."""
        return self.label.buckets

    @property
    def prefix(self) -> str:
        """How the names begin."""
        return self.label.prefix

    @property
    def created_at(self) -> datetime:
        """When it was made."""
        return self.label.created_at

    @property
    def keys(self) -> int:
        """How many live records it holds."""
        return self.contents.keys

    @property
    def revision(self) -> str:
        """The position in the store; ``bucket=position`` for each bucket where it is not one for all."""
        cursors = self.label.cursors
        positions = set(cursors.values())
        if len(positions) == 1:
            return positions.pop()
        return ",".join(f"{bucket}={cursor}" for bucket, cursor in cursors.items())
