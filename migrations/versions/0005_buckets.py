"""What is left of what was removed: the versions and revisions that each bucket has been through."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

DELETED = "ix_statemanager_state_deleted"
NOTED = ["bucket", "version_floor", "compacted"]


def word(length: int) -> sa.String:
    """Return the type of a text that sorts by code point."""
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    schema = op.get_context().version_table_schema
    op.create_table(
        "statemanager_bucket",
        sa.Column("bucket", word(64), nullable=False),
        sa.Column("version_floor", sa.BigInteger(), nullable=False),
        sa.Column("compacted", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("bucket", name="statemanager_bucket_pkey"),
        schema=schema,
    )
    where = sa.text("deleted_at IS NOT NULL")
    columns = ["bucket", "deleted_at"]
    op.create_index(DELETED, "statemanager_state", columns, schema=schema, postgresql_where=where, sqlite_where=where)
    note_what_was_removed(schema)


def note_what_was_removed(schema: str | None) -> None:
    """Note for each bucket how far its history may have been removed: up to the oldest change that has lost another."""
    columns = [sa.column(name, word(64) if name == "bucket" else sa.BigInteger()) for name in NOTED]
    log = (sa.column(name) for name in ("bucket", "name", "version", "revision"))
    history = sa.table("statemanager_history", *log, schema=schema)
    change, earlier = history.alias("h"), history.alias("p")
    same = [change.c[name] == earlier.c[name] for name in ("bucket", "name")]
    kept = sa.exists().where(*same, earlier.c.version == change.c.version - 1)
    removed = sa.select(change.c.bucket, sa.literal(0), sa.func.max(change.c.revision) - 1)
    removed = removed.where(change.c.version > 1, ~kept).group_by(change.c.bucket)
    op.execute(sa.insert(sa.table("statemanager_bucket", *columns, schema=schema)).from_select(NOTED, removed))


def downgrade() -> None:
    schema = op.get_context().version_table_schema
    op.drop_index(DELETED, table_name="statemanager_state", schema=schema, if_exists=True)
    op.drop_table("statemanager_bucket", schema=schema)
