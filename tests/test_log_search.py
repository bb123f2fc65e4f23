"""Searches through the log: by its own order, so that they cost the same however much it holds."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import MetaData, create_engine

from flask_statemanager.backends.sql.auditing import Windows
from flask_statemanager.backends.sql.backend import SqlBackend
from flask_statemanager.backends.sql.tables import declare
from flask_statemanager.core.audits import AuditQuery
from flask_statemanager.testing.contract.store import BUCKET, Store

QUERIES = [AuditQuery(BUCKET), AuditQuery(BUCKET, actor="nobody"), AuditQuery(but=(BUCKET,))]
HABITS = {
    "sqlite": ("EXPLAIN QUERY PLAN", "INTEGER PRIMARY KEY"),
    "postgresql": ("EXPLAIN", "statemanager_history_pkey"),
}


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_the_newest_of_a_bucket_are_found_without_sorting_all_of_them(
    database: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    sqlite = database == "sqlite"
    url = f"sqlite:///{tmp_path / 'states.db'}" if sqlite else request.getfixturevalue("postgres_url")
    backend = SqlBackend(create_engine(url), declare(MetaData()), owned=True)
    backend.create_tables()
    Store(backend).fill({f"k{number:04}": {} for number in range(2000)})
    verb, index = HABITS[database]
    for analyzed in (False, True):
        if analyzed:
            with backend.engine.begin() as connection:
                connection.exec_driver_sql("ANALYZE")
        for query in QUERIES:
            statement = Windows(backend._statements).of_all(query)
            with backend.reading() as unit:
                values = {**backend._values(query), "k_before": 2001, "k_floor": 1001}
                plan = "\n".join(str(row) for row in unit.run(statement.behind(verb), values, planned=False))
            assert index in plan, plan
            assert "TEMP B-TREE" not in plan
            assert "Sort" not in plan
    backend.close()
