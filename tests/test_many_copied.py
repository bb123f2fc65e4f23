"""Many changes by COPY: they come to what the same changes come to one by one, whatever is in them."""

from __future__ import annotations

import logging
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

import pytest
from msgspec.structs import replace
from sqlalchemy import MetaData, create_engine

from flask_statemanager import (
    BulkInterrupted,
    StateConflict,
    StateExists,
    StateNotFound,
    StateValidationError,
    StorageError,
)
from flask_statemanager.backends.sql import appends, copying, rows
from flask_statemanager.backends.sql import many as many_module
from flask_statemanager.backends.sql.backend import SqlBackend
from flask_statemanager.backends.sql.tables import declare
from flask_statemanager.core.codec import encode
from flask_statemanager.core.ports import Backend
from flask_statemanager.testing.contract import MultiKeyContract, Store
from flask_statemanager.testing.contract.many import Many
from flask_statemanager.testing.contract.store import change_of, new_record
from tests.worlds import World

HOSTILE = [
    "\\",
    "\\\\n",
    "\\N",
    "\\.",
    "a\nb",
    "a\\\nb",
    "\n\\.\n",
    "a\tb\rc\r\n",
    "\x01\x08\x0b\x0c\x1f\x7f",
    "quote \" and ' and %s %(name)s %%",
    "ä € 𝄞 \u2028 \u202e",
    " ",
    "null",
    "{}",
    "$$ ; -- /* */",
]
"""Texts in which COPY, JSON, SQL or the driver could see something of its own."""

Ways = Callable[[int], None]


@pytest.fixture
def from_(monkeypatch: pytest.MonkeyPatch) -> Ways:
    """Set from how many changes on they are copied."""
    return lambda number: monkeypatch.setattr(many_module, "COPIED", number)


class TestCopied(MultiKeyContract):
    """The contract, every change of it by COPY."""

    @pytest.fixture
    def backend(self, postgres_url: str, from_: Ways) -> Iterator[Backend]:
        from_(1)
        backend = SqlBackend(create_engine(postgres_url), declare(MetaData()), owned=True)
        backend.create_tables()
        yield backend
        backend.close()

    @pytest.fixture
    def store(self, backend: Backend) -> Store:
        return Store(backend)


def _shown(world: World, name: str) -> list[Any]:
    """Everything on record for a state, without what tells two states apart."""
    found = [dict(entry) for entry in world.states.get_state_history(name)]
    found.append(dict(world.states.get_state(name) or {}))
    for entry in found:
        for key in ("state_id", "revision"):
            del entry[key]
    return found


@pytest.mark.parametrize("first", [1, 1000])
def test_no_text_is_taken_for_anything_else(world: World, from_: Ways, first: int) -> None:
    from_(first)
    states = world.states
    for number, text in enumerate(HOSTILE):
        data = {"data": {text: [text, {text: text}]}, "metadata": {"m": text}, "name": text}
        origin: dict[str, Any] = {"actor": text, "source": text, "reason": text}
        states.register_state(f"one{number}", "user", data, owner=text, **origin)
        made = states.register_many("user", [{"state_id": f"many{number}", "data": data, "owner": text}], **origin)
        assert made.ok
        states.update_state(f"one{number}", {text: "new"}, "suspend", **origin)
        assert states.transition_many([f"many{number}"], "suspend", {text: "new"}, **origin).ok
        assert _shown(world, f"many{number}") == _shown(world, f"one{number}")


@pytest.mark.parametrize("first", [1, 100_000])
def test_a_large_chunk_with_refusals_in_the_middle(sql_world: World, from_: Ways, first: int) -> None:
    """The others are written; those who look for a state by its revision find it."""
    from_(first)
    states = sql_world.states
    states.register_state("n01500", "user")
    items: list[Any] = [{"state_id": f"n{i:05}", "data": {"n": i}, "ttl": 60} for i in range(3000)]
    items[700]["ttl"] = -1
    made = states.register_many("user", items, chunk=3000)
    assert [(each.index, type(each.error)) for each in made.refused] == [
        (700, StateValidationError),
        (1500, StateExists),
    ]
    names = [item["state_id"] for item in items]
    moved = states.transition_many(names, "suspend", {"m": 1}, chunk=3000)
    assert [(each.index, type(each.error)) for each in moved.refused] == [(700, StateNotFound)]
    assert (made.done, moved.done) == (2998, 2999)
    found = list(states.search_states("user", status="suspended", order_by="state_id"))
    assert [state.state_id for state in found] == [name for name in names if name != "n00700"]
    assert found[2998].data == {"n": 2999, "m": 1}
    revisions = [state.revision for state in found]
    assert revisions == list(range(revisions[0], revisions[0] + 2999))
    assert [entry.revision for entry in states.get_recent_changes(limit=2)] == revisions[:-3:-1]


@pytest.mark.parametrize("first", [1, 1000])
def test_the_tables_may_lie_in_a_schema_whose_name_has_to_be_quoted(postgres_url: str, from_: Ways, first: int) -> None:
    from_(first)
    engine = create_engine(postgres_url)
    with engine.begin() as connection:
        connection.exec_driver_sql('CREATE SCHEMA "our ""own"" S"')
    backend = SqlBackend(engine, declare(MetaData(schema='our "own" S')), owned=True)
    backend.create_tables()
    many = Many(backend)
    many.apply(*(change_of(None, new_record(name), "create") for name in "ab"))
    many.apply(many.next("a", data={"n": 2}), many.next("b", status="parked"))
    assert many.versions("a", "b") == {"a": 2, "b": 2}
    assert [change.event for change in many.log("a")] == ["create", "update"]
    backend.close()


def test_every_field_of_a_record_survives(sql_world: World, from_: Ways) -> None:
    many = Many(sql_world.runtime.backend)
    latest = datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=timezone.utc)
    abroad = datetime(2026, 1, 1, 3, 0, 0, 1, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    fields: dict[str, Any] = {
        "label": "a label",
        "owner": "me",
        "schema_version": 7,
        "metadata": {"m": [1.5, None, True, -(2**63), 2**63 - 1, 1e308]},
        "expires_at": latest,
    }
    for first, prefix in ((1, "copied"), (1000, "sent")):
        from_(first)
        created = [change_of(None, new_record(f"{prefix}{i}", created_at=abroad, **fields), "create") for i in range(2)]
        many.apply(*created)
        gone = many.next(f"{prefix}0", deleted_at=abroad, label="", owner=None)
        many.apply(gone)
        for name, change in ((f"{prefix}1", created[1]), (f"{prefix}0", gone)):
            (stored,) = many.read(name).values()
            assert stored == replace(change.after, revision=stored.revision)
            assert many.log(name)[-1].after == stored


@pytest.mark.parametrize("first", [1, 1000])
def test_a_lost_race_names_the_record_and_leaves_nothing(postgres_world: World, from_: Ways, first: int) -> None:
    """In the application's own transaction too, which goes on."""
    from_(first)
    world, session = postgres_world, postgres_world.db.session
    many = Many(world.runtime.backend)
    many.store.fill({"b": {}})
    changes = [change_of(None, new_record(name), "create") for name in "abc"]
    backend = world.runtime.backend
    session.add(world.note(text="mine"))
    unit = backend.joined(session, write=True)
    with pytest.raises(StateConflict) as raised, unit.savepoint():
        backend.apply_many(unit, changes)
    assert (str(raised.value.key), raised.value.actual) == ("contract:b", 1)
    session.commit()
    assert many.versions("a", "b", "c") == {"b": 1}
    assert [many.log(name) for name in "ac"] == [[], []]
    assert session.query(world.note).count() == 1


@pytest.mark.parametrize("first", [1, 1000])
@pytest.mark.parametrize(
    "rule",
    [
        "ALTER TABLE statemanager_state ADD CONSTRAINT ours CHECK (name <> 'b')",
        "CREATE UNIQUE INDEX ours ON statemanager_state ((data->>'email'))",
        "CREATE UNIQUE INDEX ours ON statemanager_history ((data->>'email'))",
    ],
)
def test_what_the_database_refuses_for_another_reason_is_no_race(
    postgres_world: World, from_: Ways, first: int, rule: str
) -> None:
    """An index of the application's own, for example; a single registration is refused in the same words."""
    from_(first)
    states = postgres_world.states
    with postgres_world.db.engine.begin() as connection:
        connection.exec_driver_sql(rule)
    states.register_state("there", "user", {"email": "b"})
    with pytest.raises(StorageError) as alone:
        states.register_state("b", "user", {"email": "b"})
    with pytest.raises(BulkInterrupted) as raised:
        states.register_many("user", [{"state_id": name, "data": {"email": name}} for name in "abc"])
    assert isinstance(raised.value.__cause__, StorageError)
    for error in (alone.value, raised.value.__cause__):
        assert '"ours"' in str(error)
        assert "refused a statement" in str(error)
    assert states.search_states().count() == 1


@pytest.fixture
def guarded_url(postgres_url: str) -> Iterator[str]:
    """A database in which the tables have row-level security, and a user whom it concerns."""
    owner, name = create_engine(postgres_url), f"guest_{uuid4().hex}"
    backend = SqlBackend(owner, declare(MetaData()), owned=True)
    backend.create_tables()
    with owner.begin() as connection:
        for statement in (
            f"CREATE ROLE {name}",
            f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {name}",
            f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {name}",
            "ALTER TABLE statemanager_history ENABLE ROW LEVEL SECURITY",
            "CREATE POLICY all_of_it ON statemanager_history USING (true)",
        ):
            connection.exec_driver_sql(statement)
    yield f"{postgres_url}?options=-c%20role%3D{name}"
    with owner.begin() as connection:
        connection.exec_driver_sql(f"DROP OWNED BY {name}")
        connection.exec_driver_sql(f"DROP ROLE {name}")
    backend.close()


def test_where_row_level_security_refuses_copy_rows_are_inserted_from_then_on(
    guarded_url: str, from_: Ways, caplog: pytest.LogCaptureFixture
) -> None:
    from_(1)
    backend = SqlBackend(create_engine(guarded_url), declare(MetaData()), owned=True)
    many = Many(backend)
    with caplog.at_level(logging.DEBUG, "flask_statemanager.sql"):
        for names in ("abc", "def"):
            many.apply(*(change_of(None, new_record(name), "create") for name in names))
        many.apply(many.next("a", data={"n": 2}), many.next("b", status="parked"))
    assert many.versions(*"abcdef") == {"a": 2, "b": 2, "c": 1, "d": 1, "e": 1, "f": 1}
    assert [change.event for change in many.log("a")] == ["create", "update"]
    # The states went in, and were taken back with the log.
    copied = [line.getMessage().split(" (")[0] for line in caplog.records if line.getMessage().startswith("COPY")]
    assert copied == ["COPY statemanager_state", "COPY statemanager_history"]
    backend.close()


@pytest.fixture(params=[1, 1000])
def portioned(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, from_: Ways) -> Ways:
    """Set how many characters are written at once, by whichever statement."""
    from_(request.param)

    def set_(number: int) -> None:
        for module in (appends, copying, rows):
            monkeypatch.setattr(module, "MAX_TEXT", number)

    return set_


def test_a_chunk_of_large_documents_is_not_written_out_as_a_whole(sql_world: World, portioned: Ways) -> None:
    portioned(2**20)
    many = Many(sql_world.runtime.backend)
    many.store.fill({"warm": {}})
    document = {"text": "x" * 2**18}
    changes = [change_of(None, new_record(f"large{i}", data=document), "create") for i in range(64)]
    tracemalloc.start()
    try:
        many.apply(*changes)
        _present, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * 2**20, "the whole is 16 MiB"
    assert len(many.read(*(change.key.name for change in changes))) == 64


def test_portions_of_a_chunk_come_to_what_the_chunk_comes_to(sql_world: World, portioned: Ways) -> None:
    portioned(1)
    many = Many(sql_world.runtime.backend)
    many.store.fill({"b": {}, "d": {}})
    first = many.store.found("d").revision
    changes = [
        change_of(None, new_record("a"), "create"),
        many.next("b", data={"n": 2}),
        change_of(None, new_record("c"), "create"),
        many.next("d", status="parked"),
    ]
    assert many.apply(*changes) == [first + 1, first + 2, first + 3, first + 4]
    for name, change in zip("abcd", changes, strict=True):
        (stored,) = many.read(name).values()
        assert stored == replace(change.after, revision=stored.revision)
        assert many.log(name)[-1].after == stored
    again = [many.next("a", data={"n": 3}), change_of(None, new_record("b"), "create")]
    with pytest.raises(StateConflict) as raised:
        many.apply(*again)
    assert (str(raised.value.key), raised.value.actual) == ("contract:b", 2)
    assert many.versions(*"abcd") == {"a": 1, "b": 2, "c": 1, "d": 2}


@pytest.mark.parametrize("number", [40, 2000])
def test_a_chunk_takes_the_same_statements_however_many_states_it_has(
    sql_world: World, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    states, postgres = sql_world.states, sql_world.kind == "postgresql"
    names = [f"u{i}" for i in range(number)]

    def count(call: Callable[[], Any]) -> int:
        caplog.clear()
        with caplog.at_level(logging.DEBUG, "flask_statemanager.sql"):
            assert call().done == number
        return len([record for record in caplog.records if record.name == "flask_statemanager.sql"])

    # PostgreSQL: the reading, a savepoint and its end, the revisions, twice COPY; or COPY and what follows it.
    assert count(lambda: states.register_many("user", [{"state_id": n} for n in names])) == (6 if postgres else 4)
    assert count(lambda: states.transition_many(names, "suspend", {"n": 1})) == (6 if postgres else 4)


def test_what_nobody_wants_to_hear_of_is_counted_by_its_events(world: World) -> None:
    states, value = world.states, world.runtime.counters.value
    states.register_many("user", [{"state_id": f"u{i}", "ttl": 60 if i else None} for i in range(3)])
    world.clock.advance(60)
    assert states.transition_many([f"u{i}" for i in range(3)], "update", {"n": 1}).done == 3
    assert (value("change.create"), value("change.expire"), value("change.update")) == (3, 2, 3)


def test_no_statistics_of_the_planner_make_it_look_at_other_changes(postgres_world: World) -> None:
    """Which a fresh table has not; what is read by name or revision is looked up one by one."""
    backend, states = postgres_world.runtime.backend, postgres_world.states
    names = [f"u{i}" for i in range(3000)]
    states.register_many("user", [{"state_id": name} for name in names])
    states.transition_many(names, "suspend")
    with backend.writing() as unit:
        for statement, values, index in (
            (backend._drawn, {"k_revisions": list(range(3001, 4001))}, "statemanager_history_pkey"),
            (backend._reads[False], {"k_names": names[:1000]}, ""),
        ):
            rows = unit.run(statement.behind("EXPLAIN"), {"k_bucket": "state", **values}, planned=False)
            plan = "\n".join(row[0] for row in rows)
            assert f"Index Scan using {index}" in plan, plan
            assert "Seq Scan on statemanager" not in plan, plan
            assert "Bitmap" not in plan, plan


def test_sqlite_finds_what_was_moved_by_its_revision(sqlite_world: World) -> None:
    """And does not walk through the whole log, which it would have an index for."""
    backend, states = sqlite_world.runtime.backend, sqlite_world.states
    names = [f"u{i}" for i in range(300)]
    states.register_many("user", [{"state_id": name} for name in names])
    states.transition_many(names, "suspend")
    with backend.reading() as unit:
        values = {"k_bucket": "state", "k_revisions": encode(list(range(301, 601)))}
        plan = [row[3] for row in unit.run(backend._drawn.behind("EXPLAIN QUERY PLAN"), values)]
        changes = backend.changes_of(unit, "state", list(range(301, 601)))
        assert backend.changes_of(unit, "else", [301]) == []
    assert plan[0] == "SEARCH statemanager_history USING INTEGER PRIMARY KEY (rowid=?)", plan
    assert "(bucket=? AND name=? AND version=?)" in plan[-1], plan
    assert [(change.revision, change.before and change.before.version) for change in changes] == [
        (revision, 1) for revision in range(301, 601)
    ]
