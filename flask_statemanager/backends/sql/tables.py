"""The tables, declared once in the application's metadata.

Types are SQLAlchemy's own, so that a migration which the application generates needs no import of this package.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeEngine

VERSION_TABLE = "statemanager_alembic_version"
"""Where our migrations note how far they are, apart from the application's own."""

PREFIX = "statemanager_"
"""What the name of every table begins with."""

KEPT = tuple(f"{PREFIX}{name}" for name in ("state", "history", "outbox", "idempotency", "worker", "bucket"))
"""The names of the tables that our migrations make."""


class Tables(Struct, frozen=True):
    """The tables of one metadata."""

    state: Table
    history: Table
    outbox: Table
    idempotency: Table
    worker: Table
    bucket: Table
    version: Table

    @property
    def kept(self) -> tuple[Table, ...]:
        """The tables that our migrations make; the version table is alembic's."""
        return self.state, self.history, self.outbox, self.idempotency, self.worker, self.bucket

    @property
    def all(self) -> tuple[Table, ...]:
        """Every table of this package."""
        return *self.kept, self.version


class JSONB(postgresql.JSONB):  # type: ignore[type-arg,unused-ignore]  # generic from 2.1 on
    """PostgreSQL's jsonb, which names itself so that alembic can render it on other databases too.

    There alembic writes ``postgresql.JSONB(astext_type=Text())`` into a migration, where ``Text`` is not defined.
    """

    # Otherwise the application's migration would import this class.
    __module__ = postgresql.JSONB.__module__

    def __repr__(self) -> str:
        return "JSONB()"


def document() -> TypeEngine[Any]:
    """Return the type of a JSON column."""
    return JSON().with_variant(JSONB(), "postgresql")


def word(length: int) -> String:
    """Return the type of a short text that sorts by code point, as SQLite and Python do.

    :param length: the most characters.
    """
    return String(length).with_variant(String(length, collation="C"), "postgresql")


def moment() -> DateTime:
    """Return the type of a point in time; PostgreSQL keeps the zone, SQLite holds UTC."""
    return DateTime(timezone=True)


def declare(metadata: MetaData) -> Tables:
    """Declare the tables in a metadata, or find them there.

    :param metadata: the application's metadata, or one of our own.
    :returns: the tables.
    """
    prefix = f"{metadata.schema}." if metadata.schema else ""
    if f"{prefix}{PREFIX}state" in metadata.tables:
        return Tables(*(metadata.tables[f"{prefix}{name}"] for name in (*KEPT, VERSION_TABLE)))
    version = Table(
        VERSION_TABLE,
        metadata,
        Column("version_num", String(32), nullable=False),
        PrimaryKeyConstraint("version_num", name=f"{VERSION_TABLE}_pkc"),
    )
    return Tables(
        _state(metadata),
        _history(metadata),
        _outbox(metadata),
        _idempotency(metadata),
        _worker(metadata),
        _bucket(metadata),
        version,
    )


def _some(name: str, which: str, *columns: str) -> Index:
    """Return an index of some states: of those that have an owner or an expiry, which most do not; of the living.

    Being of some, it serves no look-up by key. PostgreSQL would take it for that while the table is nearly empty, where
    all indexes cost the same, and stay with that plan while the table grows.
    """
    where = text(which)
    return Index(f"ix_{PREFIX}state_{name}", *columns, postgresql_where=where, sqlite_where=where)


def _state(metadata: MetaData) -> Table:
    return Table(
        f"{PREFIX}state",
        metadata,
        Column("bucket", word(64), nullable=False),
        Column("name", word(255), nullable=False),
        Column("label", String(255), nullable=False),
        Column("type", word(64), nullable=False),
        Column("status", word(64), nullable=False),
        Column("owner", word(255)),
        Column("version", BigInteger, nullable=False),
        Column("revision", BigInteger, nullable=False),
        Column("schema_version", Integer, nullable=False),
        Column("data", document(), nullable=False),
        Column("metadata", document(), nullable=False),
        Column("created_at", moment(), nullable=False),
        Column("updated_at", moment(), nullable=False),
        Column("expires_at", moment()),
        Column("deleted_at", moment()),
        PrimaryKeyConstraint("bucket", "name", name=f"{PREFIX}state_pkey"),
        _some("type", "deleted_at IS NULL", "bucket", "type", "created_at", "name"),
        _some("status", "deleted_at IS NULL", "bucket", "type", "status", "created_at", "name"),
        _some("owner", "owner IS NOT NULL", "bucket", "owner", "created_at", "name"),
        _some("expires", "expires_at IS NOT NULL AND deleted_at IS NULL", "bucket", "status", "expires_at"),
        _some("deleted", "deleted_at IS NOT NULL", "bucket", "deleted_at"),
    )


def _history(metadata: MetaData) -> Table:
    return Table(
        f"{PREFIX}history",
        metadata,
        # AUTOINCREMENT keeps SQLite from giving a revision again when the newest rows are removed.
        Column("revision", BigInteger().with_variant(Integer(), "sqlite"), autoincrement=True, nullable=False),
        Column("bucket", word(64), nullable=False),
        Column("name", word(255), nullable=False),
        Column("version", BigInteger, nullable=False),
        Column("event", word(64), nullable=False),
        Column("from_status", word(64)),
        Column("to_status", word(64), nullable=False),
        Column("label", String(255), nullable=False),
        Column("type", word(64), nullable=False),
        Column("owner", word(255)),
        Column("schema_version", Integer, nullable=False),
        Column("data", document(), nullable=False),
        Column("metadata", document(), nullable=False),
        Column("record_created_at", moment(), nullable=False),
        Column("expires_at", moment()),
        Column("deleted_at", moment()),
        Column("actor", String(255), nullable=False),
        Column("source", String(255)),
        Column("reason", Text),
        Column("request_id", String(255)),
        Column("idempotency_key", String(255)),
        Column("created_at", moment(), nullable=False),
        # PostgreSQL: the writing transaction, by which a reader of the log knows what may still become visible.
        Column("xid", BigInteger),
        PrimaryKeyConstraint("revision", name=f"{PREFIX}history_pkey"),
        UniqueConstraint("bucket", "name", "version", name=f"uq_{PREFIX}history_version"),
        sqlite_autoincrement=True,
    )


def _outbox(metadata: MetaData) -> Table:
    return Table(
        f"{PREFIX}outbox",
        metadata,
        Column("id", BigInteger().with_variant(Integer(), "sqlite"), autoincrement=True, nullable=False),
        Column("kind", word(16), nullable=False),
        Column("bucket", word(64), nullable=False),
        Column("name", word(255), nullable=False),
        Column("topic", word(255), nullable=False),
        Column("version", BigInteger, nullable=False),
        Column("slot", word(640)),
        Column("payload", document()),
        Column("ordered", Boolean, nullable=False),
        Column("status", word(16), nullable=False),
        Column("due_at", moment(), nullable=False),
        Column("attempts", Integer, nullable=False),
        Column("worker", String(255)),
        Column("fence", BigInteger, nullable=False),
        Column("error", Text),
        Column("trace", Text),
        Column("created_at", moment(), nullable=False),
        Column("finished_at", moment()),
        PrimaryKeyConstraint("id", name=f"{PREFIX}outbox_pkey"),
        UniqueConstraint("slot", name=f"uq_{PREFIX}outbox_slot"),
        Index(f"ix_{PREFIX}outbox_due", "status", "due_at", "id"),
        Index(f"ix_{PREFIX}outbox_record", "bucket", "name", "topic", "status", "version"),
        sqlite_autoincrement=True,
    )


def _idempotency(metadata: MetaData) -> Table:
    return Table(
        f"{PREFIX}idempotency",
        metadata,
        Column("actor", word(255), nullable=False),
        Column("verb", word(64), nullable=False),
        Column("key", word(255), nullable=False),
        Column("fingerprint", String(64), nullable=False),
        # Empty only inside the transaction that takes the key.
        Column("outcome", Text),
        Column("created_at", moment(), nullable=False),
        Column("expires_at", moment(), nullable=False),
        PrimaryKeyConstraint("actor", "verb", "key", name=f"{PREFIX}idempotency_pkey"),
        Index(f"ix_{PREFIX}idempotency_expires", "expires_at"),
    )


def _worker(metadata: MetaData) -> Table:
    return Table(
        f"{PREFIX}worker",
        metadata,
        Column("name", word(255), nullable=False),
        Column("started_at", moment(), nullable=False),
        Column("seen_at", moment(), nullable=False),
        PrimaryKeyConstraint("name", name=f"{PREFIX}worker_pkey"),
    )


def _bucket(metadata: MetaData) -> Table:
    return Table(
        f"{PREFIX}bucket",
        metadata,
        Column("bucket", word(64), nullable=False),
        # The highest version of a removed tombstone, and the highest revision of a removed change.
        Column("version_floor", BigInteger, nullable=False),
        Column("compacted", BigInteger, nullable=False),
        PrimaryKeyConstraint("bucket", name=f"{PREFIX}bucket_pkey"),
    )
