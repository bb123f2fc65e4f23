"""The indexes of configured fields: searches go by them, they mean the same as without, and they come and go safely."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, ClassVar

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import (
    Column,
    DateTime,
    Engine,
    Integer,
    MetaData,
    Table,
    bindparam,
    create_engine,
    create_mock_engine,
    event,
    make_url,
    text,
)
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.schema import CreateIndex

from benchmarks.stock import FIELDS, fill
from flask_statemanager import StateManager
from flask_statemanager.backends.sql import indexes, migration, search
from flask_statemanager.backends.sql.backend import SqlBackend
from flask_statemanager.backends.sql.connection import SqlUnit
from flask_statemanager.backends.sql.field_index import MAX_INDEXED, name_of, text_behind
from flask_statemanager.backends.sql.statements import Compiled
from flask_statemanager.backends.sql.tables import declare
from flask_statemanager.cli import state
from flask_statemanager.config import IndexedField, Settings
from flask_statemanager.core.codec import MAX_DEPTH
from flask_statemanager.core.query import Query, parse_filters
from flask_statemanager.errors import ConfigurationError, StorageError, StorageTimeout
from flask_statemanager.lifecycle.query import StateQuery
from flask_statemanager.metrics.searches import MOST_FIELDS
from flask_statemanager.testing.cases import DOCUMENTS
from flask_statemanager.testing.clock import START
from flask_statemanager.testing.contract import CountContract, SearchContract, Store
from flask_statemanager.testing.contract.searching import Finder
from tests.servers import PostgresServer
from tests.worlds import World, build, entered, uri_for

MANY = 100_000
PATIENCE = 60


def parsed(**fields: list[str]) -> list[IndexedField]:
    return [IndexedField.parse(name, each) for name, listed in fields.items() for each in listed]


# -- the plan of what search_states sends, on 100,000 states ----------------------------------------------------------


SELDOM = (
    "UPDATE statemanager_state SET status = CASE WHEN revision % 2 = 0 THEN 'closed' ELSE status END, owner = 'ada' "
    "WHERE revision BETWEEN 99991 AND 99999 AND type = 'user'"
)
"""Makes states with a status and an owner that few have, the last ones in the default order."""


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def stock(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Kind and URI of a database with 100,000 states and the indexes of FIELDS."""
    if request.param == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres_server")
        uri = server.create_database()
    else:
        uri = f"sqlite:///{tmp_path_factory.mktemp('stock') / 'states.db'}"
    backend = SqlBackend(create_engine(uri), declare(MetaData()), owned=True, indexed=parsed(**FIELDS))
    backend.create_tables()
    indexes.drop(backend, [found.name for found in indexes.standings(backend)], str)
    fill(backend.engine, MANY, history=False)
    with backend.engine.begin() as connection:
        connection.execute(text(SELDOM))
    indexes.sync(backend, str)
    if request.param == "sqlite":  # whose planner takes of two that seem equal the one made last
        made = {index.name: index for index in backend.tables.state.indexes}
        with backend.engine.begin() as connection:
            for column in ("owner", "type"):
                made[f"ix_statemanager_state_{column}"].drop(connection)
                made[f"ix_statemanager_state_{column}"].create(connection)
    backend.close()
    yield request.param, uri
    if request.param == "postgresql":
        server.drop_database(uri)


@pytest.fixture
def stocked(stock: tuple[str, str]) -> Iterator[World]:
    """An application on that database."""
    yield from entered(build(*stock, STATEMANAGER_INDEXED_FIELDS=FIELDS))


@pytest.fixture
def planned(stocked: World, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], str]:
    """Return the plan of the last statement that a call sends, with its own parameters on its own connection."""
    return planning(stocked, monkeypatch)


def planning(world: World, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], str]:
    sent: list[tuple[Compiled, dict[str, Any]]] = []
    send = SqlUnit.run

    def watched(unit: SqlUnit, statement: Compiled, values: dict[str, Any], **options: Any) -> Any:
        sent.append((statement, values))
        return send(unit, statement, values, **options)

    monkeypatch.setattr(SqlUnit, "run", watched)
    verb = "EXPLAIN QUERY PLAN" if world.kind == "sqlite" else "EXPLAIN"

    def plan(call: Callable[[], Any]) -> str:
        assert call()
        statement, values = sent[-1]
        with world.runtime.backend.reading() as unit:
            rows = send(unit, statement.behind(verb), values, planned=False)
        return "\n".join(str(row[-1]) for row in rows)

    return plan


def index_on(field: str) -> str:
    kind = "number" if field == "data.amount" else "text"
    return name_of(IndexedField.parse("user", f"{field}:{kind}"))


def sorts(plan: str) -> bool:
    return "TEMP B-TREE" in plan or "Sort" in plan


def test_a_prefix_in_the_order_of_the_ids_is_a_range_of_the_primary_key(
    stocked: World, planned: Callable[[Callable[[], Any]], str]
) -> None:
    found = stocked.states.search_states(prefix="s12", order_by="state_id")
    plan = planned(lambda: found.page(20).items)
    assert "pkey" in plan or "autoindex" in plan, plan
    assert not sorts(plan), plan


@pytest.mark.parametrize(
    "asked",
    [{"order_by": None}, {"order_by": "-created_at"}, {"status": "active"}],
    ids=["default order", "newest first", "with a status"],
)
def test_a_page_of_what_equals_is_read_from_the_index_in_order(
    stocked: World, planned: Any, asked: dict[str, Any]
) -> None:
    query = stocked.states.search_states("user", {"data.plan": "pro"}, **asked)
    plan = planned(lambda: query.page(20).items)
    assert index_on("data.plan") in plan
    assert not sorts(plan)


def test_the_page_behind_begins_in_the_index_where_the_one_before_ended(stocked: World, planned: Any) -> None:
    query = stocked.states.search_states("user", {"data.city": "city_7"})
    first = query.page(400)
    plan = planned(lambda: query.page(20, after=first.next).items)
    assert index_on("data.city") in plan
    assert "created_at" in plan.partition(index_on("data.city"))[2].partition("Filter")[0]
    assert not sorts(plan)


RARE: dict[str, dict[str, Any]] = {
    "equality": {"data.email": "user_501@example.com"},
    "in": {"data.email__in": ["user_501@example.com", "user_502@example.com", "nobody"]},
    "in numbers": {"data.amount__in": [7, 77.0]},
    "range": {"data.amount__gt": 500, "data.amount__lte": 501},
    "range of text": {"data.email__gte": "user_501@", "data.email__lt": "user_501@f"},
    "startswith": {"data.email__startswith": "user_501@"},
    "beside something common": {"data.plan": "pro", "data.email": "user_501@example.com"},
    "beside a common range": {"data.amount__gte": 0, "data.email__startswith": "user_501@"},
}


@pytest.mark.parametrize("asked", RARE)
def test_what_is_rare_is_found_by_its_index(stocked: World, planned: Any, asked: str) -> None:
    field = next(reversed(RARE[asked])).partition("__")[0]
    # More than there are, as a page that is soon full can be had cheaper by reading in order.
    plan = planned(lambda: stocked.states.search_states("user", RARE[asked]).page(200).items)
    assert index_on(field) in plan


def test_what_is_rare_is_found_by_its_index_beside_an_owner_of_more(stocked: World, planned: Any) -> None:
    asked: dict[str, Any] = {"filters": {"data.email": "user_501@example.com"}, "owner": "tenant_419"}
    plan = planned(lambda: stocked.states.search_states("user", **asked).page(200).items)
    assert index_on("data.email") in plan


SELDOM_BY: dict[str, tuple[dict[str, Any], str, bool]] = {
    "status": ({"status": "closed"}, "status", False),
    "statuses": ({"status": ["closed", "suspended"]}, "status", True),
    "status in another order": ({"status": "closed", "order_by": "-updated_at"}, "status", True),
    "owner": ({"owner": "ada"}, "owner", False),
    "owner in another order": ({"owner": "ada", "order_by": "state_id"}, "owner", True),
    "owner beside a common status": ({"owner": "ada", "status": "active"}, "owner", False),
}
"""What is asked for, the column whose index is to be gone by, and whether what it finds has to be sorted."""


@pytest.mark.parametrize("filters", [{"data.plan": "free"}, {"data.amount__gte": 3}], ids=["equality", "range"])
@pytest.mark.parametrize("seldom", SELDOM_BY)
def test_a_rare_status_or_owner_is_found_by_its_own_index(
    stocked: World, planned: Any, seldom: str, filters: dict[str, Any]
) -> None:
    asked, column, sorted_behind = SELDOM_BY[seldom]
    query = stocked.states.search_states("user", filters, **asked)
    plan = planned(lambda: query.page(20).items)
    assert f"ix_statemanager_state_{column}" in plan
    assert "ix_statemanager_field" not in plan
    assert "ix_statemanager_state_type" not in plan
    assert sorts(plan) == sorted_behind or stocked.kind == "postgresql"  # which sorts so few as it likes
    assert f"ix_statemanager_state_{column}" in planned(query.count)


LAPSING: dict[str, dict[str, Any]] = {
    "of a type": {"state_type": "user", "status": "expired"},
    "of any type": {"status": "expired"},
    "beside another": {"state_type": "user", "status": ["expired", "suspended"]},
}


@pytest.mark.parametrize("order", ["created_at", "-created_at", "updated_at", "state_id", "version", "revision"])
@pytest.mark.parametrize("asked", LAPSING)
def test_what_has_expired_is_found_by_the_indexes_of_status_and_expiry(
    stocked: World, planned: Any, asked: str, order: str
) -> None:
    with stocked.db.session() as session:  # rolled back: of every thousand one has expired, and is told so of half
        past = {"past": stocked.clock.now() - timedelta(hours=1)}
        chosen = "UPDATE statemanager_state SET expires_at = :past WHERE type = 'user' AND revision % 1000 = 1"
        session.execute(text(chosen).bindparams(bindparam("past", type_=DateTime(timezone=True))), past)
        told = "UPDATE statemanager_state SET status = 'expired' WHERE expires_at IS NOT NULL AND revision % 2000 = 1"
        session.execute(text(told))
        query = stocked.states.search_states(**LAPSING[asked], order_by=order, session=session)
        assert len(query.page(200)) == 100 == query.count()
        session.rollback()
    # planned on the table as it was
    plan = planned(lambda: query.page(20).items is not None)
    if stocked.kind == "sqlite":
        assert "ix_statemanager_state_status (bucket=? AND type=? AND status=?" in plan
        assert "ix_statemanager_state_expires (bucket=? AND status=? AND expires_at<?)" in plan
        assert "SCAN statemanager_state" not in plan


COMMON: dict[str, dict[str, Any]] = {
    "range": {"data.amount__gte": 3},
    "in": {"data.plan__in": ["pro", "free"]},
    "equality beside a range": {"data.plan": "pro", "data.amount__gte": 3},
}


@pytest.mark.parametrize("asked", COMMON)
def test_a_page_of_what_is_common_is_read_in_order_and_nothing_is_sorted(
    stocked: World, planned: Any, asked: str
) -> None:
    plan = planned(lambda: stocked.states.search_states("user", COMMON[asked]).page(20).items)
    assert not sorts(plan)
    assert (index_on("data.plan") in plan) == ("data.plan" in COMMON[asked])


def test_counting_goes_by_the_index(stocked: World, planned: Any) -> None:
    query = stocked.states.search_states("user", {"data.city": "city_7"})
    assert index_on("data.city") in planned(query.count)


def test_the_plan_is_the_same_after_many_runs_on_one_connection(stocked: World, planned: Any) -> None:
    """After five runs psycopg would prepare a statement, and PostgreSQL make a plan for any value."""
    with stocked.db.session() as session:
        query = stocked.states.search_states("user", {"data.plan": "pro"}, session=session)
        for _ in range(12):
            assert len(query.page(20)) == 20
        if stocked.kind == "postgresql":
            prepared = list(session.scalars(text("SELECT statement FROM pg_prepared_statements")))
            assert [statement for statement in prepared if "statemanager_state" in statement] == []
        assert index_on("data.plan") in planned(lambda: query.page(20).items)


EVERYTHING: list[dict[str, Any]] = [*RARE.values(), *COMMON.values(), {"data.plan": "pro", "data.city": "city_7"}]


SOME: list[dict[str, Any]] = [{"data.plan": "free"}, {"data.plan__in": ["pro", "free"], "data.amount__gte": 3}]
BESIDE: list[dict[str, Any]] = [
    {"status": ["closed", "nothing"], "order_by": "-created_at"},
    {"owner": "ada", "status": "closed"},
    {"owner": "ada", "order_by": "-updated_at"},
]


def test_every_way_finds_the_same(stocked: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def found() -> list[list[str]]:
        search = stocked.states.search_states
        queries = [search("user", filters, status="active") for filters in EVERYTHING]
        queries += [search("user", filters, **beside) for filters in SOME for beside in BESIDE]
        return [[state.state_id for state in query.page(200)] for query in queries]

    by_rule = found()
    monkeypatch.setattr(search, "FEW", 0)
    assert found() == by_rule
    monkeypatch.setattr(search, "FEW", MANY)
    assert found() == by_rule
    monkeypatch.setattr(stocked.runtime.backend.fields, "_of", {})
    assert found() == by_rule


@pytest.fixture
def documented(stock: tuple[str, str]) -> Iterator[World]:
    """An application on that database with the index of a whole document, which create_all makes."""
    world = build(*stock, STATEMANAGER_INDEXED_FIELDS={"user": ["data:gin"]})
    yield from entered(world)


@pytest.mark.parametrize("stock", ["postgresql"], indirect=True)
def test_the_index_of_a_document_finds_what_is_rare_by_equality_alone(
    documented: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, search = planning(documented, monkeypatch), documented.states.search_states
    name = name_of(IndexedField.parse("user", "data:gin"))
    assert name in plan(lambda: search("user", {"data.email": "user_501@example.com"}).page(20).items)
    assert name not in plan(lambda: search("user", {"data.email__in": ["user_501@example.com"]}).page(20).items)
    assert unindexed(documented) == {"search.unindexed.user.data.email": 1}
    indexes.drop(documented.runtime.backend, [name], str)


# -- estimates --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filters", "number"),
    [
        ({}, 80_000),
        ({"data.plan": "free"}, 72_000),
        ({"data.amount__gte": 750}, 20_000),
        ({"data.plan__in": ["free"]}, 72_000),
    ],
    ids=["a type", "equality", "a range", "in"],
)
def test_an_estimate_is_about_right(stocked: World, filters: dict[str, Any], number: int) -> None:
    query = stocked.states.search_states("user", filters)
    assert query.count() == number
    assert number * 0.8 < query.count(estimate=True) < number * 1.2


def test_estimates_of_one_sample_are_about_right(stocked: World) -> None:
    backend, now = stocked.runtime.lifecycle.parts.counts, stocked.clock.now()
    queries = [Query("state", now, name) for name in ("user", "payment", "none", None)]
    with stocked.runtime.bucket.reading() as unit:
        found = backend.count_each(unit, queries, exact_to=1000)
        exact = backend.count_each(unit, queries)
    assert exact[2] == found[2] == 0
    assert all(number * 0.8 <= about <= number * 1.2 for number, about in zip(exact, found, strict=True))


def test_an_estimate_of_few_is_exact(stocked: World) -> None:
    query = stocked.states.search_states("user", {"data.plan": "pro"})
    assert query.count(estimate=True) == query.count() == 8_000


# -- the same meaning as without an index -----------------------------------------------------------------------------

ANY = parsed(**{"*": ["data.v", "data.v:number", "data.v:boolean", "metadata.v", "metadata.v:number", "data.v.in"]})
DOCUMENT = parsed(**{"*": ["data:gin", "metadata:gin"]})


class IndexedContract:
    """What the contract says of filters, on a backend with indexes."""

    fields: ClassVar[list[IndexedField]] = ANY

    test_filters = SearchContract.test_every_filter_finds_what_the_table_says
    test_filters_on_metadata = SearchContract.test_every_filter_means_the_same_on_metadata
    test_all_must_hold = SearchContract.test_all_filters_must_hold
    test_statuses = SearchContract.test_types_statuses_and_owners_find_what_the_table_says
    test_pages_of_statuses = SearchContract.test_pages_of_statuses_put_together_are_the_whole_in_order
    test_many_statuses = SearchContract.test_more_statuses_than_have_a_way_of_their_own_are_found
    test_a_full_page = SearchContract.test_a_filtered_page_is_full_when_there_are_enough
    test_tombstones = SearchContract.test_tombstones_and_other_buckets_are_not_found
    test_bounded_counts = CountContract.test_up_to_a_bound_a_count_is_exact_and_beyond_it_greater
    test_counts = CountContract.test_as_many_are_counted_as_the_table_says

    @pytest.fixture
    def engine(self) -> Iterator[Engine]:
        raise NotImplementedError

    @pytest.fixture
    def backend(self, engine: Engine) -> Iterator[SqlBackend]:
        backend = SqlBackend(engine, declare(MetaData()), owned=True, indexed=self.fields)
        backend.create_tables()
        assert {found.standing for found in indexes.standings(backend)} == {"ready"}
        yield backend
        backend.close()

    @pytest.fixture
    def store(self, backend: SqlBackend) -> Store:
        return Store(backend)

    @pytest.fixture
    def finder(self, backend: SqlBackend) -> Finder:
        return Finder(backend)

    @pytest.fixture
    def documents(self, store: Store) -> None:
        store.fill(DOCUMENTS)


class TestSqliteWithIndexes(IndexedContract):
    @pytest.fixture
    def engine(self, tmp_path: Path) -> Engine:
        return create_engine(f"sqlite:///{tmp_path / 'states.db'}")


class TestSqliteInOrder(TestSqliteWithIndexes):
    @pytest.fixture(autouse=True)
    def _many(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(search, "FEW", 0)


class TestPostgresWithIndexes(IndexedContract):
    @pytest.fixture
    def engine(self, postgres_url: str) -> Engine:
        return create_engine(postgres_url)


class TestPostgresWithDocumentIndexes(TestPostgresWithIndexes):
    fields: ClassVar[list[IndexedField]] = DOCUMENT


@given(st.text(max_size=5), st.text(max_size=5))
def test_what_begins_with_a_prefix_lies_before_the_text_behind_it(prefix: str, rest: str) -> None:
    behind = text_behind(prefix)
    assert behind is None or prefix + rest < behind
    for other in (rest, rest + prefix, prefix[:-1] + rest):
        between = prefix <= other and (behind is None or other < behind)
        assert between == other.startswith(prefix)


SMALL = {"user": ["data.v", "data.n:number", "data.b:boolean"]}


@pytest.fixture(params=["sqlite", "postgresql"])
def small(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """An application with the indexes of SMALL."""
    uri = uri_for(request.param, tmp_path, request)
    yield from entered(build(request.param, uri, STATEMANAGER_INDEXED_FIELDS=SMALL))


def test_text_too_long_for_an_index_is_stored_and_found(small: World) -> None:
    world = small
    texts = {f"u{size}": "x" * size for size in (MAX_INDEXED - 1, MAX_INDEXED, MAX_INDEXED + 1, 300_000)}
    for name, value in texts.items():
        world.states.register_state(name, "user", {"v": value, "n": value, "b": value})
    for name, value in texts.items():
        assert ids(world.states.search_states("user", {"data.v": value})) == [name]
        assert ids(world.states.search_states("user", {"data.v__startswith": value}))[0] == name
        assert ids(world.states.search_states("user", {"data.v__gt": value})) == [
            other for other in texts if len(texts[other]) > len(value)
        ]


def test_what_has_expired_is_found_under_its_status_by_every_way(small: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        small.states.register_state(f"u{number}", "user", {"v": "x"}, ttl=60 if number % 2 else 600)
    created = small.states.search_states("user", {"data.v": "x"}, status="created")
    expired = small.states.search_states("user", {"data.v": "x"}, status="expired")
    either = small.states.search_states("user", {"data.v": "x"}, status=["expired", "created"])
    small.clock.advance(61)
    for few in (search.FEW, 0):
        monkeypatch.setattr(search, "FEW", few)
        assert (ids(created), ids(expired)) == (["u0", "u2"], ["u1", "u3"])
        assert ids(either) == ["u0", "u1", "u2", "u3"]


def ids(query: StateQuery) -> list[str]:
    return [state.state_id for state in query]


# -- making and dropping ----------------------------------------------------------------------------------------------


@pytest.fixture(params=["sqlite", "postgresql"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    return uri_for(request.param, tmp_path, request)


Backends = Callable[..., SqlBackend]


@pytest.fixture
def backends() -> Iterator[Backends]:
    """Make backends on a database, each with a configuration of its own."""
    made: list[SqlBackend] = []

    def make(uri: str, **fields: list[str]) -> SqlBackend:
        made.append(SqlBackend(create_engine(uri), declare(MetaData()), owned=True, indexed=parsed(**fields)))
        return made[-1]

    yield make
    for backend in made:
        backend.close()


def standing(backend: SqlBackend) -> dict[str, str]:
    return {found.field or found.name: found.standing for found in indexes.standings(backend)}


def acts(steps: list[indexes.Step]) -> list[str]:
    return [step.act for step in steps if step.act != "analyze"]


def test_sync_makes_what_is_missing_and_nothing_twice(uri: str, backends: Backends) -> None:
    backends(uri).create_tables()
    backend = backends(uri, user=["data.plan"], payment=["data.plan"])
    assert list(standing(backend).values()) == ["missing"]  # the two are told apart by name alone
    assert {found.type for found in indexes.standings(backend)} == {"user", "payment"}
    told: list[str] = []
    assert acts(indexes.sync(backend, lambda step: told.append(step.act), dry_run=True)) == ["create", "create"]
    assert told[:2] == ["create", "create"]
    assert set(standing(backend).values()) == {"missing"}
    assert acts(indexes.sync(backend, str)) == ["create", "create"]
    assert set(standing(backend).values()) == {"ready"}
    assert indexes.sync(backend, str) == []


def test_what_is_not_configured_any_more_is_unused_and_can_be_dropped(uri: str, backends: Backends) -> None:
    backends(uri, user=["data.plan", "data.city"]).create_tables()
    backend = backends(uri, user=["data.city"])
    gone = name_of(IndexedField.parse("user", "data.plan"))
    assert standing(backend) == {"data.city": "ready", gone: "unused"}
    assert indexes.sync(backend, str) == []
    assert acts(indexes.drop(backend, [gone], str, dry_run=True)) == ["drop"]
    assert acts(indexes.drop(backend, [gone], str)) == ["drop"]
    assert standing(backend) == {"data.city": "ready"}
    assert indexes.drop(backend, [gone, "ix_statemanager_state_type"], str) == []


def test_dropping_leaves_nothing_behind(postgres_url: str, backends: Backends) -> None:
    backend = backends(postgres_url, user=["data.plan", "data:gin"])
    backend.create_tables()
    indexes.drop(backend, [found.name for found in indexes.standings(backend)], str)
    with backend.engine.connect() as connection:
        assert list(connection.scalars(text("SELECT stxname FROM pg_statistic_ext"))) == []


def test_create_all_makes_the_indexes_of_a_table_that_exists(uri: str, backends: Backends) -> None:
    backends(uri).create_tables()
    backend = backends(uri, user=["data.plan"])
    backend.create_tables()
    assert standing(backend) == {"data.plan": "ready"}
    backend.create_tables()


@pytest.fixture
def statements() -> Iterator[list[str]]:
    """What SQLAlchemy sends."""
    sent: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        sent.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    yield sent
    event.remove(Engine, "before_cursor_execute", note)


def test_create_all_sends_nothing_for_what_is_there(
    postgres_url: str, backends: Backends, statements: list[str]
) -> None:
    """CREATE INDEX IF NOT EXISTS would lock the table: behind an open write, and before every other."""
    backend = backends(postgres_url, user=["data.plan", "data:gin"])
    backend.create_tables()
    with backend.engine.begin() as connection:
        connection.execute(text(f"DROP STATISTICS {index_on('data.plan')}"))
    statements.clear()
    backend.create_tables()
    assert [each.split()[:2] for each in statements if each.startswith("CREATE")] == [["CREATE", "STATISTICS"]]
    statements.clear()
    backend.create_tables()
    assert [each for each in statements if not each.lstrip().startswith("SELECT") or "advisory" in each] == []


def test_create_all_calls_at_once_make_what_is_missing(postgres_url: str, backends: Backends) -> None:
    backends(postgres_url).create_tables()
    racers = [backends(postgres_url, user=["data.plan", "data.city", "data.amount:number"]) for _ in range(4)]
    start = threading.Barrier(len(racers))

    def make(backend: SqlBackend) -> None:
        start.wait(PATIENCE)
        backend.create_tables()
        assert set(standing(backend).values()) == {"ready"}

    with ThreadPoolExecutor(len(racers)) as pool:
        list(pool.map(make, racers, timeout=PATIENCE))


def test_a_role_that_owns_no_table_may_call_create_all_where_all_is_there(
    postgres_url: str, backends: Backends
) -> None:
    owner = backends(postgres_url, user=["data.plan"])
    owner.create_tables()
    with owner.engine.begin() as connection:
        connection.execute(text("CREATE ROLE guest"))
    try:
        guest = backends(postgres_url, user=["data.plan"])
        event.listen(guest.engine, "connect", become_guest)
        guest.create_tables()
        with pytest.raises(ProgrammingError, match="must be owner"), guest.engine.begin() as connection:
            connection.execute(text(f"DROP INDEX {index_on('data.plan')}"))
    finally:
        with owner.engine.begin() as connection:
            connection.execute(text("DROP ROLE guest"))


def become_guest(connection: Any, _record: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET ROLE guest")
    connection.commit()


def test_create_all_leaves_the_indexes_to_a_sync_that_is_at_work(
    postgres_url: str, backends: Backends, caplog: pytest.LogCaptureFixture
) -> None:
    backends(postgres_url).create_tables()
    first = backends(postgres_url, user=["data.plan"])
    second = backends(postgres_url, user=["data.plan", "data.city"])
    indexes.sync(first, lambda step: second.create_tables() if step.act == "create" else None)
    assert standing(second) == {"data.plan": "ready", "data.city": "missing"}
    assert "'flask state index sync' makes what is missing" in caplog.text


def test_old_history_is_forgotten_while_a_sync_is_at_work(postgres_url: str, backends: Backends) -> None:
    """It would wait for the sync, and the sync for whatever transaction is under way."""
    impatient = make_url(postgres_url).update_query_dict({"options": "-c lock_timeout=2s"})
    backend = backends(impatient.render_as_string(hide_password=False), user=["data.plan"])
    SqlBackend(backend.engine, declare(MetaData())).create_tables()
    done: list[str] = []

    def forget(step: indexes.Step) -> None:
        with backend.writing() as unit:
            assert backend.forget_changes(unit, START, 10) == []
        done.append(step.act)

    indexes.sync(backend, forget)
    assert "create" in done
    assert standing(backend) == {"data.plan": "ready"}


def test_a_recorder_of_statements_is_given_the_indexes(backends: Backends, tmp_path: Path) -> None:
    backend = backends(f"sqlite:///{tmp_path / 'states.db'}", user=["data.plan"])
    recorded: list[Any] = []
    recorder = create_mock_engine("sqlite://", lambda statement, *_rest, **_more: recorded.append(statement))
    backend.tables.state.metadata.create_all(recorder, checkfirst=False)
    assert index_on("data.plan") in [each.element.name for each in recorded if isinstance(each, CreateIndex)]


def test_create_all_of_other_tables_needs_none_of_ours(uri: str, backends: Backends) -> None:
    backend = backends(uri, user=["data.plan"])
    metadata = backend.tables.state.metadata
    Table("other", metadata, Column("id", Integer, primary_key=True)).metadata.create_all(
        backend.engine, tables=[metadata.tables["other"]]
    )
    with pytest.raises(StorageError, match="tables of Flask-StateManager are missing"):
        indexes.standings(backend)


def test_an_index_without_its_statistics_is_completed(postgres_url: str, backends: Backends) -> None:
    backend = backends(postgres_url, user=["data.plan"])
    backend.create_tables()
    with backend.engine.begin() as connection:
        connection.execute(text(f"DROP STATISTICS {index_on('data.plan')}"))
    assert standing(backend) == {"data.plan": "incomplete"}
    assert acts(indexes.sync(backend, str)) == ["create"]
    assert standing(backend) == {"data.plan": "ready"}


def test_sync_analyzes_what_was_written_since_the_tables_were_made(postgres_url: str) -> None:
    for world in entered(build("postgresql", postgres_url, STATEMANAGER_INDEXED_FIELDS={"user": ["data.plan"]})):
        backend = world.runtime.backend
        assert indexes.sync(backend, str) == []
        world.states.register_state("u1", "user", {"plan": "pro"})  # too few for autovacuum to look at them
        assert [step.act for step in indexes.sync(backend, str)] == ["analyze"]
        assert indexes.sync(backend, str) == []


def test_sync_analyzes_the_fields_of_which_only_create_all_made_the_indexes(
    postgres_url: str, backends: Backends
) -> None:
    plain = backends(postgres_url)
    plain.create_tables()
    fill(plain.engine, 500, history=False)  # and analyzes the table, without the field
    backend = backends(postgres_url, user=["data.plan"])
    backend.create_tables()
    assert [step.act for step in indexes.sync(backend, str)] == ["analyze"]
    assert indexes.sync(backend, str) == []


def test_an_index_that_somebody_else_makes_meanwhile_does_not_end_sync(postgres_url: str, backends: Backends) -> None:
    backends(postgres_url).create_tables()
    backend = backends(postgres_url, user=["data.plan", "data.city"])

    def told(step: indexes.Step) -> None:
        if step.name == index_on("data.plan"):
            with backends(postgres_url).engine.begin() as other:
                other.execute(text(step.statements[0].replace("CONCURRENTLY ", "")))

    assert acts(indexes.sync(backend, told)) == ["create", "create"]
    assert set(standing(backend).values()) == {"ready"}


def test_an_index_whose_name_only_begins_like_ours_is_left_alone(uri: str, backends: Backends) -> None:
    backend = backends(uri, user=["data.plan"])
    backend.create_tables()
    with backend.engine.begin() as connection:
        connection.execute(text("CREATE INDEX ix_statemanager_field_my_own ON statemanager_state (label)"))
    assert standing(backend) == {"data.plan": "ready"}


def test_an_interrupted_build_is_found_and_made_anew(postgres_url: str, backends: Backends) -> None:
    backends(postgres_url).create_tables()
    backend = backends(postgres_url, user=["data.plan"])
    cancel = text(
        "SELECT pg_cancel_backend(pid) FROM pg_stat_activity "
        "WHERE query LIKE 'CREATE INDEX CONCURRENTLY%' AND wait_event_type = 'Lock'"
    )
    engine = backends(postgres_url).engine
    with ThreadPoolExecutor(1) as pool, engine.connect() as other:
        other.execute(text("LOCK statemanager_state IN ROW EXCLUSIVE MODE"))  # a build waits for such a transaction
        building = pool.submit(indexes.sync, backend, str)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as look:
            for _ in range(PATIENCE * 100):
                if look.execute(cancel).all() or building.done():
                    break
                threading.Event().wait(0.01)
        with pytest.raises(StorageTimeout):
            building.result(PATIENCE)
    assert standing(backend) == {"data.plan": "invalid"}
    assert acts(indexes.sync(backend, str)) == ["rebuild"]
    assert standing(backend) == {"data.plan": "ready"}


def test_two_do_not_make_indexes_at_once(postgres_url: str, backends: Backends) -> None:
    backend = backends(postgres_url, user=["data.plan"])
    backend.create_tables()

    def second(_step: object) -> None:
        with pytest.raises(StorageTimeout, match="Another process"):
            indexes.sync(backend, str)

    told: list[object] = []
    indexes.drop(backend, [index_on("data.plan")], lambda step: (told.append(step), second(step)))
    assert len(told) == 1
    assert acts(indexes.sync(backend, str)) == ["create"]


def test_the_settings_of_the_connection_are_as_before(postgres_url: str) -> None:
    engine = create_engine(postgres_url, connect_args={"options": "-c statement_timeout=61s"})
    event.listen(engine, "connect", limit_the_lock)
    backend = SqlBackend(engine, declare(MetaData()), owned=True, indexed=parsed(user=["data.plan"]))
    backend.create_tables()
    indexes.drop(backend, [index_on("data.plan")], str)
    indexes.sync(backend, str)
    with engine.connect() as connection:
        assert connection.scalar(text("SHOW statement_timeout")) == "61s"
        assert connection.scalar(text("SHOW lock_timeout")) == "1500ms"
        assert connection.scalar(text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")) == 0
    backend.close()


def limit_the_lock(connection: Any, _record: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '1500ms'")
    connection.commit()


ODD = ["data.plan", "data.it's a b.Deep:number", "data.a.b.c:boolean", "metadata.x-y", "data.ß", "data.$"]


@pytest.mark.filterwarnings("ignore:.*expression-based index")
def test_a_following_autogenerate_proposes_nothing(uri: str, backends: Backends) -> None:
    backend = backends(uri, user=[*ODD, "data:gin"], **{"*": ODD})
    backend.create_tables()
    assert set(standing(backend).values()) == {"ready"}
    with backend.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, backend.tables.state.metadata) == []


def test_the_check_of_the_tables_leaves_these_indexes_aside(uri: str, backends: Backends) -> None:
    plain, with_indexes = backends(uri), backends(uri, user=["data.plan", "data:gin"])
    migration.upgrade(plain)
    assert migration.check(plain) == migration.check(with_indexes) == []
    indexes.sync(with_indexes, str)
    assert migration.check(plain) == migration.check(with_indexes) == []


def test_names_are_stable_short_and_apart() -> None:
    assert name_of(IndexedField.parse("user", "data.plan")) == "ix_statemanager_field_user_data_plan_857600e6"
    fields = parsed(user=[*ODD, "data.a_b", "data.a.b", "data.A.b", f"data.{'long' * 50}", f"data.{'long' * 50}er"])
    names = [name_of(field) for field in fields]
    assert len(set(names)) == len(names)
    assert max(map(len, names)) == 63


def test_in_a_schema_of_its_own(postgres_url: str) -> None:
    engine = create_engine(postgres_url)
    with engine.begin() as connection:
        connection.execute(text('CREATE SCHEMA "My States"'))
    fields = parsed(user=["data.plan", "data:gin"])
    backend = SqlBackend(engine, declare(MetaData(schema="My States")), owned=True, indexed=fields)
    backend.create_tables()
    assert acts(indexes.drop(backend, [found.name for found in indexes.standings(backend)], str)) == ["drop", "drop"]
    assert acts(indexes.sync(backend, str)) == ["create", "create"]
    assert {found.standing for found in indexes.standings(backend)} == {"ready"}
    backend.close()


# -- configuration, commands, counters --------------------------------------------------------------------------------


def test_fields_are_read_from_the_configuration() -> None:
    given = {"user": ["data.plan", "data.plan", "metadata.a.b:number"], "*": ["data.paid:boolean", "data:gin"]}
    found = Settings.from_mapping({"STATEMANAGER_INDEXED_FIELDS": given}).indexed_fields
    assert [(each.type, each.name, each.kind) for each in found] == [
        ("user", "data.plan", "text"),
        ("user", "metadata.a.b", "number"),
        ("*", "data.paid", "boolean"),
        ("*", "data", "gin"),
    ]


UNUSABLE: dict[str, tuple[Any, str]] = {
    "no dict": (["data.plan"], "must be a dict of lists"),
    "no list": ({"user": "data.plan"}, "must be a dict of lists"),
    "no type": ({"us er": ["data.plan"]}, "the name of one, or '*'"),
    "a number for a type": ({1: ["data.plan"]}, "the name of one, or '*'"),
    "no text": ({"user": [1]}, "must be like 'data.plan'"),
    "no path": ({"user": ["data"]}, "must be like 'data.plan'"),
    "another root": ({"user": ["status"]}, "must be like 'data.plan'"),
    "an empty part": ({"user": ["data..a"]}, "must be like 'data.plan'"),
    "an unknown kind": ({"user": ["data.a:date"]}, "must be like 'data.plan'"),
    "gin of a path": ({"user": ["data.a:gin"]}, "must be like 'data.plan'"),
    "a quote": ({"user": ['data.a"b']}, "must be like 'data.plan'"),
    "a backslash": ({"user": ["data.a\\b"]}, "must be like 'data.plan'"),
    "a percent sign": ({"user": ["data.a%"]}, "must be like 'data.plan'"),
    "a lone surrogate": ({"user": ["data.\ud800"]}, "must be like 'data.plan'"),
    "a path deeper than any document": ({"user": [f"data{'.a' * (MAX_DEPTH + 1)}"]}, "a path of 101 members"),
    "a mark of SQLAlchemy's": ({"user": ["data.__[POSTCOMPILE_a]"]}, "'[POSTCOMPILE_' must not be in a member's name"),
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_an_unusable_field_is_refused_with_an_example(kind: str) -> None:
    given, sentence = UNUSABLE[kind]
    with pytest.raises(ConfigurationError, match="STATEMANAGER_INDEXED_FIELDS") as refused:
        Settings.from_mapping({"STATEMANAGER_INDEXED_FIELDS": given})
    assert sentence in str(refused.value)


def test_a_field_may_lie_as_deep_as_a_document_goes(uri: str, backends: Backends) -> None:
    backend = backends(uri, user=[f"data{'.a' * MAX_DEPTH}", f"data{'.a' * MAX_DEPTH}:number"])
    backend.create_tables()
    assert [found.standing for found in indexes.standings(backend)] == ["ready", "ready"]
    asked = parse_filters({f"data{'.a' * MAX_DEPTH}": "x", f"data{'.a' * MAX_DEPTH}__gt": 1})
    with backend.reading() as unit:
        query = Query(bucket="state", now=datetime.now(timezone.utc), type="user", filters=asked)
        assert (backend.search(unit, query), backend.unserved(query)) == ([], [])


def test_sqlite_leaves_document_indexes_to_postgresql(tmp_path: Path, backends: Backends) -> None:
    backend = backends(f"sqlite:///{tmp_path / 'states.db'}", user=["data:gin"])
    backend.create_tables()
    assert indexes.standings(backend) == []


@pytest.fixture
def run(small: World, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run a command in 80 columns on an application with the indexes of SMALL."""
    monkeypatch.setenv("COLUMNS", "80")

    def run(*words: str, code: int = 0) -> Result:
        ended = small.app.test_cli_runner().invoke(cli=state, args=["index", *words], prog_name="state")
        assert ended.exit_code == code, ended.output
        assert code or "--json" in words or max(map(len, ended.output.split("\n"))) <= 80
        return ended

    return run


def test_the_commands_list_drop_and_make(run: Callable[..., Result]) -> None:
    assert run("list").output.count("ready") == 3
    assert "Nothing to do" in run("sync").output
    assert "Nothing to do" in run("drop").output
    name = name_of(IndexedField.parse("user", "data.v"))
    assert run("drop", name, "--dry-run").output == f"Would drop {name}\n"
    assert "1 index dropped." in run("drop", name, "--yes").output
    assert "missing" in run("list").output
    assert run("sync", "--dry-run").output.startswith(f"Would create {name}\n")
    assert run("sync").output.endswith("1 index created.\n")
    assert "3 indexes dropped." in run("drop", "--all", "--yes").output
    assert "There is no index nothing" in run("drop", "nothing", code=1).output


def test_the_command_says_when_it_only_analyzes(small: World, run: Callable[..., Result]) -> None:
    small.states.register_state("u1", "user", {"v": "x"})
    nothing = "Nothing to do: all configured indexes are ready.\n"
    tried, done = run("sync", "--dry-run").output, run("sync").output
    if small.kind == "postgresql":
        assert tried == "Would analyze statemanager_state\n"
        assert done == "Analyzing statemanager_state ...\nAll configured indexes are ready.\n"
    else:
        assert tried == done == nothing
    assert run("sync").output == nothing


def test_the_commands_speak_json(run: Callable[..., Result]) -> None:
    items = json.loads(run("list", "--json").output)["items"]
    assert [(item["type"], item["field"], item["kind"], item["standing"]) for item in items] == [
        ("user", "data.v", "text", "ready"),
        ("user", "data.n", "number", "ready"),
        ("user", "data.b", "boolean", "ready"),
    ]
    steps = json.loads(run("drop", "--all", "--yes", "--json").output)["steps"]
    assert [step["act"] for step in steps] == ["drop"] * 3
    steps = json.loads(run("sync", "--json").output)["steps"]
    assert [step["act"] for step in steps if step["act"] != "analyze"] == ["create"] * 3
    assert all("CREATE INDEX" in step["statements"][0] for step in steps[:3])


def test_what_was_configured_is_told_of(small: World, run: Callable[..., Result]) -> None:
    small.runtime.backend.fields.indexes = small.runtime.backend.fields.indexes[:1]
    assert "Not configured here: 2 indexes" in run("sync").output
    assert "Another application on this database may use" in run("drop", code=1).output
    assert run("list").output.count("(not configured)") == 2
    assert "2 indexes dropped." in run("drop", "--yes").output
    assert "unused" not in run("list").output


def test_without_fields_there_is_nothing_to_list(sqlite_world: World) -> None:
    ended = sqlite_world.app.test_cli_runner().invoke(cli=state, args=["index", "list"], prog_name="state")
    assert ended.output == "No indexes: STATEMANAGER_INDEXED_FIELDS names no field.\n"


def test_in_memory_there_are_no_indexes() -> None:
    world = build("memory", "sqlite://")
    ended = world.app.test_cli_runner().invoke(cli=state, args=["index", "list"], prog_name="state")
    assert (ended.exit_code, "STATEMANAGER_BACKEND must be 'sql'" in ended.output) == (1, True)
    StateManager.reset_instance()


def unindexed(world: World) -> dict[str, int]:
    return {k: v for k, v in world.runtime.counters.snapshot().items() if k.startswith("search.unindexed")}


def test_searches_by_fields_without_an_index_are_counted(small: World) -> None:
    search = small.states.search_states
    list(search("user", {"data.v": "x", "data.n__gte": 1, "data.b": True}))
    assert unindexed(small) == {}
    list(search("user", {"data.w__startswith": "x", "data.x__contains": "x", "data.y__ne": 1, "data.z__exists": True}))
    list(search("user", {"data.w__gte": 1, "data.w__lt": 5}))
    search(None, {"data.v": "x"}).count()
    assert unindexed(small) == {
        "search.unindexed.user.data.w": 2,
        "search.unindexed.user.data.x": 1,
        "search.unindexed.user.data.y": 1,
        "search.unindexed.user.data.z": 1,
        "search.unindexed.*.data.v": 1,
    }


def test_what_no_index_of_an_indexed_field_could_serve_is_not_counted(small: World) -> None:
    search = small.states.search_states
    for asked in (None, "x" * MAX_INDEXED):
        list(search("user", {"data.v": asked}))
    for several in ([], [None], ["a", None], ["a", 1]):
        list(search("user", {"data.v__in": several}))
    list(search("user", {"data.v__ne": "x", "data.n__exists": True, "data.b__contains": True}))
    assert unindexed(small) == {}


def test_what_a_further_kind_of_index_would_serve_is_counted(small: World) -> None:
    list(small.states.search_states("user", {"data.v__in": [1, 2]}))
    list(small.states.search_states("user", {"data.n": "x"}))
    assert unindexed(small) == {"search.unindexed.user.data.v": 1, "search.unindexed.user.data.n": 1}


def test_the_counters_of_fields_are_bounded(sqlite_world: World) -> None:
    for number in range(MOST_FIELDS + 5):
        bool(sqlite_world.states.search_states("user", {f"data.f{number}": 1}))
    bool(sqlite_world.states.search_states("user", {"data.f0": 1, f"data.{'x' * 200}": 1}))
    found = unindexed(sqlite_world)
    assert len(found) == MOST_FIELDS + 1
    assert found["search.unindexed.others"] == 6
    assert found["search.unindexed.user.data.f0"] == 2
