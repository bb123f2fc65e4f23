"""Expiry is indexed by status: what is past it and has expired already is not looked at again for what expires next."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

EXPIRES = "ix_statemanager_state_expires"


def upgrade() -> None:
    remake(["bucket", "status", "expires_at"], sa.text("expires_at IS NOT NULL AND deleted_at IS NULL"))


def downgrade() -> None:
    remake(["bucket", "expires_at"], sa.text("expires_at IS NOT NULL"))


def remake(columns: list[str], where: sa.TextClause) -> None:
    """Make the index anew."""
    schema = op.get_context().version_table_schema
    op.drop_index(EXPIRES, table_name="statemanager_state", schema=schema, if_exists=True)
    op.create_index(EXPIRES, "statemanager_state", columns, schema=schema, postgresql_where=where, sqlite_where=where)
