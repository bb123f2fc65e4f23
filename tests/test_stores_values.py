"""What stores hold beyond JSON: written with tags and as Arrow, compressed, and read back as it was."""

from __future__ import annotations

import importlib
import sys
import zlib
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_statemanager import ConfigurationError, StateValidationError, StorageError
from flask_statemanager.stores import deflate, payload, values
from flask_statemanager.stores.payload import pack, unpack

LIMIT = 2**24
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
MEMBERS = st.sampled_from(["~", "v", 'a"~', "b"])
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(MEMBERS, inner, max_size=3),
    max_leaves=12,
)
SPECIAL = st.decimals(allow_nan=False) | st.datetimes() | st.dates() | st.times() | st.timedeltas() | st.binary()


def through(value: Any, *, compress: bool = True) -> Any:
    return unpack(pack(value, limit=LIMIT, compress=compress))


@given(st.recursive(JSON | SPECIAL, lambda inner: st.lists(inner, max_size=3), max_leaves=4))
def test_whatever_is_written_is_read_as_it_was(value: Any) -> None:
    assert through(value) == value
    assert type(through(value)) is type(value)


def test_moments_keep_their_offset() -> None:
    value = {"at": datetime(2024, 5, 1, 12, tzinfo=timezone(timedelta(hours=2))), "day": date(2024, 5, 1), "t": time(1)}
    assert through(value) == value


@pytest.mark.parametrize("compress", [True, False])
def test_frames_keep_their_types_index_and_columns(compress: bool) -> None:
    frame = pd.DataFrame(
        {
            "whole": pd.array([1, None, 3] * 500, dtype="Int64"),
            "real": np.linspace(0, 1, 1500),
            "text": ["a", None, "ü"] * 500,
            "at": pd.date_range("2024-01-01", periods=1500, freq="h", tz="Europe/Berlin"),
            "kind": pd.Categorical(["x", "y", "x"] * 500),
        },
        index=pd.Index(range(10, 1510), name="number"),
    )
    found = through({"tables": [frame, frame["real"]], "~": 1}, compress=compress)
    pd.testing.assert_frame_equal(found["tables"][0], frame)
    pd.testing.assert_series_equal(found["tables"][1], frame["real"])
    assert found["~"] == 1
    numbered = pd.DataFrame({0: [1], 1: [2]})
    pd.testing.assert_frame_equal(through(numbered), numbered)
    many = pd.DataFrame({"a": [1, 2]}, index=pd.MultiIndex.from_tuples([("x", 1), ("y", 2)], names=["k", "n"]))
    pd.testing.assert_frame_equal(through(many), many)
    unnamed = pd.Series([1.5, 2.5])
    pd.testing.assert_series_equal(through(unnamed), unnamed)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3),
        np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.array(["é", "b"]),
        np.array(["2024-01-01", "NaT"], dtype="M8[s]"),
        np.array([1 + 2j]),
        np.array([], dtype=">i2"),
        np.datetime64("2024-01-01T00:00:00"),
        np.array([True, False]),
    ],
)
def test_arrays_keep_their_type_and_shape_and_can_be_written_to(array: Any) -> None:
    found = through([array])[0]
    np.testing.assert_array_equal(found, array)
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    if found.ndim:
        found[:1] = found[:1]


def test_numbers_of_numpy_and_moments_of_pandas_are_those_of_python() -> None:
    value = [np.int8(1), np.float32(0.5), np.float64(1.5), np.bool_(True), pd.NaT, pd.NA]
    assert through(value) == [1, 0.5, 1.5, True, None, None]
    assert through(pd.Timestamp("2024-01-01T00:00:00.000001", tz="UTC")) == datetime(
        2024, 1, 1, 0, 0, 0, 1, tzinfo=timezone.utc
    )
    assert through(pd.Timedelta("1 days 00:00:02")) == timedelta(days=1, seconds=2)


def test_numbers_as_keys_stay_numbers() -> None:
    value = {1: {"~": [{None: Decimal(1), 2.5: "x", True: []}]}, "1": 3}
    assert through(value) == value
    endless: dict[int, Any] = {}
    endless[1] = endless
    with pytest.raises(StateValidationError, match="store"):
        through(endless)


@dataclass
class Point:
    x: int = 1


@pytest.mark.parametrize(
    "value",
    [
        object(),
        {1, 2},
        Point(),
        {(1, 2): 2},
        2**64,
        "\ud800",
        np.array([object()]),
        np.array([(1, 2)], dtype="i4,i4"),
        np.complex128(1),
        pd.DataFrame({"a": [1, "x"]}),
        pd.Series([1], name=(1, 2)),
        pd.Interval(1, 2),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_kept_is_refused(value: Any) -> None:
    with pytest.raises(StateValidationError, match="store"):
        through({"a": [value]})


def test_nesting_without_end_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(StateValidationError, match="store"):
        through(endless)


def test_large_values_are_compressed_and_what_does_not_shrink_is_left() -> None:
    packed = pack(["x" * 100] * 1000, limit=LIMIT, compress=True)
    assert (packed["form"], len(packed["body"]) < 1000) == ("zstd", True)
    assert pack(["x" * 100] * 1000, limit=LIMIT, compress=False)["form"] == "text"
    assert pack("x", limit=LIMIT, compress=True)["form"] == "text"
    noise = np.random.default_rng(1).bytes(3000).hex()
    assert pack(noise, limit=LIMIT, compress=True)["form"] == "zstd"
    assert pack(b"\x00", limit=LIMIT, compress=True)["form"] == "base64"


def test_without_zstandard_zlib_compresses(monkeypatch: pytest.MonkeyPatch) -> None:
    value = ["x" * 100] * 1000
    known = pack(value, limit=LIMIT, compress=True)
    monkeypatch.setitem(sys.modules, "flask_statemanager.stores.zstd", None)
    monkeypatch.setattr(payload, "_COMPRESSION", payload._best())
    packed = pack(value, limit=LIMIT, compress=True)
    assert (packed["form"], unpack(packed)) == ("zlib", value)
    with pytest.raises(ConfigurationError, match=r"\[stores\]"):
        unpack(known)


def test_without_pandas_a_frame_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = pack(pd.DataFrame({"a": [1]}), limit=LIMIT, compress=True)
    monkeypatch.setitem(sys.modules, "flask_statemanager.stores.frames", None)
    for act in (lambda: unpack(packed), lambda: pack(pd.DataFrame(), limit=LIMIT, compress=True)):
        with pytest.raises(ConfigurationError, match=r"\[frames\]"):
            act()


SPOILT = {"at": Decimal(1), "frame": pd.DataFrame({"a": [1] * 1000}), "array": np.arange(3)}


def spoil(change: Callable[[dict[str, Any]], Any]) -> Callable[[], dict[str, Any]]:
    def spoilt() -> dict[str, Any]:
        packed = pack(SPOILT, limit=LIMIT, compress=True)
        change(packed)
        return packed

    return spoilt


@pytest.mark.parametrize(
    "change",
    [
        lambda packed: packed.clear(),
        lambda packed: packed.update(form="pickle"),
        lambda packed: packed.update(body=packed["body"][:-8]),
        lambda packed: packed.update(body="ä"),
        lambda packed: packed.update(body=packed["body"] + "\n"),
        lambda packed: packed.update(body=f"{packed['body'][:8]} {packed['body'][8:]}"),
        lambda packed: packed.update(body=f"{packed['body'][:8]}-_{packed['body'][10:]}"),
        lambda packed: packed.update(size=10),
        lambda packed: packed.update(form="zlib"),
        lambda packed: packed.update(form="base64"),
        lambda packed: packed.update(parts=0),
    ],
)
def test_what_is_damaged_is_an_error_and_never_executed(change: Callable[[dict[str, Any]], Any]) -> None:
    with pytest.raises(StorageError, match=r"damaged|cut off"):
        unpack(spoil(change)())


def test_an_array_with_a_mask_is_refused_before_the_mask_is_lost() -> None:
    with pytest.raises(StateValidationError, match="mask"):
        pack({"a": np.ma.array([1, 2], mask=[0, 1])}, limit=LIMIT, compress=True)  # type: ignore[no-untyped-call]


def test_columns_that_arrow_would_rename_are_refused() -> None:
    with pytest.raises(StateValidationError, match="columns"):
        pack(pd.DataFrame({1: [1], "x": [2]}), limit=LIMIT, compress=True)


class Colour(str, Enum):
    RED = "red"


def test_members_of_an_enumeration_of_texts_are_keys() -> None:
    assert through({Colour.RED: 1, "x": {Colour.RED: Colour.RED}}) == {"red": 1, "x": {"red": "red"}}
    assert through({Colour.RED: 1, 2: [3]}) == {"red": 1, 2: [3]}


@pytest.mark.parametrize("size", [0, -1, 2**62, True, 1.0, None])
def test_nothing_is_decompressed_to_a_size_that_no_value_has(size: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """For zlib no bound is one of 0 bytes."""
    monkeypatch.setattr(deflate, "whole", None)
    body = b64encode(zlib.compress(b"x" * 100_000)).decode()
    with pytest.raises(StorageError, match="damaged") as caught:
        unpack({"form": "zlib", "size": size, "body": body})
    assert "size" in str(caught.value.__cause__)


def test_a_frame_whose_values_lie_outside_of_it_is_damaged_and_reads_no_foreign_memory() -> None:
    frame = pd.DataFrame({"a": [b"abcd"]})
    [part] = values.write(frame).parts
    ends = np.array([0, 4], dtype="<i4").tobytes()
    head, _ends, tail = part.rpartition(ends)
    assert tail.startswith(b"abcd")
    hostile = head + np.array([0, 1000], dtype="<i4").tobytes() + tail
    with pytest.raises(StorageError, match="damaged"):
        values.read(values.Written(b'{"~":"frame","v":[0,null]}', [hostile], "~"))


@pytest.mark.parametrize(
    "text",
    [
        b'{"~":"pickle","v":1}',
        b'{"~":"decimal","v":"x"}',
        b'{"~":"array","v":[0,["O",[1]]]}',
        b'{"~":"array","v":[0,["<f8",[7]]]}',
        b'{"~":"frame","v":[0,null]}',
        b'{"~":"bytes","v":9}',
        b'{"~":"bytes"}',
        b"{",
    ],
)
def test_tags_that_nobody_wrote_are_damage(text: bytes) -> None:
    with pytest.raises(StorageError, match="damaged"):
        values.read(values.Written(text, [b"12345678"], "~"))


def test_no_store_imports_what_it_does_not_need() -> None:
    assert "pickle" not in vars(values)
    assert importlib.import_module("flask_statemanager.stores.payload") is payload
