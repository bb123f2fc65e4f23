"""JSON as the package stores it: what is refused, what is copied, what is the same."""

from __future__ import annotations

import enum
import json
import math
from collections import OrderedDict
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_statemanager.core import codec
from flask_statemanager.core.clock import iso
from flask_statemanager.core.codec import (
    MAX_DEPTH,
    MAX_NAME,
    clean,
    copied,
    decode,
    decode_numeric,
    encode,
    isolated,
    same,
    settled_text,
    text_problem,
)
from flask_statemanager.errors import LimitExceeded, StateValidationError
from flask_statemanager.testing.clock import START
from flask_statemanager.testing.contract.fidelity import VALUES
from flask_statemanager.testing.contract.store import new_record

LIMIT = 100_000


def refusal(value: Any) -> dict[str, list[str]]:
    with pytest.raises(StateValidationError) as refused:
        clean(value, "data", LIMIT)
    return refused.value.errors


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Name(str, enum.Enum):
    ANN = "ann"


class Shouting(str):
    __slots__ = ()

    def __str__(self) -> str:
        return self.upper()


class Half(float):
    __slots__ = ()


class Row(dict):  # type: ignore[type-arg]
    pass


UNUSABLE = {
    "bytes": b"x",
    "bytearray": bytearray(b"x"),
    "set": {1},
    "frozenset": frozenset(),
    "datetime": START,
    "date": date(2026, 1, 1),
    "timedelta": timedelta(1),
    "decimal": Decimal(1),
    "complex": 1j,
    "object": object(),
    "type": int,
    "function": len,
    "generator": (x for x in ()),
    "range": range(3),
    "enum": Colour.RED,
    "nan": math.nan,
    "infinity": math.inf,
    "minus_infinity": -math.inf,
    "integer_above_64_bit": 2**63,
    "integer_below_64_bit": -(2**63) - 1,
    "nul": "a\x00b",
    "high_surrogate": "a\ud800",
    "low_surrogate": "\udc00a",
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_what_is_not_storable_json_is_refused_with_its_path(name: str) -> None:
    assert list(refusal({"a": [1, {"b": UNUSABLE[name]}]})) == ["data.a.1.b"]
    assert list(refusal(UNUSABLE[name])) == ["data"]


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (b"", "bytes is not JSON"),
        (math.nan, "null or text"),
        (2**64, "store it as text"),
        ("\x00", "remove it"),
        ("\ud800", "decode it"),
    ],
)
def test_a_refusal_says_what_to_do(value: Any, hint: str) -> None:
    assert hint in refusal(value)["data"][0]


@pytest.mark.parametrize("name", [1, None, True, 1.5, (1,), b"a"])
def test_a_member_name_that_is_no_text_is_refused(name: Any) -> None:
    assert "not text" in refusal({"a": {name: 1}})["data.a"][0]


@pytest.mark.parametrize("name", ["a\x00", "\ud800"])
def test_a_member_name_that_no_database_stores_is_refused_in_printable_words(name: str) -> None:
    for value in (1, b"unusable too"):
        errors = refusal({"a": {name: value}})
        assert list(errors) == ["data.a"]
        json.dumps(errors, ensure_ascii=False).encode()


def test_a_very_long_member_name_is_refused() -> None:
    assert clean({"n" * MAX_NAME: 1}, "data", LIMIT) == {"n" * MAX_NAME: 1}
    with pytest.raises(LimitExceeded) as refused:
        clean({"n" * 1_000_000: 1}, "data", 10_000_000)
    assert (refused.value.limit, refused.value.value) == (MAX_NAME, 1_000_000)


def test_a_value_that_contains_itself_is_refused() -> None:
    loop: dict[str, Any] = {}
    loop["again"] = [loop]
    (path,) = refusal(loop)
    assert path.startswith("data.again.0.again")


def test_nesting_is_refused_behind_the_deepest_level() -> None:
    def nested(levels: int) -> Any:
        value: Any = 1
        for _ in range(levels):
            value = [value]
        return value

    assert clean(nested(MAX_DEPTH), "data", LIMIT) == nested(MAX_DEPTH)
    assert "levels deep" in next(iter(refusal(nested(MAX_DEPTH + 1)).values()))[0]


def test_shared_lists_that_unfold_without_end_are_refused_in_bounded_work() -> None:
    value: Any = ["x"]
    for _ in range(MAX_DEPTH - 2):
        value = [value, value]
    with pytest.raises(LimitExceeded) as refused:
        clean(value, "data", LIMIT)
    assert refused.value.value <= LIMIT + 10


def test_a_list_that_stands_in_many_places_is_refused_in_bounded_work(monkeypatch: pytest.MonkeyPatch) -> None:
    looked, shallow = list[int](), codec._shallow

    def counted(values: Any, level: int, room: int) -> int:
        looked.append(min(len(values), room))
        return shallow(values, level, room)

    monkeypatch.setattr(codec, "_shallow", counted)
    with pytest.raises(LimitExceeded):
        clean({"a": [["x"] * 1000] * 1000}, "data", LIMIT)
    assert sum(looked) <= 2 * LIMIT


@pytest.mark.parametrize("where", [{}, {"long": "x" * 5000}, {"escaped": '"' * 2000}])
def test_a_name_that_is_too_long_is_found_in_whatever_it_stands(where: dict[str, Any]) -> None:
    fits = {**where, "n" * MAX_NAME: {"é" * MAX_NAME: 1}}
    assert clean(fits, "data", LIMIT * 10) == fits
    for name in ("n" * (MAX_NAME + 1), "é" * (MAX_NAME + 1)):
        with pytest.raises(LimitExceeded, match="member name"):
            clean({**where, "a": {name: 1}}, "data", LIMIT * 10)


class Frozen(datetime):
    """A class of its own, as test tools that stop the time have it."""


def test_a_moment_of_a_class_of_its_own_is_written_like_any() -> None:
    moment = Frozen(2026, 1, 31, 12, tzinfo=timezone.utc)
    assert iso(moment) == iso(datetime(2026, 1, 31, 12, tzinfo=timezone.utc)) == "2026-01-31T12:00:00.000000Z"


@pytest.mark.parametrize(
    "value", ["x" * 2000, ["x"] * 1000, {str(n): n for n in range(1000)}, [{}] * 1000, [1.5] * 1000]
)
def test_a_value_beyond_the_limit_is_refused(value: Any) -> None:
    assert same(clean(value, "data", LIMIT), value)
    with pytest.raises(LimitExceeded) as refused:
        clean(value, "data", 1000)
    assert refused.value.limit == 1000


def test_subclasses_become_the_plain_types() -> None:
    value = OrderedDict(level=Level.HIGH, name=Name.ANN, text=Shouting("quiet"), half=Half(0.5), row=Row(a=(1, 2)))
    cleaned = clean(value, "data", LIMIT)
    assert cleaned == {"level": 3, "name": "ann", "text": "quiet", "half": 0.5, "row": {"a": [1, 2]}}
    assert [type(item) for item in cleaned.values()] == [int, str, str, float, dict]
    assert type(cleaned) is dict
    assert type(cleaned["row"]["a"]) is list


def test_member_names_become_plain_text() -> None:
    (name,) = clean({Name.ANN: 1}, "data", LIMIT)
    assert type(name) is str
    assert name == "ann"


def test_a_clean_value_shares_nothing_with_the_callers() -> None:
    value: dict[str, Any] = {"a": [{"b": 1}]}
    cleaned = clean(value, "data", LIMIT)
    value["a"][0]["b"] = 2
    assert cleaned == {"a": [{"b": 1}]}


@pytest.mark.parametrize(
    ("value", "kind"),
    [(1e16, int), (-1e16, int), (9.2e18, int), (-(2.0**63), int), (2.0**63, float), (1e15, float), (1e308, float)],
)
def test_a_whole_float_from_1e16_on_becomes_an_integer_where_64_bits_hold_it(value: float, kind: type) -> None:
    cleaned = clean(value, "data", LIMIT)
    assert type(cleaned) is kind
    assert cleaned == value


@pytest.mark.parametrize("name", VALUES)
def test_encoded_values_decode_to_the_same(name: str) -> None:
    value = clean(VALUES[name], "data", 1_000_000)
    text = encode(value)
    assert same(decode(text), value)
    text.encode("utf-8")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
        ("9223372036854775808", 2.0**63),
        ("10000000000000000000", 1e19),
        ("1" + "0" * 308, 1e308),
        ("0." + "0" * 323 + "5", 5e-324),
        ("12345678901234567890123.5", 12345678901234567890123.5),
        ('"1234567890123456789012345"', "1234567890123456789012345"),
        ("1234567890123456768.0", 1234567890123456768),
    ],
)
def test_digits_as_a_database_writes_them_decode_to_the_number_that_was_stored(text: str, value: Any) -> None:
    decoded = decode_numeric(text)
    assert decoded == value
    assert type(decoded) is type(value)


def test_text_is_written_unescaped_and_compact() -> None:
    assert encode({"ß": ["\U0001f600", None, True]}) == '{"ß":["\U0001f600",null,true]}'


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (1, 1.0),
        (0, -0.0),
        ({"a": 1, "b": [True]}, {"b": [True], "a": 1.0}),
        ([], []),
        ({}, {}),
        (None, None),
        ("a", "a"),
    ],
)
def test_these_are_the_same_json_value(left: Any, right: Any) -> None:
    assert same(left, right)
    assert same(right, left)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (True, 1),
        (False, 0),
        (None, False),
        (None, 0),
        ("1", 1),
        ("", None),
        ([], {}),
        ([], ""),
        ([1], [True]),
        ([1], [1, 1]),
        ([1, 2], [2, 1]),
        ({"a": 1}, {"a": True}),
        ({"a": None}, {}),
        ({"a": 1}, {"b": 1}),
        (2**53, 2**53 + 1),
        (float(2**53), 2**53 + 1),
        ("é", "e\u0301"),
        ([], None),
        ({}, False),
    ],
)
def test_these_are_different_json_values(left: Any, right: Any) -> None:
    assert not same(left, right)
    assert not same(right, left)


@pytest.mark.parametrize("text", ["", "a", "ä\U0001f600", "\x01", "\ufffe", "\U0010ffff"])
def test_unicode_text_has_no_problem(text: str) -> None:
    assert text_problem(text) is None


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=4), inner
        )
    ),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None)
@given(json_values)
def test_whatever_is_json_is_cleaned_encoded_and_decoded_to_the_same(value: Any) -> None:
    cleaned = clean(value, "data", LIMIT)
    assert same(cleaned, value)
    assert same(decode(encode(cleaned)), value)
    assert same(copied(cleaned), cleaned)


def test_a_copy_shares_no_list_and_no_dict() -> None:
    value = {"a": [{"b": []}]}
    copy = copied(value)
    copy["a"][0]["b"].append(1)
    copy["a"].append(2)
    assert value == {"a": [{"b": []}]}


def test_an_isolated_record_shares_neither_data_nor_metadata() -> None:
    record = new_record("a", {"n": [1]}, metadata={"m": [1]})
    copy = isolated(record)
    assert copy == record
    copy.data["n"].append(2)
    copy.metadata["m"].append(2)
    assert (record.data, record.metadata) == ({"n": [1]}, {"m": [1]})


@pytest.mark.parametrize("before", range(12))
def test_a_number_of_many_digits_is_found_wherever_it_stands(before: int) -> None:
    text = f'{{"{"k" * before}": %s, "b": 12}}'
    assert list(decode_numeric(text % "9999999999999999999").values()) == [1e19, 12]
    assert settled_text(text % "9999999999999999999") != text % "9999999999999999999"
    assert settled_text(text % "999999999999999999") == text % "999999999999999999"
