"""What cannot be stored or asked is refused by an error that names it, and leaves nothing behind."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import redis

from flask_statemanager import (
    ConfigurationError,
    LimitExceeded,
    Revision,
    StateManagerError,
    StateNotFound,
    StateValidationError,
    StorageError,
    StorageTimeout,
    StorageUnavailable,
)
from flask_statemanager.kv import KEEP, If, Put, Remove
from flask_statemanager.kv.store import KeyValueStore
from tests.processes.child import until
from tests.servers.postgres_server import PostgresServer
from tests.servers.proxy import TcpProxy
from tests.servers.redis_server import RedisServer
from tests.worlds import World, build, entered, kept_by

Ask = Callable[[KeyValueStore], Any]


@pytest.fixture
def kv(kv_world: World) -> KeyValueStore:
    """Keys and values of which one is there."""
    kv_world.states.kv.set("here", 1, metadata={"note": "kept"})
    return kv_world.states.kv


@contextmanager
def nothing_written(kv: KeyValueStore) -> Iterator[None]:
    """See that the block changes nothing, and writes nothing down."""
    before, position = entries(kv), kv.watch(timeout=0).cursor
    yield
    assert entries(kv) == before
    assert list(kv.watch(since=position, timeout=0)) == []


def entries(kv: KeyValueStore) -> list[Any]:
    """Return everything that is stored."""
    return [kv.get_entry(key) for key in kv.keys("")]


def refusal(kv: KeyValueStore, ask: Ask, kind: type[StateManagerError] = StateValidationError) -> str:
    """Return the sentence with which something is refused, and see that it is short and changes nothing."""
    with nothing_written(kv), pytest.raises(kind) as caught:
        ask(kv)
    assert type(caught.value) is kind
    told = str(caught.value)
    assert len(told) < 400
    assert told.isprintable()
    return told


# -- keys --------------------------------------------------------------------------------------------------------------

KEYS: dict[str, Any] = {
    "empty": "",
    "too long": "k" * 256,
    "far too long": "k" * 1_000_000,
    "a space": "a key",
    "a line break": "key\n",
    "a NUL": "key\x00",
    "a letter that is not ASCII": "schlüssel",
    "a digit that is not ASCII": "key\u0663",
    "a look-alike": "\uff41dmin",
    "a lone surrogate": "key\ud800",
    "an emoji": "🔑",
    "a quotation mark": "key'--",
    "a glob": "key*",
    "braces": "{key}",
    "a per cent sign": "key%",
    "a backslash": "a\\b",
    "a leading slash": "/key",
    "a trailing slash": "key/",
    "an empty segment": "a//b",
    "a parent": "a/../b",
    "a dot": ".",
    "a number": 5,
    "bytes": b"key",
    "None": None,
    "a list": ["key"],
    "KEEP": KEEP,
}

ON_A_KEY: dict[str, Callable[[KeyValueStore, Any], Any]] = {
    "get": lambda kv, key: kv.get(key),
    "get_entry": lambda kv, key: kv.get_entry(key),
    "get_metadata": lambda kv, key: kv.get_metadata(key),
    "exists": lambda kv, key: kv.exists(key),
    "get_many": lambda kv, key: kv.get_many(["here", key]),
    "set": lambda kv, key: kv.set(key, 2),
    "create": lambda kv, key: kv.create(key, 2),
    "set_metadata": lambda kv, key: kv.set_metadata(key, {}),
    "remove": lambda kv, key: kv.remove(key),
    "compare_and_swap": lambda kv, key: kv.compare_and_swap(key, None, 2),
    "compare_and_swap to nothing": lambda kv, key: kv.compare_and_swap(key, 1, None),
    "increment": lambda kv, key: kv.increment(key),
    "update": lambda kv, key: kv.update(key, lambda _value: 2),
    "put": lambda kv, key: kv.apply([], [Put("here", 2), Put(key, 2)]),
    "drop": lambda kv, key: kv.apply([], [Put("here", 2), Remove(key)]),
    "condition": lambda kv, key: kv.apply([If.absent(key)], [Put("here", 2)]),
    "lease": lambda kv, key: kv.lease(key, 5),
    "counter": lambda kv, key: kv.counter(key, limit=1, window=5),
    "document": lambda kv, key: kv.document(key),
}


def test_an_impossible_key_is_refused(kv: KeyValueStore) -> None:
    for name, key in KEYS.items():
        told = refusal(kv, lambda kv, key=key: kv.set(key, 2))  # type: ignore[misc]
        assert "is not a key" in told, name
        assert "1 to 255 ASCII characters" in told, name


def test_every_verb_refuses_an_impossible_key(kv: KeyValueStore) -> None:
    for name, verb in ON_A_KEY.items():
        for key in ("a key", 5):
            told = refusal(kv, lambda kv, verb=verb, key=key: verb(kv, key))  # type: ignore[misc]
            assert told.startswith("key: "), name


def test_an_allowed_key_is_taken_by_every_verb(kv: KeyValueStore) -> None:
    for key in ("k" * 255, "a", "..a", "a/b/c", "A-Z_0.9:@/+=~-", "-rf", "0"):
        assert kv.create(key, 1).key == key
        assert kv.increment(key) == 2
        assert kv.get_many([key]) == {key: 2}
        assert kv.keys(key) == [key]
        assert kv.apply([If.value(key, 2)], [Remove(key)]) == {key: None}
        assert kv.keys() == ["here"]


# -- values ------------------------------------------------------------------------------------------------------------


def nested(levels: int) -> Any:
    """Return a list in a list, so many levels deep."""
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


def cycle() -> Any:
    """Return a list that contains itself."""
    value: list[Any] = []
    value.append(value)
    return value


VALUES: dict[str, tuple[Any, str]] = {
    "NaN": (float("nan"), "NaN and infinity are not JSON"),
    "infinity": (float("-inf"), "NaN and infinity are not JSON"),
    "NaN within": ({"a": [1, {"b": float("nan")}]}, "a.1.b: NaN"),
    "more than 64 bits": (2**64, "more than 64 bits"),
    "one more than 64 bits hold": (2**63, "more than 64 bits"),
    "less than 64 bits": ({"a": -(2**63) - 1}, "more than 64 bits"),
    "thousands of digits": (10**5000, "more than 64 bits"),
    "too deep": (nested(101), "more than 100 levels"),
    "far too deep": (nested(100_000), "more than 100 levels"),
    "a cycle": (cycle(), "containing itself"),
    "a lone surrogate": ("\ud800", "lone surrogate"),
    "a lone surrogate within": ({"a": ["x\udfff"]}, "lone surrogate"),
    "a lone surrogate as a name": ({"\ud800": 1}, "lone surrogate"),
    "a NUL": ("a\x00b", "NUL"),
    "a NUL in a name": ({"a\x00b": 1}, "NUL"),
    "bytes": (b"x", "bytes is not JSON"),
    "a set": ({1}, "set is not JSON"),
    "a datetime": ([datetime(2026, 1, 1)], "datetime is not JSON"),  # noqa: DTZ001
    "an object": ({"a": object()}, "object is not JSON"),
    "a class": (int, "type is not JSON"),
    "a number as a name": ({1: 2}, "member name 1 is not text"),
    "KEEP": ([KEEP], "Keep is not JSON"),
}

WITH_A_VALUE: dict[str, Callable[[KeyValueStore, Any], Any]] = {
    "set": lambda kv, value: kv.set("here", value),
    "create": lambda kv, value: kv.create("new", value),
    "set_many": lambda kv, value: kv.set_many({"new": 2, "here": value}),
    "swap to": lambda kv, value: kv.compare_and_swap("here", 1, value),
    "swap from": lambda kv, value: kv.compare_and_swap("here", value, 2),
    "update": lambda kv, value: kv.update("here", lambda _present: value),
    "default": lambda kv, value: kv.update("new", lambda present: present, default=value),
    "put": lambda kv, value: kv.apply([], [Put("new", 2), Put("here", value)]),
    "condition": lambda kv, value: kv.apply([If.value("here", value)], [Put("here", 2)]),
    "metadata": lambda kv, value: kv.set("here", 2, metadata={"m": value}),
    "set_metadata": lambda kv, value: kv.set_metadata("here", {"m": value}),
    "document": lambda kv, value: kv.document("new").update({"m": value}),
    "lease": lambda kv, value: kv.lease("new", 5, holder=value).acquire(),
}


def test_what_is_no_json_is_refused_and_named(kv: KeyValueStore) -> None:
    for name, (value, why) in VALUES.items():
        assert why in refusal(kv, lambda kv, value=value: kv.set("here", value)), name  # type: ignore[misc]


def test_every_verb_refuses_what_is_no_json(kv: KeyValueStore) -> None:
    for verb in WITH_A_VALUE.values():
        for value in (float("nan"), "\ud800", {"a": {1}}):
            refusal(kv, lambda kv, verb=verb, value=value: verb(kv, value))  # type: ignore[misc]


def test_what_is_just_allowed_comes_back_as_it_was(kv: KeyValueStore) -> None:
    for value in (nested(100), 2**63 - 1, -(2**63), {"k" * 1024: 1}, "\U0010ffff", None, [], {}):
        kv.set("here", value)
        assert kv.get("here", "nothing") == value


def test_what_stands_in_a_value_many_times_is_counted_each_time(kv: KeyValueStore) -> None:
    """Ninety lists that each hold the next one twice: little memory, and more members than there are atoms."""
    value: list[Any] = []
    for _ in range(90):
        value = [value, value]
    assert "too large" in refusal(kv, lambda kv: kv.set("here", value), LimitExceeded)


LARGE: dict[str, Ask] = {
    "text": lambda kv: kv.set("here", "x" * 2**20),
    "text that is not ASCII": lambda kv: kv.set("here", "é" * 2**19),
    "text that JSON escapes": lambda kv: kv.set("here", "\n" * 2**19),
    "a list": lambda kv: kv.set("here", [1] * 2**20),
    "metadata": lambda kv: kv.set("here", 2, metadata={"m": "x" * 2**20}),
    "metadata that are not ASCII": lambda kv: kv.set_metadata("here", {"m": "é" * 2**19}),
    "both": lambda kv: kv.set("here", "x" * 2**19, metadata={"m": "x" * 2**19}),
    "one of many": lambda kv: kv.set_many({"new": 1, "here": "x" * 2**20}),
    "a sum of changes": lambda kv: kv.update("here", lambda _value: ["é" * 2**10] * 2**10),
    "what is expected": lambda kv: kv.compare_and_swap("here", "x" * 2**20, 2),
}


def test_what_is_too_large_is_refused_with_its_size_and_the_limit(kv: KeyValueStore) -> None:
    for name, ask in LARGE.items():
        told = refusal(kv, ask, LimitExceeded)
        assert "too large" in told, name
        assert "bytes, at most 1,048,576 are allowed" in told, name
        with pytest.raises(LimitExceeded) as caught:
            ask(kv)
        assert caught.value.value > caught.value.limit == 2**20, name


def test_a_bucket_has_a_limit_of_its_own_which_is_met_to_the_byte(kv_world: World) -> None:
    kv_world.states.define_bucket("small", max_value_bytes=100)
    kv = kv_world.states.bucket("small").kv
    for value in ("é" * 48, "x" * 96):  # two quotation marks, and the two bytes of no metadata
        kv.set("k", value)
        with pytest.raises(LimitExceeded) as caught:
            kv.set("k", value + "x")
        assert caught.value.limit == 100
        assert caught.value.value >= 101
        assert kv.get("k") == value
    with pytest.raises(LimitExceeded, match="value of the key k is too large: 104 bytes, at most 100"):
        kv.set("k", "é" * 50)


def test_a_value_is_measured_before_it_is_compressed(kv: KeyValueStore) -> None:
    refusal(kv, lambda kv: kv.set("here", "a" * (2**20 + 1)), LimitExceeded)
    kv.set("here", "a" * (2**20 - 4), metadata=None)
    assert kv.get("here") == "a" * (2**20 - 4)


# -- metadata, times to live -------------------------------------------------------------------------------------------

METADATA: list[Any] = [[], "text", 5, True, [("a", 1)], {1}, b"x", object()]
TTL: list[Any] = [0, -1, 0.0009, float("nan"), float("inf"), 10**9, 10**30, True, "5", b"5", [5], timedelta(0)]
NOTED_TTL: list[Any] = [
    0,
    -1,
    "",
    "soon",
    "-5",
    "+5",
    "1e3",
    " 5",
    "5\n",
    "\u0665",
    "0x10",
    "9" * 50,
    10**18,
    True,
    [5],
    {},
]


WITH_METADATA: tuple[Callable[[KeyValueStore, Any], Any], ...] = (
    lambda kv, metadata: kv.set("here", 2, metadata=metadata),
    lambda kv, metadata: kv.create("new", 2, metadata=metadata),
    lambda kv, metadata: kv.set_metadata("here", metadata),
    lambda kv, metadata: kv.apply([], [Put("new", 2, metadata)]),
)
WITH_TTL: tuple[Callable[[KeyValueStore, Any], Any], ...] = (
    lambda kv, ttl: kv.set("here", 2, ttl=ttl),
    lambda kv, ttl: kv.create("new", 2, ttl=ttl),
    lambda kv, ttl: kv.set_many({"new": 2}, ttl=ttl),
    lambda kv, ttl: kv.compare_and_swap("here", 1, 2, ttl=ttl),
    lambda kv, ttl: kv.compare_and_swap("here", 1, None, ttl=ttl),
    lambda kv, ttl: kv.increment("here", ttl=ttl),
    lambda kv, ttl: kv.update("here", lambda _value: 2, ttl=ttl),
    lambda kv, ttl: kv.update("here", lambda _value: 2, begun_ttl=ttl),
    lambda kv, ttl: kv.apply([], [Put("here", 2, ttl=ttl)]),
    lambda kv, ttl: kv.lease("new", ttl),
    lambda kv, ttl: kv.counter("new", limit=1, window=ttl),
)


def test_metadata_that_are_no_object_are_refused(kv: KeyValueStore) -> None:
    for verb, metadata in product(WITH_METADATA, METADATA):
        told = refusal(kv, lambda kv, verb=verb, metadata=metadata: verb(kv, metadata))  # type: ignore[misc]
        assert told.startswith("metadata: Must be a dict")


def test_a_time_to_live_that_is_none_is_refused(kv: KeyValueStore) -> None:
    for verb, ttl in product(WITH_TTL, TTL):
        told = refusal(kv, lambda kv, verb=verb, ttl=ttl: verb(kv, ttl))  # type: ignore[misc]
        assert "is no time to live: pass seconds from 0.001 to ten years" in told


def test_a_noted_time_to_live_that_is_none_is_refused_also_where_another_one_counts(kv: KeyValueStore) -> None:
    for ttl in NOTED_TTL:
        for ask in (
            lambda kv, ttl=ttl: kv.set_metadata("here", {"ttl": ttl}),
            lambda kv, ttl=ttl: kv.set("here", 2, metadata={"ttl": ttl}),
            lambda kv, ttl=ttl: kv.set("here", 2, metadata={"ttl": ttl}, ttl=5),
        ):
            assert refusal(kv, ask).startswith("metadata.ttl: "), ttl


def test_metadata_need_a_key_that_is_there(kv: KeyValueStore) -> None:
    assert "There is no key 'new'" in refusal(kv, lambda kv: kv.set_metadata("new", {}), StateNotFound)


def test_nothing_expires_behind_the_end_of_the_calendar(kv_world: World) -> None:
    """On Redis the server's clock counts, which is far from there."""
    if kv_world.kind != "redis":
        kv_world.clock.set(datetime.fromisoformat("9999-12-30T00:00:00+00:00"))
        assert "the year 9999" in refusal(kv_world.states.kv, lambda kv: kv.set("k", 1, ttl=10 * 86400))
    assert kv_world.states.kv.get("k") is None


# -- what else is asked ------------------------------------------------------------------------------------------------

ASKED: dict[str, tuple[Ask, str]] = {
    "a prefix that is no text": (lambda kv: kv.keys(5), "prefix: 5 is no beginning"),
    "no prefix": (lambda kv: kv.count(None), "prefix: None is no beginning"),
    "a prefix beyond ASCII": (lambda kv: kv.keys("ä"), "prefix: '\\xe4' is no beginning"),
    "a prefix with a line break": (lambda kv: kv.keys("a\n"), "prefix: 'a\\n' is no beginning"),
    "a prefix that is too long": (lambda kv: kv.count("k" * 256), "prefix: "),
    "an empty prefix to remove": (lambda kv: kv.remove_prefix(""), "would remove everything"),
    "a bad prefix to remove": (lambda kv: kv.remove_prefix(b"h"), "prefix: b'h' is no beginning"),
    "a prefix to watch": (lambda kv: kv.watch(5), "prefix: 5 is no beginning"),
    "a prefix to subscribe to": (lambda kv: kv.subscribe(print, 5), "prefix: 5 is no beginning"),
    "no function to subscribe": (lambda kv: kv.subscribe("x"), "told: Must be a function, not 'x'"),
    "a key to go on behind": (lambda kv: kv.keys(after=5), "after: 5 is no beginning"),
    "no limit": (lambda kv: kv.keys(limit=0), "limit: Must be a number from 1 to 10,000, not 0"),
    "a limit that is too high": (lambda kv: kv.keys(limit=10_001), "limit: Must be a number from 1 to 10,000"),
    "a limit that is true": (lambda kv: kv.keys(limit=True), "limit: Must be a number"),
    "a limit that is text": (lambda kv: kv.keys(limit="5"), "limit: Must be a number"),
    "a text for many keys": (lambda kv: kv.get_many("here"), "keys: Must be a list, not 'here'"),
    "no list of keys": (lambda kv: kv.get_many(None), "keys: Must be a list, not None"),
    "a list for values by key": (lambda kv: kv.set_many([("new", 1)]), "values: Must be a dict"),
    "one condition": (lambda kv: kv.apply(If.absent("new"), [Put("new", 1)]), "conditions: Must be a list"),
    "no conditions": (lambda kv: kv.apply(None, [Put("new", 1)]), "conditions: Must be a list"),
    "a key as a condition": (lambda kv: kv.apply(["here"], [Put("new", 1)]), "make one as If.absent(key)"),
    "a condition of no kind": (lambda kv: kv.apply([If("here", "odd")], [Put("new", 1)]), "is no condition"),
    "a version that is true": (lambda kv: kv.apply([If.version("here", True)], [Put("new", 1)]), "version: True"),
    "a version that is text": (lambda kv: kv.apply([If.version("here", "1")], [Put("new", 1)]), "version: '1'"),
    "a version that is None": (lambda kv: kv.apply([If.version("here", None)], [Put("new", 1)]), "If.absent()"),
    "one write": (lambda kv: kv.apply([], Put("new", 1)), "writes: Must be a list"),
    "a pair as a write": (lambda kv: kv.apply([], [Put("here", 2), ("new", 1)]), "pass Put(key, value)"),
    "a condition as a write": (lambda kv: kv.apply([], [If.absent("new")]), "is no write"),
    "a key written twice": (lambda kv: kv.apply([], [Put("new", 1), Remove("new")]), "new is written twice"),
    "what is no function": (lambda kv: kv.update("here", 5), "change: Must be a function of the value, not 5"),
    "a text to add": (lambda kv: kv.increment("here", "1"), "by: Must be a number, not '1'"),
    "true to add": (lambda kv: kv.increment("here", True), "by: Must be a number, not True"),
    "NaN to add": (lambda kv: kv.increment("here", float("nan")), "by: NaN"),
    "too much to add": (lambda kv: kv.increment("here", 2**64), "by: The integer has more than 64 bits"),
    "a sum that is too high": (lambda kv: kv.increment("here", 2**63 - 1), "by: The sum has more than 64 bits"),
    "a sum that is infinite": (lambda kv: kv.increment("float", 1.7e308), "by: The sum is no finite number"),
    "a limit of hits": (lambda kv: kv.counter("new", limit=0, window=5), "limit: Must be a number from 1"),
    "a window without end": (lambda kv: kv.counter("new", limit=1, window=None), "window: Must be seconds"),
    "a lease without end": (lambda kv: kv.lease("new", None), "A lease ends by itself"),
    "changes that are no object": (lambda kv: kv.document("new").update([1]), "changes: Must be a dict"),
    "defaults that are no object": (lambda kv: kv.document("new").read(5), "defaults: Must be a dict"),
    "a document that is none": (lambda kv: kv.document("here").read(), "here holds 1, which is no JSON object"),
    "a document to change that is none": (lambda kv: kv.document("here").update({}), "which is no JSON object"),
    "a timeout below 0": (lambda kv: kv.watch(timeout=-1), "timeout: Must be a number of seconds, not -1"),
    "a bookmark that is NaN": (lambda kv: kv.watch(bookmark=float("nan")), "bookmark: Must be a number of seconds"),
    "a cursor of nothing": (lambda kv: next(kv.watch(since="here", timeout=0)), "cursor: 'here' is n"),
}


def test_what_cannot_be_asked_is_refused_and_named(kv: KeyValueStore) -> None:
    kv.set("float", 1.7e308)
    for name, (ask, why) in ASKED.items():
        assert why in refusal(kv, ask), name


def test_what_is_no_version_is_refused_and_not_compared(kv: KeyValueStore) -> None:
    """The key has version 1, which equals true and 1.0 in Python."""
    wrong: list[Any] = [True, "1", 1.0, b"1", [1], Revision(True), Revision("1")]  # type: ignore[arg-type]
    for expect in wrong:
        for ask in (
            lambda kv, expect=expect: kv.set("here", 2, expect=expect),
            lambda kv, expect=expect: kv.set_metadata("here", {}, expect=expect),
            lambda kv, expect=expect: kv.remove("here", expect=expect),
        ):
            assert "is no version: pass a number or a Revision" in refusal(kv, ask)


@pytest.mark.parametrize("field", ["source", "actor", "reason"])
def test_who_asks_is_text(kv: KeyValueStore, field: str) -> None:
    verbs: tuple[Callable[..., Any], ...] = (
        lambda **origin: kv.set("here", 2, **origin),
        lambda **origin: kv.create("new", 2, **origin),
        lambda **origin: kv.remove("here", **origin),
        lambda **origin: kv.compare_and_swap("here", 1, 2, **origin),
        lambda **origin: kv.increment("here", **origin),
        lambda **origin: kv.update("here", lambda _value: 2, **origin),
        lambda **origin: kv.set_metadata("here", {}, **origin),
        lambda **origin: kv.set_many({"new": 2}, **origin),
        lambda **origin: kv.apply([], [Remove("here")], **origin),
        lambda **origin: kv.remove_prefix("he", **origin),
    )
    for verb in verbs:
        for value in ("", b"x", 5, "a\x00", "\ud800"):
            told = refusal(kv, lambda _kv, verb=verb, value=value: verb(**{field: value}))  # type: ignore[misc]
            assert told.startswith(f"{field}: ")
        told = refusal(kv, lambda _kv, verb=verb: verb(**{field: "x" * 10_001}), LimitExceeded)  # type: ignore[misc]
        assert told.startswith(field)


def test_more_than_ten_thousand_keys_at_once_are_refused(kv: KeyValueStore) -> None:
    many = [f"k{number}" for number in range(10_001)]
    for ask in (
        lambda kv: kv.get_many(iter(many)),
        lambda kv: kv.set_many(dict.fromkeys(many, 1)),
        lambda kv: kv.apply([], [Remove(key) for key in many]),
        lambda kv: kv.apply([If.absent(key) for key in many], [Put("new", 1)]),
    ):
        assert "keys, at most 10,000 are allowed" in refusal(kv, ask, LimitExceeded)


def test_a_number_that_is_none_is_no_count(kv: KeyValueStore) -> None:
    kv.set("text", "many")
    counter = kv.counter("text", limit=3, window=60)
    for ask in (lambda _kv: counter.hit(), lambda _kv: counter.remaining()):
        assert "text holds 'many', which is no count" in refusal(kv, ask)


def test_a_session_that_is_none_is_refused(kv: KeyValueStore) -> None:
    with nothing_written(kv):
        for ask in (lambda: kv.set("here", 2, session=object()), lambda: kv.get("here", session=object())):
            with pytest.raises(ConfigurationError, match="session"):
                ask()


def test_a_bucket_that_was_not_declared_is_named_with_those_that_were(kv_world: World) -> None:
    for name in ("nope", 5, None, "kv "):
        with pytest.raises(StateValidationError, match=r"There is no bucket .*known are kv"):
            kv_world.states.bucket(name).kv.set("k", 1)  # type: ignore[arg-type]


# -- storage that is gone ----------------------------------------------------------------------------------------------

VERBS: dict[str, Ask] = {
    "get": lambda kv: kv.get("here"),
    "get_many": lambda kv: kv.get_many(["here"]),
    "keys": lambda kv: kv.keys(),
    "count": lambda kv: kv.count(),
    "stats": lambda kv: kv.stats(),
    "set": lambda kv: kv.set("here", 2),
    "create": lambda kv: kv.create("new", 2),
    "remove": lambda kv: kv.remove("here"),
    "swap": lambda kv: kv.compare_and_swap("here", 1, 2),
    "increment": lambda kv: kv.increment("here"),
    "apply": lambda kv: kv.apply([If.present("here")], [Put("here", 2)]),
    "remove_prefix": lambda kv: kv.remove_prefix("he"),
    "watch": lambda kv: list(kv.watch(since="0", timeout=0)),
}
LIMIT = 20.0
"""Seconds in which every verb has to give up; with the timeouts set here each should take one."""


def gives_up(kv: KeyValueStore, *errors: type[StorageError]) -> None:
    """See that every verb tells soon that the storage is gone, and what to do."""
    for ask in VERBS.values():
        began = time.monotonic()
        with pytest.raises(errors) as caught:
            ask(kv)
        assert time.monotonic() - began < LIMIT
        assert any(cure in str(caught.value) for cure in ("that it runs", "try again"))


def works_again(kv: KeyValueStore) -> None:
    """See that reading, writing and following work again, without anything being opened anew."""

    def back() -> bool:
        try:
            kv.get("here")
        except StorageError:
            return False
        return True

    until(back, "the storage is back")
    version = kv.set("here", "again").version
    assert kv.set("here", "and again", expect=version).version == version + 1
    assert kv.get("here") == "and again"
    assert kv.count("here") == 1
    (last,) = [event for event in kv.watch(since="0", timeout=0) if event.version == version + 1]
    assert last.new_value == "and again"


def test_a_redis_that_is_gone_is_told_of_and_comes_back(tmp_path: Path, mortal_redis: RedisServer) -> None:
    """This Redis keeps nothing on disk: it comes back empty."""
    config = kept_by(mortal_redis.url)
    for world in entered(build("redis", f"sqlite:///{tmp_path / 'w.db'}", **config)):
        kv = world.states.kv
        kv.set("here", 1)
        mortal_redis.signal(signal.SIGKILL)
        until(lambda: not mortal_redis.running, "the server is gone")
        gives_up(kv, StorageUnavailable)
        mortal_redis.start()
        works_again(kv)


def test_a_redis_that_does_not_answer_is_not_waited_for(tmp_path: Path, redis_proxy: TcpProxy) -> None:
    config = kept_by(f"{redis_proxy.url()}?socket_timeout=0.2")
    for world in entered(build("redis", f"sqlite:///{tmp_path / 'w.db'}", **config)):
        kv = world.states.kv
        kv.set("here", 1)
        redis_proxy.freeze()
        gives_up(kv, StorageUnavailable, StorageTimeout)
        redis_proxy.thaw()
        works_again(kv)


def test_a_postgresql_that_is_gone_is_told_of_and_comes_back(
    postgres_world: World, postgres_server: PostgresServer
) -> None:
    kv = postgres_world.states.kv
    kv.set("here", 1)
    postgres_server.stop()
    gives_up(kv, StorageUnavailable)
    postgres_server.start()
    until(lambda: postgres_server.running, "the server is back")
    works_again(kv)
    assert [event.new_value for event in kv.watch(since="0", timeout=0)] == [1, "again", "and again"]


# -- what somebody else has written ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spoilt",
    [
        lambda _stored: b"",
        lambda _stored: b"x",
        lambda _stored: b"5",
        lambda _stored: b"{}",
        lambda _stored: b"\xff\xfe\x00",
        lambda stored: stored[: len(stored) // 2],
        lambda stored: stored[:-1],
        lambda stored: stored.swapcase(),
    ],
    ids=["nothing", "a letter", "a number", "json", "bytes", "half of it", "all but the end", "other letters"],
)
def test_corrupt_bytes_under_a_key_are_an_error_of_that_key_alone(
    tmp_path: Path, redis_url: str, spoilt: Callable[[bytes], bytes]
) -> None:
    for world in entered(build("redis", f"sqlite:///{tmp_path / 'w.db'}", **kept_by(redis_url))):
        kv = world.states.kv
        kv.set_many({"here": {"Value": "Text"}, "other": 2})
        with redis.Redis.from_url(redis_url) as client:
            (name,) = client.keys("*r:here")
            wrong = spoilt(client.get(name))
            client.set(name, wrong)
            for ask in (
                lambda kv: kv.get("here"),
                lambda kv: kv.get_many(["other", "here"]),
                lambda kv: kv.set("here", 1),
                lambda kv: kv.set("here", 1, expect=1),
                lambda kv: kv.remove("here"),
                lambda kv: kv.apply([If.present("here")], [Put("new", 1)]),
                lambda kv: kv.apply([], [Put("new", 1), Put("here", 1)]),
            ):
                with pytest.raises(StorageError, match="here"):
                    ask(kv)
            assert client.get(name) == wrong
        assert kv.keys() == ["here", "other"]
        assert kv.increment("other") == 3
        assert kv.get_many(["other", "new"]) == {"other": 3}
