"""Pages of names: by the primary key in its order, so that they cost the same however many records there are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import MetaData, create_engine

from flask_statemanager.backends.sql.backend import SqlBackend
from flask_statemanager.backends.sql.statements import Compiled
from flask_statemanager.backends.sql.tables import declare
from flask_statemanager.core.lists import Span, prefix_end
from flask_statemanager.testing.clock import START
from flask_statemanager.testing.contract.store import BUCKET

PREFIXES = 40
FILL = """
    INSERT INTO statemanager_state (bucket, name, label, type, status, version, revision, schema_version, data,
      metadata, created_at, updated_at)
    SELECT 'contract', 'p' || (g / {each}) || ':' || (1000000 + g), 'l', 'thing', 'new', 1, g, 1, '{{"n": 1}}', '{{}}',
      '2026-01-01 12:00:00.000000', '2026-01-01 12:00:00.000000' FROM {numbers}
"""
NUMBERS = {
    "postgresql": "generate_series(0, {last}) g",
    "sqlite": "(WITH RECURSIVE n(g) AS (SELECT 0 UNION ALL SELECT g + 1 FROM n WHERE g < {last}) SELECT g FROM n)",
}
SPANS = [
    Span(BUCKET, START, limit=50),
    Span(BUCKET, START, "p7:", limit=50),
    Span(BUCKET, START, "p7", limit=50),
    Span(BUCKET, START, "p7:", "p7:1000000", limit=50),
    Span(BUCKET, START, after="p2:", limit=50),
]


@pytest.fixture(params=["sqlite", "postgresql"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqlBackend]:
    sqlite = request.param == "sqlite"
    url = f"sqlite:///{tmp_path / 'states.db'}" if sqlite else request.getfixturevalue("postgres_url")
    backend = SqlBackend(create_engine(url), declare(MetaData()), owned=True)
    backend.create_tables()
    yield backend
    backend.close()


def fill(backend: SqlBackend, number: int) -> None:
    kind = backend.engine.dialect.name
    with backend.engine.begin() as connection:
        connection.exec_driver_sql(f"{'DELETE FROM' if kind == 'sqlite' else 'TRUNCATE'} statemanager_state")
        numbers = NUMBERS[kind].format(last=number - 1)
        connection.exec_driver_sql(FILL.format(each=number // PREFIXES, numbers=numbers))


def analyze(backend: SqlBackend) -> None:
    with backend.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE")


def plan(backend: SqlBackend, span: Span) -> str:
    return explained(backend, *backend._spans.listing(span))


def explained(backend: SqlBackend, statement: Compiled, values: dict[str, Any]) -> str:
    postgres = backend.engine.dialect.name == "postgresql"
    verb = "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON)" if postgres else "EXPLAIN QUERY PLAN"
    with backend.reading() as unit:
        return str([tuple(row) for row in unit.run(statement.behind(verb), values, planned=False)])


@pytest.mark.parametrize("analyzed", [False, True])
@pytest.mark.parametrize("span", SPANS, ids=lambda span: f"{span.prefix or 'all'} behind {span.after}")
def test_a_page_is_read_in_the_order_of_the_primary_key(backend: SqlBackend, span: Span, analyzed: bool) -> None:
    fill(backend, 8000)
    if analyzed:
        analyze(backend)
    by_the_primary_key(plan(backend, span))


@pytest.mark.parametrize("analyzed", [False, True])
@pytest.mark.parametrize(("prefix", "after"), [("", None), ("", "p7:1000000"), ("p7:", None), ("p7:", "p7:1000000")])
def test_a_look_at_whole_buckets_goes_the_same_way(
    backend: SqlBackend, prefix: str, after: str | None, analyzed: bool
) -> None:
    fill(backend, 8000)
    if analyzed:
        analyze(backend)
    values = backend._scanning.values(BUCKET, prefix, after) | {"k_limit": 50}
    by_the_primary_key(explained(backend, backend._scanning.page(prefix, after), values))


def by_the_primary_key(found: str) -> None:
    assert "statemanager_state_pkey" in found or "sqlite_autoindex_statemanager_state_1" in found, found
    assert "Sort" not in found
    assert "TEMP B-TREE" not in found


def test_a_page_reads_no_more_of_many_than_of_few(postgres_url: str) -> None:
    """Blocks of PostgreSQL, for the rows of a page and the way down to them."""
    backend = SqlBackend(create_engine(postgres_url), declare(MetaData()), owned=True)
    backend.create_tables()

    def blocks() -> list[int]:
        return [_read(backend, span) for span in SPANS]

    fill(backend, 2000)
    few = blocks()
    fill(backend, 40_000)
    analyze(backend)
    assert all(many <= number + 60 for number, many in zip(few, blocks(), strict=True))
    backend.close()


def _read(backend: SqlBackend, span: Span) -> int:
    statement, values = backend._spans.listing(span)
    with backend.reading() as unit:
        verb = "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON)"
        [[found]] = unit.run(statement.behind(verb), values, planned=False)
    top: dict[str, Any] = found[0]["Plan"]
    return int(top["Shared Hit Blocks"]) + int(top["Shared Read Blocks"])


@pytest.mark.parametrize(
    ("prefix", "end"),
    [
        ("", None),
        ("a", "b"),
        ("user:", "user;"),
        ("z\x7f", "z\x80"),
        ("\ud7ff", "\ue000"),
        ("a\U0010ffff", "b"),
        ("\U0010ffff" * 3, None),
    ],
)
def test_the_end_of_a_prefix_is_the_first_text_behind_all_that_begin_with_it(prefix: str, end: str | None) -> None:
    assert prefix_end(prefix) == end
    if end is not None:
        assert f"{prefix}{chr(0x10FFFF) * 9}" < end
        assert not end.startswith(prefix)
