"""The SQL backend: SQLite embedded, PostgreSQL in production."""
