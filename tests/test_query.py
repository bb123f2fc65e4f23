"""Filters, orders and cursors as callers write them."""

from __future__ import annotations

import base64
import json
import math
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from flask_statemanager.core.matching import matches
from flask_statemanager.core.query import (
    OPERATORS,
    ORDERS,
    Filter,
    Lapse,
    Order,
    Query,
    cursor_after,
    parse_cursor,
    parse_filters,
    parse_order,
)
from flask_statemanager.errors import StateValidationError
from flask_statemanager.testing.clock import START
from flask_statemanager.testing.contract.store import new_record


def refusal(filters: Any) -> dict[str, list[str]]:
    with pytest.raises(StateValidationError) as refused:
        parse_filters(filters)
    return refused.value.errors


def test_no_filters_are_no_conditions() -> None:
    assert parse_filters(None) == ()
    assert parse_filters({}) == ()


@pytest.mark.parametrize(
    ("name", "value", "condition"),
    [
        ("data.status", "active", Filter("data", ("status",), "eq", "active")),
        ("metadata.a.b", None, Filter("metadata", ("a", "b"), "eq", None)),
        ("data.a__gte", 5, Filter("data", ("a",), "gte", 5)),
        ("data.a__b__eq", True, Filter("data", ("a__b",), "eq", True)),
        ("data.a__in", (1, 2), Filter("data", ("a",), "in", [1, 2])),
        ("data.a__in", {1}, Filter("data", ("a",), "in", [1])),
        ("data.a__in", frozenset(), Filter("data", ("a",), "in", [])),
        ("data.a__exists", False, Filter("data", ("a",), "exists", False)),
        ("data.a b_c", 1.5, Filter("data", ("a b_c",), "eq", 1.5)),
        ("data.eq", "x", Filter("data", ("eq",), "eq", "x")),
    ],
)
def test_a_filter_is_a_path_with_an_operator_behind(name: str, value: Any, condition: Filter) -> None:
    assert parse_filters({name: value}) == (condition,)


@pytest.mark.parametrize("operator", OPERATORS)
def test_every_operator_is_understood(operator: str) -> None:
    value: Any = {"exists": True, "in": ["x"]}.get(operator, "x")
    assert parse_filters({f"data.a__{operator}": value})[0].operator == operator


@pytest.mark.parametrize("filters", [[], "data.a", 1, [("data.a", 1)], {"data.a"}])
def test_what_is_no_mapping_is_refused_with_an_example(filters: Any) -> None:
    assert "such as" in refusal(filters)["filters"][0]


@pytest.mark.parametrize("name", [1, None, b"data.a", ("data", "a")])
def test_a_path_that_is_no_text_is_refused(name: Any) -> None:
    assert "not text" in refusal({name: 1})["filters"][0]


@pytest.mark.parametrize(
    "name",
    [
        "", "status", "type", "data", "metadata", "data.", "data..a", "data.a.", ".data.a", "Data.a", "owner.x",
        "data__eq", 'data.a"b', "data.a\\b", "data.a\nb", "data.a\x00b", "data.a\x1fb", "data.\ud800",
    ],
)  # fmt: skip
def test_an_unusable_path_is_refused_under_its_own_name(name: str) -> None:
    assert list(refusal({name: 1})) == [f"filters.{name}"]


@pytest.mark.parametrize("name", ["data.a__like", "data.a__", "data.a__GT", "data.a__b", "data.a__eq "])
def test_an_unknown_operator_is_refused_with_the_known_ones(name: str) -> None:
    (message,) = refusal({name: 1})[f"filters.{name}"]
    assert ", ".join(OPERATORS) in message
    assert "'__eq' behind" in message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((f"data.a__{operator}", value) for operator in ("gt", "gte", "lt", "lte") for value in (None, True, [1])),
        *(("data.a__startswith", value) for value in (None, 1, True, ["a"])),
        *(("data.a__exists", value) for value in (None, 1, 0, "true", [])),
        *(("data.a__in", value) for value in (None, 1, "abc", {"a": 1}, [[1]], [{}], [b""], [2**63], [math.nan])),
        *(
            (f"data.a{operator}", value)
            for operator in ("", "__ne", "__contains")
            for value in ([], {}, b"", 1j, START)
        ),
        *(("data.a", value) for value in (math.nan, math.inf, 2**63, -(2**63) - 1, "\x00", "\ud800")),
    ],
)
def test_a_value_that_the_operator_cannot_compare_is_refused(name: str, value: Any) -> None:
    assert list(refusal({name: value})) == [f"filters.{name}"]


def test_a_whole_float_is_sought_as_the_integer_it_is_stored_as() -> None:
    (condition,) = parse_filters({"data.a": 1.2345678901234567e18})
    assert type(condition.value) is int


@pytest.mark.parametrize("by", ORDERS)
def test_an_order_is_a_field_with_or_without_a_minus(by: str) -> None:
    assert parse_order(by) == Order(by)
    assert parse_order(f"-{by}") == Order(by, descending=True)


def test_the_default_order_is_creation() -> None:
    assert parse_order(None) == Order("created_at")


@pytest.mark.parametrize(
    "order", ["", "-", "--version", "+version", "name", "data.a", "version ", "VERSION", 1, True, b"version"]
)
def test_any_other_order_is_refused_with_the_known_ones(order: Any) -> None:
    with pytest.raises(StateValidationError) as refused:
        parse_order(order)
    assert ", ".join(ORDERS) in refused.value.errors["order_by"][0]


RECORD = new_record("a/b:c", version=7, revision=9, created_at=START.replace(microsecond=5))


@pytest.mark.parametrize("by", ORDERS)
@pytest.mark.parametrize("descending", [False, True])
def test_a_cursor_holds_the_position_of_its_record(by: str, descending: bool) -> None:
    order = Order(by, descending)
    cursor = cursor_after(RECORD, order)
    assert parse_cursor(cursor, order) == (order.value(RECORD), "a/b:c")
    assert cursor.replace("-", "").replace("_", "").isalnum()


def test_a_cursor_of_another_search_is_refused() -> None:
    for by in ORDERS:
        for other in (*(Order(name) for name in ORDERS if name != by), Order(by, descending=True)):
            with pytest.raises(StateValidationError, match="with the same order"):
                parse_cursor(cursor_after(RECORD, Order(by)), other)


def forged(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode("utf-8", "surrogatepass")).decode().rstrip("=")


FORGED: dict[str, tuple[Any, str]] = {
    "empty": ("", "version"),
    "no base64": ("a", "version"),
    "not ascii": ("ä", "version"),
    "no text": (None, "version"),
    "bytes": (b"abc", "version"),
    "no json": (forged("[1,"), "version"),
    "not utf-8": (base64.urlsafe_b64encode(b'["\xff"]').decode(), "version"),
    "no list": (forged("1"), "version"),
    "an object": (forged('{"version":1,"b":2,"c":3,"d":4}'), "version"),
    "too short": (forged('["version",false,1]'), "version"),
    "too long": (forged('["version",false,1,"a","b"]'), "version"),
    "text for a number": (forged('["version",false,"1","a"]'), "version"),
    "true for a number": (forged('["version",false,true,"a"]'), "version"),
    "a fraction": (forged('["version",false,1.5,"a"]'), "version"),
    "more than 64 bits": (forged(f'["version",false,{2**63},"a"]'), "version"),
    "far more than 64 bits": (forged(f'["version",false,{"9" * 10_000},"a"]'), "version"),
    "a number for a name": (forged('["version",false,1,1]'), "version"),
    "null for a name": (forged('["version",false,1,null]'), "version"),
    "NUL in the name": (forged('["version",false,1,"\\u0000"]'), "version"),
    "a lone surrogate": (forged('["version",false,1,"\\ud800"]'), "version"),
    "a number for text": (forged('["state_id",false,1,"a"]'), "state_id"),
    "a lone surrogate as position": (forged('["state_id",false,"\\ud800","a"]'), "state_id"),
    "NUL as position": (forged('["state_id",false,"\\u0000","a"]'), "state_id"),
    "no moment": (forged('["created_at",false,"yesterday","a"]'), "created_at"),
    "a number for a moment": (forged('["created_at",false,1,"a"]'), "created_at"),
    "a moment without a zone": (forged('["created_at",false,"2026-01-01T00:00:00","a"]'), "created_at"),
    "a moment before all time": (forged('["created_at",false,"0001-01-01T00:00:00+14:00","a"]'), "created_at"),
    "a moment after all time": (forged('["created_at",false,"9999-12-31T23:59:59-14:00","a"]'), "created_at"),
    "nested without end": (forged("[" * 100_000), "version"),
    "another order": (forged('[["version"],false,1,"a"]'), "version"),
}


@pytest.mark.parametrize("kind", FORGED)
def test_a_forged_cursor_is_refused(kind: str) -> None:
    cursor, by = FORGED[kind]
    with pytest.raises(StateValidationError) as refused:
        parse_cursor(cursor, Order(by))
    assert list(refused.value.errors) == ["after"]


positions = st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.datetimes().map(datetime.isoformat)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(ORDERS), positions, st.text(max_size=3) | st.integers())
def test_a_tampered_cursor_is_refused_or_a_position_that_every_backend_can_compare(
    by: str, position: Any, name: Any
) -> None:
    order = Order(by)
    try:
        value, behind = parse_cursor(forged(json.dumps([by, False, position, name])), order)
    except StateValidationError:
        return
    assert type(behind) is str
    assert type(value) is type(order.value(RECORD))
    if isinstance(value, datetime):
        assert value.utcoffset() == timedelta(0)


def query(**asked: Any) -> Query:
    return Query("contract", START, **asked)


@pytest.mark.parametrize(
    ("record", "asked", "found"),
    [
        (RECORD, {}, True),
        (replace(RECORD, deleted_at=START), {}, False),
        (RECORD, {"type": "other"}, False),
        (RECORD, {"owner": "me"}, False),
        (replace(RECORD, owner="me"), {"owner": "me"}, True),
        (replace(RECORD, expires_at=START), {"statuses": ("done",), "lapses": (Lapse("thing", "new", "done"),)}, True),
        (replace(RECORD, expires_at=START), {"statuses": ("done",), "lapses": (Lapse("other", "new", "done"),)}, False),
        (RECORD, {"statuses": ("done",), "lapses": (Lapse("thing", "new", "done"),)}, False),
    ],
)
def test_a_record_matches_by_life_type_owner_and_status(record: Any, asked: dict[str, Any], found: bool) -> None:
    assert matches(record, query(**asked)) is found


def test_a_moment_of_a_cursor_is_exact() -> None:
    order = Order("updated_at")
    moment = datetime(2026, 1, 1, 0, 0, 0, 1, tzinfo=timezone.utc)
    assert parse_cursor(cursor_after(replace(RECORD, updated_at=moment), order), order)[0] == moment
