"""Run the migrations on the connection that ``flask_statemanager.backends.sql.migration`` hands over.

That module begins and commits the transaction, so that a migration happens as a whole or not at all, on SQLite too.
"""

from __future__ import annotations

from alembic import context

from flask_statemanager.backends.sql.migration import context_options

attributes = context.config.attributes
context.configure(connection=attributes["connection"], **context_options(attributes["tables"]))
with context.begin_transaction():
    context.run_migrations()
