"""A record as text: it comes back as it was, and its JSON is the state that a caller gets."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from msgspec.structs import replace

from flask_statemanager.core.codec import clean
from flask_statemanager.core.entry import Entry, decode_record, encode_record
from flask_statemanager.core.record import Record
from flask_statemanager.lifecycle.state import State
from flask_statemanager.testing.contract.fidelity import VALUES
from flask_statemanager.testing.contract.store import new_record

MOMENT = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=timezone.utc)
PLAIN = new_record("a", {"n": [1, None, "ß"]}, metadata={"m": 2**60}, version=3, revision=9)
FULL = replace(PLAIN, owner="me", expires_at=MOMENT, deleted_at=MOMENT, schema_version=7)


@pytest.mark.parametrize("record", [PLAIN, FULL], ids=["plain", "full"])
def test_an_encoded_record_decodes_to_itself(record: Record) -> None:
    assert decode_record(encode_record(record)) == record


@pytest.mark.parametrize("name", sorted(VALUES))
def test_any_value_comes_back_as_it_was(name: str) -> None:
    record = new_record("a", {"value": clean(VALUES[name], "data", 10**6)})
    assert decode_record(encode_record(record)) == record


@pytest.mark.parametrize("record", [PLAIN, FULL], ids=["plain", "full"])
def test_the_json_of_an_entry_is_the_state(record: Record) -> None:
    fields, state = Entry.of(record).fields(), State.of(record)
    assert fields == state
    assert list(fields) == list(state)


def test_an_entry_tells_what_a_state_does_not_show() -> None:
    entry = Entry.read(Entry.of(FULL).text())
    assert entry == Entry.of(FULL)
    assert (entry.version, entry.schema_version, entry.bucket) == (3, 7, PLAIN.key.bucket)
    assert entry.expires_at == MOMENT.timestamp()
    assert entry.deleted
    assert not Entry.of(PLAIN).deleted
    assert Entry.of(PLAIN).expires_at is None


def test_the_fields_of_an_entry_are_the_callers_own() -> None:
    entry = Entry.of(PLAIN)
    entry.fields()["data"]["n"].append(2)
    assert entry.fields()["data"] == PLAIN.data


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "1 1 - -",
        "1 1 - - b",
        "1 1 - - b\n",
        "1 1 - - b\nnull",
        "1 1 - - b\n[]",
        "1 1 - - b\n{}",
        "x 1 - - b\n{}",
        encode_record(PLAIN).replace("2026-01-01", "yesterday", 1),
        encode_record(PLAIN).replace('"created_at":"', '"created_at":1,"x":"', 1),
    ],
)
def test_what_is_no_encoded_record_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the parser's own error is one too
        decode_record(text)
