"""What goes in comes out: JSON, text and time survive, and nothing is shared with the caller."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from msgspec.structs import replace

from ...core.codec import clean, decode, same
from ...core.ports import Backend
from ...core.record import JSON, Key
from ..clock import START
from .store import BUCKET, Store, change_of, new_record

LIMIT = 1_000_000

VALUES: dict[str, JSON] = {
    "null": None,
    "true": True,
    "false": False,
    "zero": 0,
    "minus_one": -1,
    "largest_integer": 2**63 - 1,
    "smallest_integer": -(2**63),
    "beyond_the_doubles": 2**53 + 1,
    "a_tenth": 0.1,
    "seventeen_digits": 0.30000000000000004,
    "whole_float": 1.0,
    "minus_zero": -0.0,
    "a_third": 1 / 3,
    "largest_float": 1.7976931348623157e308,
    "huge_float": 1e308,
    "smallest_float": 5e-324,
    "smallest_normal_float": 2.2250738585072014e-308,
    "float_below_1e16": 9007199254740992.0,
    "float_of_1e16": 1e16,
    "float_of_1e18": 1.2345678901234567e18,
    "float_of_2_63": 2.0**63,
    "float_of_minus_2_63": -(2.0**63),
    "float_of_1e19": 1e19,
    "float_of_1e22": 1e22,
    "float_of_1e25": -1.5e25,
    "empty_text": "",
    "spaces": "  a\tb\r\n c  ",
    "quotes": "\"'`\\/",
    "control_characters": "\x01\x1b\x1f\x7f\x80\u2028",
    "unicode": "Grüße, 世界, \U0001f600\U0010ffff",
    "not_normalised": "e\u0301 \u00e9",
    "looks_like_numbers": "1234567890123456789012345 1e5",
    "digits_in_text": "12345678901234567890",
    "looks_like_sql": "'; DROP TABLE state; -- %s ? :name $1 {x}",
    "long_text": "x" * 100_000,
    "empty_list": [],
    "empty_object": {},
    "nested": {"a": [{"b": [[], {}, [None, True, 1, 1.5, "x"]]}], "c": {"d": {"e": {}}}},
    "odd_names": {"": 1, " ": 2, "a.b": 3, "$": 4, "$.x[0]": 5, '"': 6, "\\": 7, "ß\U0001f600": 8, "%": 9, "\n": 10},
    "same_names_in_case": {"a": 1, "A": 2},
    "deep": [[[[[[[[[[[[[[[[[[[["here"]]]]]]]]]]]]]]]]]]]],
}
"""Values that every backend gives back as the same JSON value."""


def _exactly(found: JSON, wanted: JSON) -> bool:
    """Tell whether two values are the same, whole numbers apart: a whole float may come back as an integer."""
    if isinstance(wanted, float) and not wanted.is_integer():
        return isinstance(found, float) and found == wanted
    if isinstance(wanted, int) and not isinstance(wanted, bool):
        return isinstance(found, int) and found == wanted
    return same(found, wanted)


class FidelityContract:
    """The same JSON, the same text, the same moment."""

    @pytest.mark.parametrize("name", VALUES)
    def test_a_value_comes_back_as_it_went_in(self, store: Store, name: str) -> None:
        """In data and in metadata, at the top and within a list."""
        value = clean(VALUES[name], "data", LIMIT)
        stored = store.create("a", {"v": value, "in": [value]}, metadata={"v": value})
        assert _exactly(stored.data["v"], value)
        assert _exactly(stored.data["in"][0], value)
        assert _exactly(stored.metadata["v"], value)

    def test_a_large_document_with_every_value_comes_back(self, store: Store) -> None:
        """One value does not disturb another."""
        document = clean(VALUES, "data", LIMIT)
        assert same(store.create("a", document).data, document)

    def test_what_is_not_read_is_the_same(self, backend: Backend, store: Store) -> None:
        """JSON that is only passed on says what it says when it is read."""
        document = clean(VALUES, "data", LIMIT)
        stored = store.create("a", document, metadata={"v": document}, expires_at=START)
        unread = backend.fetch_unread(stored.key)
        assert unread is not None
        assert same(decode(unread.data), document)
        assert same(decode(unread.metadata), {"v": document})
        assert (unread.version, unread.created_at, unread.updated_at) == (1, stored.created_at, stored.updated_at)
        assert (unread.expires_at, unread.deleted) == (START, False)
        store.delete("a")
        gone = backend.fetch_unread(stored.key)
        assert gone is None or gone.deleted
        assert backend.fetch_unread(Key(BUCKET, "never")) is None

    @pytest.mark.parametrize(
        "moment",
        [
            START.replace(microsecond=1),
            START.replace(microsecond=999_999),
            datetime(1970, 1, 1, tzinfo=timezone.utc),
            datetime(1, 1, 2, tzinfo=timezone.utc),
            datetime(9999, 12, 30, 23, 59, 59, 123_456, tzinfo=timezone.utc),
        ],
        ids=str,
    )
    def test_a_moment_comes_back_in_utc_to_the_microsecond(self, store: Store, moment: datetime) -> None:
        """No time zone and no digit is lost."""
        stored = store.create("a", created_at=moment, updated_at=moment, expires_at=moment)
        for found in (stored.created_at, stored.updated_at, stored.expires_at):
            assert found == moment
            assert found is not None
            assert found.utcoffset() == timedelta(0)

    @pytest.mark.parametrize("text", ["Grüße \U0001f600", "'; --", "a\tb", "%_\\", "x" * 255, "e\u0301"])
    def test_a_text_field_comes_back_as_it_went_in(self, store: Store, text: str) -> None:
        """Label and owner are text, not SQL, not patterns."""
        stored = store.create("a", label=text, owner=text)
        assert (stored.label, stored.owner) == (text, text)

    def test_the_longest_name_is_a_name(self, store: Store) -> None:
        """Names have up to 255 characters."""
        name = "n" * 255
        assert store.create(name, label=name, owner=name).key == Key(BUCKET, name)

    def test_editing_what_was_read_changes_nothing(self, store: Store) -> None:
        """A record that was handed out is the reader's own."""
        store.create("a", {"list": [{"n": 1}]}, metadata={"m": {"n": 1}})
        found = store.found("a")
        found.data["list"][0]["n"] = 2
        found.data["more"] = True
        found.metadata["m"].clear()
        assert store.found("a").data == {"list": [{"n": 1}]}
        assert store.found("a").metadata == {"m": {"n": 1}}

    def test_editing_what_was_written_changes_nothing(self, store: Store) -> None:
        """What is stored is not the writer's object."""
        data: dict[str, Any] = {"list": [{"n": 1}]}
        metadata: dict[str, Any] = {"m": {}}
        store.create("a", data, metadata=metadata)
        data["list"][0]["n"] = 2
        metadata["m"]["more"] = True
        assert store.found("a").data == {"list": [{"n": 1}]}
        assert store.found("a").metadata == {"m": {}}

    def test_editing_what_a_unit_read_does_not_survive_its_rollback(self, backend: Backend, store: Store) -> None:
        """Neither committed nor rolled back, an edited record never gets into the store."""
        before = store.create("a", {"n": [1]})
        with backend.writing() as unit:
            seen = backend.read(unit, before.key, lock=True)
            assert seen is not None
            seen.data["n"].append(2)
            backend.apply(unit, change_of(before, replace(before, status="next"), "update"))
        assert store.found("a").data == {"n": [1]}

    def test_an_absent_expiry_and_owner_stay_absent(self, store: Store) -> None:
        """None is not an empty text and not a moment."""
        store.apply(change_of(None, new_record("a", owner="me", expires_at=START), "create"))
        cleared = store.update("a", owner=None, expires_at=None)
        assert (cleared.owner, cleared.expires_at, cleared.deleted_at) == (None, None, None)
