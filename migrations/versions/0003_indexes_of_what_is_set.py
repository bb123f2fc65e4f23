"""Owner and expiry are indexed where a state has one: most have neither, and need not be kept in the index."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

INDEXES = {
    "ix_statemanager_state_owner": ("owner", ["bucket", "owner", "created_at", "name"]),
    "ix_statemanager_state_expires": ("expires_at", ["bucket", "expires_at"]),
}


def upgrade() -> None:
    for name, (column, columns) in INDEXES.items():
        where = sa.text(f"{column} IS NOT NULL")
        remake(name, columns, where)


def downgrade() -> None:
    for name, (_, columns) in INDEXES.items():
        remake(name, columns, None)


def remake(name: str, columns: list[str], where: sa.TextClause | None) -> None:
    """Make an index anew."""
    schema = op.get_context().version_table_schema
    op.drop_index(name, table_name="statemanager_state", schema=schema, if_exists=True)
    op.create_index(name, "statemanager_state", columns, schema=schema, postgresql_where=where, sqlite_where=where)
