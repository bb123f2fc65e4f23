"""Random documents, random filters: every backend finds what the plain-Python meaning finds."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import MetaData, create_engine
from sqlalchemy.pool import StaticPool

from flask_statemanager.backends.memory import MemoryBackend
from flask_statemanager.backends.sql.backend import SqlBackend
from flask_statemanager.backends.sql.tables import declare
from flask_statemanager.core.codec import clean, same
from flask_statemanager.core.query import ORDERS, Order, Query, parse_filters
from flask_statemanager.testing.clock import START
from flask_statemanager.testing.contract.store import Store, change_of, new_record

_characters = st.characters(exclude_categories=["Cs"], exclude_characters="\x00")
TEXTS = ("", "a", "A", "ab", "1", "true", "%", "_", "ä", "\uffe6", "\U0001f600")
NUMBERS = (0, 1, -1, 1.0, 0.5, 1e16, 1e17 + 16, 2**53, 2**53 + 1, 2**63 - 1, -(2**63), -(2.0**63), 1e19, 1e22, 1e308)
# Mostly from a few values, so that documents and filters meet.
texts = st.sampled_from(TEXTS * 3) | st.text(_characters, max_size=3)
wide = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
numbers = st.sampled_from(NUMBERS) | st.sampled_from(NUMBERS) | wide
scalars = st.none() | st.booleans() | numbers | texts
names = st.sampled_from(["a", "0", "ß"])
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
documents = st.lists(st.dictionaries(names, values, max_size=3), min_size=1, max_size=6)
paths = st.lists(names, min_size=1, max_size=2).map(".".join)
conditions = (
    st.tuples(paths, st.sampled_from(["eq", "ne", "contains"]), scalars)
    | st.tuples(paths, st.sampled_from(["gt", "gte", "lt", "lte"]), numbers | texts)
    | st.tuples(paths, st.just("startswith"), texts)
    | st.tuples(paths, st.just("in"), st.lists(scalars, max_size=3))
    | st.tuples(paths, st.just("exists"), st.booleans())
)
filters = st.lists(conditions, min_size=1, max_size=2).map(
    lambda found: {f"data.{path}__{operator}": value for path, operator, value in found}
)

bounded = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(params=["sqlite", "postgresql"])
def other(request: pytest.FixtureRequest) -> Iterator[SqlBackend]:
    if request.param == "sqlite":
        engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    else:
        engine = create_engine(request.getfixturevalue("postgres_url"))
    backend = SqlBackend(engine, declare(MetaData()), owned=True)
    backend.create_tables()
    yield backend
    backend.close()


_buckets = (f"bucket{number}" for number in count())


def stored(backends: list[Any], found: list[dict[str, Any]]) -> str:
    """Store the same documents in every backend, in a bucket of their own."""
    bucket = next(_buckets)
    cleaned = [clean(document, "data", 100_000) for document in found]
    for backend in backends:
        records = (new_record(f"r{number}", data, bucket=bucket) for number, data in enumerate(cleaned))
        Store(backend).apply(*(change_of(None, record, "create") for record in records))
    return bucket


def search(backend: Any, query: Query) -> list[Any]:
    with backend.reading() as unit:
        assert len(backend.search(unit, query)) == backend.count(unit, query)
        return list(backend.search(unit, query))


@bounded
@given(documents, st.lists(filters, min_size=1, max_size=8))
def test_every_filter_means_the_same_on_every_backend(other: SqlBackend, found: Any, asked: Any) -> None:
    memory = MemoryBackend()
    bucket = stored([memory, other], found)
    for one in asked:
        query = Query(bucket, START, filters=parse_filters(one))
        expected, actual = search(memory, query), search(other, query)
        assert [record.key.name for record in actual] == [record.key.name for record in expected], one
        assert all(same(left.data, right.data) for left, right in zip(actual, expected, strict=True))


@bounded
@given(documents, st.sampled_from(ORDERS), st.booleans(), st.integers(1, 3))
def test_every_page_is_the_same_on_every_backend(
    other: SqlBackend, found: Any, by: str, descending: bool, size: int
) -> None:
    memory = MemoryBackend()
    bucket = stored([memory, other], found)
    order = Order(by, descending)
    pages = []
    for backend in (memory, other):
        after: Any = None
        seen: list[str] = []
        with backend.reading() as unit:
            while page := backend.search(unit, Query(bucket, START, order=order, after=after, limit=size)):
                seen += [record.key.name for record in page]
                after = (order.value(page[-1]), page[-1].key.name)
        pages.append(seen)
    assert pages[0] == pages[1]
    assert len(pages[0]) == len(found)
