"""States and their history."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def document() -> sa.types.TypeEngine[Any]:
    """Return the type of a JSON column."""
    return sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def word(length: int) -> sa.String:
    """Return the type of a text that sorts by code point."""
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def moment() -> sa.DateTime:
    """Return the type of a point in time."""
    return sa.DateTime(timezone=True)


def upgrade() -> None:
    schema = op.get_context().version_table_schema
    create_state(schema)
    create_history(schema)


def create_state(schema: str | None) -> None:
    """Create the present states and what finds them."""
    op.create_table(
        "statemanager_state",
        sa.Column("bucket", word(64), nullable=False),
        sa.Column("name", word(255), nullable=False),
        sa.Column("label", sa.String(255), nullable=False),
        sa.Column("type", word(64), nullable=False),
        sa.Column("status", word(64), nullable=False),
        sa.Column("owner", word(255)),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("schema_version", sa.Integer(), nullable=False),
        sa.Column("data", document(), nullable=False),
        sa.Column("metadata", document(), nullable=False),
        sa.Column("created_at", moment(), nullable=False),
        sa.Column("updated_at", moment(), nullable=False),
        sa.Column("expires_at", moment()),
        sa.Column("deleted_at", moment()),
        sa.PrimaryKeyConstraint("bucket", "name", name="statemanager_state_pkey"),
        schema=schema,
    )
    for name, columns in (
        ("type", ["bucket", "type", "created_at", "name"]),
        ("status", ["bucket", "type", "status", "created_at", "name"]),
        ("owner", ["bucket", "owner", "created_at", "name"]),
        ("expires", ["bucket", "expires_at"]),
    ):
        op.create_index(f"ix_statemanager_state_{name}", "statemanager_state", columns, schema=schema)


def create_history(schema: str | None) -> None:
    """Create the log of changes."""
    op.create_table(
        "statemanager_history",
        sa.Column("revision", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("bucket", word(64), nullable=False),
        sa.Column("name", word(255), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("event", word(64), nullable=False),
        sa.Column("from_status", word(64)),
        sa.Column("to_status", word(64), nullable=False),
        sa.Column("label", sa.String(255), nullable=False),
        sa.Column("type", word(64), nullable=False),
        sa.Column("owner", word(255)),
        sa.Column("schema_version", sa.Integer(), nullable=False),
        sa.Column("data", document(), nullable=False),
        sa.Column("metadata", document(), nullable=False),
        sa.Column("record_created_at", moment(), nullable=False),
        sa.Column("expires_at", moment()),
        sa.Column("deleted_at", moment()),
        sa.Column("actor", sa.String(255), nullable=False),
        sa.Column("source", sa.String(255)),
        sa.Column("reason", sa.Text()),
        sa.Column("request_id", sa.String(255)),
        sa.Column("idempotency_key", sa.String(255)),
        sa.Column("created_at", moment(), nullable=False),
        sa.Column("xid", sa.BigInteger()),
        sa.PrimaryKeyConstraint("revision", name="statemanager_history_pkey"),
        sa.UniqueConstraint("bucket", "name", "version", name="uq_statemanager_history_version"),
        schema=schema,
        sqlite_autoincrement=True,
    )


def downgrade() -> None:
    schema = op.get_context().version_table_schema
    op.drop_table("statemanager_history", schema=schema)
    op.drop_table("statemanager_state", schema=schema)
