"""State ids, words and texts: what they may look like; and ids that are made here."""

from __future__ import annotations

import enum
import threading
import uuid
from typing import Any

import pytest

from flask_statemanager.core import names
from flask_statemanager.core.names import MAX_ID, TimeOrderedIds, check_id, check_text, check_word
from flask_statemanager.errors import LimitExceeded, StateValidationError


class Kind(enum.Enum):
    USER = "user"
    NUMBER = 1


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "something else"


@pytest.mark.parametrize(
    "value",
    ["a", "0", "user_1", "a.b", "a:b", "me@example.com", "a/b/c", "a+b=c~d-e", "...", "a/..b", "-", "x" * MAX_ID],
)
def test_an_id_of_the_allowed_characters_is_taken_as_it_is(value: str) -> None:
    assert check_id(value) == value


@pytest.mark.parametrize(
    "value",
    [
        "", "/", "/a", "a/", "a//b", ".", "..", "a/./b", "a/../b", "../a", "a/..", "x" * (MAX_ID + 1), "a b",
        "a\n", "\n", "ä", "a\x00", "\ud800", "a%2Fb", "a?b", "a#b", "a\\b", "a*b", "\uff41", "\u0661", None, 1, True,
        b"a", ["a"], Kind.USER,
    ],
)  # fmt: skip
def test_any_other_id_is_refused_with_the_rule(value: Any) -> None:
    with pytest.raises(StateValidationError) as refused:
        check_id(value)
    (message,) = refused.value.errors["state_id"]
    assert "1 to 255 ASCII characters" in message
    message.encode("ascii")


def test_a_refused_id_of_a_megabyte_is_not_repeated_in_full() -> None:
    with pytest.raises(StateValidationError) as refused:
        check_id("ä" * 1_000_000)
    assert len(str(refused.value)) < 400


def test_a_subclass_of_text_becomes_plain_text() -> None:
    for checked in (check_id(Text("a")), check_word(Text("a"), "type"), check_text(Text("a"), "actor", 9)):
        assert type(checked) is str
        assert checked == "a"


@pytest.mark.parametrize("value", ["a", "User", "user_2", "user-2", "x" * 63, Kind.USER])
def test_a_word_is_a_letter_and_up_to_62_more(value: Any) -> None:
    assert check_word(value, "type") == getattr(value, "value", value)


@pytest.mark.parametrize(
    "value", ["", "1a", "_a", "-a", "a b", "a\n", "ä", "x" * 64, "a.b", None, 1, Kind.NUMBER, b"a"]
)
def test_any_other_word_is_refused_under_the_name_of_its_field(value: Any) -> None:
    with pytest.raises(StateValidationError) as refused:
        check_word(value, "transition")
    assert list(refused.value.errors) == ["transition"]


@pytest.mark.parametrize("value", ["a", " ", "Grüße \U0001f600", "x" * 9])
def test_free_text_is_taken_as_it_is(value: str) -> None:
    assert check_text(value, "actor", 9) == value


@pytest.mark.parametrize("value", ["", None, 1, b"a", "a\x00", "\ud800"])
def test_what_is_no_storable_text_is_refused_under_the_name_of_its_field(value: Any) -> None:
    with pytest.raises(StateValidationError) as refused:
        check_text(value, "actor", 9)
    assert list(refused.value.errors) == ["actor"]


def test_text_beyond_its_limit_is_refused_in_characters() -> None:
    with pytest.raises(LimitExceeded, match="characters") as refused:
        check_text("ä" * 10, "actor", 9)
    assert (refused.value.limit, refused.value.value) == (9, 10)


def test_a_made_id_is_a_uuid_of_version_7_and_a_state_id() -> None:
    made = TimeOrderedIds().new()
    parsed = uuid.UUID(made)
    assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
    assert check_id(made) == made


def test_a_made_id_begins_with_the_millisecond(monkeypatch: pytest.MonkeyPatch) -> None:
    # RFC 9562, appendix A.6: the moment 2022-02-22 19:22:22 UTC.
    monkeypatch.setattr(names.time, "time_ns", lambda: 0x017F22E279B0 * 1_000_000)
    assert TimeOrderedIds().new().startswith("017f22e2-79b0-7000-")


def test_made_ids_ascend_also_while_the_clock_stands_or_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([5_000_000_000, 5_000_000_000, 4_000_000_000, 5_000_000_000, 6_000_000_000])
    monkeypatch.setattr(names.time, "time_ns", lambda: next(moments))
    ids = TimeOrderedIds()
    made = [ids.new() for _ in range(5)]
    assert made == sorted(set(made))


def test_ids_made_by_many_threads_are_unique_and_ascend_in_each() -> None:
    ids = TimeOrderedIds()
    start = threading.Barrier(4)
    made: list[list[str]] = [[] for _ in range(4)]

    def make(mine: list[str]) -> None:
        start.wait(30)
        mine.extend(ids.new() for _ in range(500))

    threads = [threading.Thread(target=make, args=(mine,)) for mine in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert all(mine == sorted(mine) for mine in made)
    assert len({one for mine in made for one in mine}) == 2000
