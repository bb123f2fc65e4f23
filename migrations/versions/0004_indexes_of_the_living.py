"""Type and status are indexed for living states: no plan can take these indexes for a look-up by name any more."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

INDEXES = {
    "ix_statemanager_state_type": ["bucket", "type", "created_at", "name"],
    "ix_statemanager_state_status": ["bucket", "type", "status", "created_at", "name"],
}


def upgrade() -> None:
    remake(sa.text("deleted_at IS NULL"))


def downgrade() -> None:
    remake(None)


def remake(where: sa.TextClause | None) -> None:
    """Make the indexes anew."""
    schema = op.get_context().version_table_schema
    for name, columns in INDEXES.items():
        op.drop_index(name, table_name="statemanager_state", schema=schema, if_exists=True)
        op.create_index(name, "statemanager_state", columns, schema=schema, postgresql_where=where, sqlite_where=where)
