"""Jobs, remembered requests and workers, and the guard that keeps the history append-only."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

REFUSAL = (
    "statemanager_history is append-only: write a new version of the state instead, and remove old entries with "
    "''flask state prune''."
)
ON_SQLITE = {
    "insert": (
        "BEFORE INSERT ON statemanager_history "
        "WHEN (NEW.revision > 0 AND EXISTS (SELECT 1 FROM statemanager_history WHERE revision = NEW.revision)) "
        "OR EXISTS (SELECT 1 FROM statemanager_history "
        "WHERE bucket = NEW.bucket AND name = NEW.name AND version = NEW.version)"
    ),
    "update": "BEFORE UPDATE ON statemanager_history",
    "delete": "BEFORE DELETE ON statemanager_history",
}


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
    create_outbox(schema)
    create_idempotency(schema)
    create_worker(schema)
    create_guard(place(schema))


def create_outbox(schema: str | None) -> None:
    """Create what is left to be done: durable effects and timers."""
    op.create_table(
        "statemanager_outbox",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("kind", word(16), nullable=False),
        sa.Column("bucket", word(64), nullable=False),
        sa.Column("name", word(255), nullable=False),
        sa.Column("topic", word(255), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("slot", word(640)),
        sa.Column("payload", document()),
        sa.Column("ordered", sa.Boolean(), nullable=False),
        sa.Column("status", word(16), nullable=False),
        sa.Column("due_at", moment(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("worker", sa.String(255)),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("error", sa.Text()),
        sa.Column("trace", sa.Text()),
        sa.Column("created_at", moment(), nullable=False),
        sa.Column("finished_at", moment()),
        sa.PrimaryKeyConstraint("id", name="statemanager_outbox_pkey"),
        sa.UniqueConstraint("slot", name="uq_statemanager_outbox_slot"),
        schema=schema,
        sqlite_autoincrement=True,
    )
    for name, columns in (
        ("due", ["status", "due_at", "id"]),
        ("record", ["bucket", "name", "topic", "status", "version"]),
    ):
        op.create_index(f"ix_statemanager_outbox_{name}", "statemanager_outbox", columns, schema=schema)


def create_idempotency(schema: str | None) -> None:
    """Create the remembered outcomes of requests."""
    op.create_table(
        "statemanager_idempotency",
        sa.Column("actor", word(255), nullable=False),
        sa.Column("verb", word(64), nullable=False),
        sa.Column("key", word(255), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("outcome", sa.Text()),
        sa.Column("created_at", moment(), nullable=False),
        sa.Column("expires_at", moment(), nullable=False),
        sa.PrimaryKeyConstraint("actor", "verb", "key", name="statemanager_idempotency_pkey"),
        schema=schema,
    )
    op.create_index("ix_statemanager_idempotency_expires", "statemanager_idempotency", ["expires_at"], schema=schema)


def create_worker(schema: str | None) -> None:
    """Create the heart-beats."""
    op.create_table(
        "statemanager_worker",
        sa.Column("name", word(255), nullable=False),
        sa.Column("started_at", moment(), nullable=False),
        sa.Column("seen_at", moment(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="statemanager_worker_pkey"),
        schema=schema,
    )


def create_guard(where: str) -> None:
    """Create the triggers, also where the creation of the table has made them already."""
    remove_guard(where)
    if op.get_context().dialect.name == "sqlite":
        for act, when in ON_SQLITE.items():
            trigger = f"{where}statemanager_history_guard_{act} {when}"
            op.execute(f"CREATE TRIGGER {trigger} BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END")
        return
    op.execute(
        f"CREATE FUNCTION {where}statemanager_history_guard() RETURNS trigger LANGUAGE plpgsql AS $$ "
        "BEGIN IF TG_OP = 'DELETE' AND current_setting('statemanager.retention', true) = 'on' THEN RETURN OLD; END IF; "
        f"RAISE EXCEPTION '{REFUSAL}' USING ERRCODE = 'restrict_violation'; END $$"
    )
    for act, when, each in (("rows", "UPDATE OR DELETE", "ROW"), ("truncate", "TRUNCATE", "STATEMENT")):
        op.execute(
            f"CREATE TRIGGER statemanager_history_guard_{act} BEFORE {when} ON {where}statemanager_history "
            f"FOR EACH {each} EXECUTE FUNCTION {where}statemanager_history_guard()"
        )


def remove_guard(where: str) -> None:
    """Remove the triggers, as far as they exist."""
    if op.get_context().dialect.name == "sqlite":
        for act in ON_SQLITE:
            op.execute(f"DROP TRIGGER IF EXISTS {where}statemanager_history_guard_{act}")
        return
    for act in ("rows", "truncate"):
        op.execute(f"DROP TRIGGER IF EXISTS statemanager_history_guard_{act} ON {where}statemanager_history")
    op.execute(f"DROP FUNCTION IF EXISTS {where}statemanager_history_guard()")


def place(schema: str | None) -> str:
    """Return what stands before a name in a schema."""
    quoted = op.get_context().dialect.identifier_preparer.quote_schema
    return "" if schema is None else f"{quoted(schema)}."


def downgrade() -> None:
    schema = op.get_context().version_table_schema
    remove_guard(place(schema))
    for name in ("worker", "idempotency", "outbox"):
        op.drop_table(f"statemanager_{name}", schema=schema)
