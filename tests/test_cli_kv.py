"""The commands for keys and values, leases and buckets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flask_statemanager.kv.store import KeyValueStore
from tests.cli_operator import Operator

pytest_plugins = ["tests.cli_operator"]


@pytest.fixture
def kv(operator: Operator) -> KeyValueStore:
    """The keys of the operator's app."""
    with operator.app.app_context():
        store: KeyValueStore = operator.states.kv
    return store


def test_a_value_is_json_or_else_text_and_comes_back_as_json(operator: Operator, tmp_path: Path) -> None:
    assert operator.said("kv", "set", "a", '{"x": [1, true]}') == ["a: version 1"]
    assert operator.loaded("kv", "get", "a") == {"x": [1, True]}
    operator.run("kv", "set", "b", "plain words")
    assert operator.loaded("kv", "get", "b") == "plain words"
    assert operator.said("kv", "get", "b", "--raw") == ["plain words"]
    operator.run("kv", "set", "c", "7", "--text")
    assert operator.loaded("kv", "get", "c") == "7"
    file = tmp_path / "value"
    file.write_text("[1]")
    operator.run("kv", "set", "d", f"@{file}")
    operator.run("kv", "set", "e", "-", stdin="null")
    assert operator.loaded("kv", "get", "d", "e", "missing", "--default", "0") == {"d": [1], "e": None, "missing": 0}
    assert "no key 'missing'" in operator.refused("kv", "get", "a", "missing")
    assert "cannot be read" in operator.refused("kv", "set", "a", "@nowhere", code=2)
    file.write_bytes(b"\xff")
    assert "not UTF-8" in operator.refused("kv", "set", "a", f"@{file}", code=2)


def test_a_key_is_shown_with_all_that_is_known_of_it(operator: Operator) -> None:
    said = operator.said("kv", "set", "a", "1", "--ttl", "60", "--metadata", '{"by": "hand"}', "--reason", "because")
    assert said == ["a: version 1, until 2026-01-01 12:01:00 UTC"]
    shown = operator.loaded("kv", "show", "a", "--json")
    assert (shown["value"], shown["metadata"], shown["version"]) == (1, {"by": "hand"}, 1)
    assert 'metadata    {"by": "hand"}' in operator.said("kv", "show", "a")
    assert operator.said("kv", "set", "a", "2", "--no-ttl", "--expect", "1") == ["a: version 2"]
    assert operator.loaded("kv", "metadata", "a") == {"by": "hand"}
    operator.run("kv", "metadata", "a", '{"x": 1}')
    assert operator.loaded("kv", "metadata", "a") == {"x": 1}
    operator.run("kv", "metadata", "a", "--clear")
    assert operator.loaded("kv", "metadata", "a") == {}
    assert "changed by somebody else" in operator.refused("kv", "set", "a", "3", "--expect", "1")
    assert "either --ttl or --no-ttl" in operator.refused("kv", "set", "a", "1", "--ttl", "1", "--no-ttl", code=2)
    assert "--clear" in operator.refused("kv", "metadata", "a", "{}", "--clear", code=2)
    for words in (("show", "z"), ("metadata", "z"), ("history", "z")):
        assert "no key 'z'" in operator.refused("kv", *words)


def test_keys_are_listed_counted_and_looked_for(operator: Operator, kv: KeyValueStore) -> None:
    assert operator.said("kv", "keys") == ["No keys found."]
    with operator.app.app_context():
        kv.set_many({f"user:{i}": i for i in range(5)} | {"other": 0})
    assert operator.said("kv", "keys", "user:", "--limit", "9") == [f"user:{i}" for i in range(5)]
    ended = operator.run("kv", "keys", "--limit", "2", "--after", "other")
    assert (ended.stdout, ended.stderr) == ("user:0\nuser:1\n", "There are more; go on with --after user:1\n")
    assert operator.loaded("kv", "keys", "--limit", "1", "--json") == {"items": ["other"], "next": "other"}
    assert operator.said("kv", "count") == ["6"]
    assert operator.loaded("kv", "count", "user:", "--json") == {"count": 5}
    assert operator.said("kv", "exists", "other") == ["yes"]
    assert operator.said("kv", "exists", "another", code=1) == ["no"]
    assert operator.loaded("kv", "stats", "--json")["prefixes"] == {"": 1, "user:": 5}
    assert operator.said("kv", "stats")[0] == "total_keys     6"


def test_keys_are_changed_in_every_way(operator: Operator) -> None:
    assert operator.said("kv", "create", "n", "1") == ["n: version 1"]
    assert "exists already" in operator.refused("kv", "create", "n", "1")
    assert operator.said("kv", "increment", "n", "--by", "2.5") == ["3.5"]
    assert "by" in operator.refused("kv", "increment", "n", "--by", "much")
    assert operator.said("kv", "cas", "n", "3.5", '{"a": 1}') == ["n: swapped"]
    ended = operator.run("kv", "cas", "n", "3.5", "0", code=1)
    assert (ended.stdout, ended.stderr) == ("", "n: another value is there\n")
    assert operator.loaded("kv", "patch", "n", '{"b": 2, "a": null}') == {"b": 2}
    assert operator.said("kv", "set-many", '{"x": 1, "y": 2}') == ["2 keys set."]
    assert operator.loaded("kv", "get", "x", "y") == {"x": 1, "y": 2}
    rows = operator.said("kv", "history", "n")
    assert rows[0].split() == ["VERSION", "WHEN", "(UTC)", "EVENT", "ACTOR", "VALUE"]
    assert [row.split()[-1] for row in rows[1:3]] == ["1", "3.5"]
    [newest] = operator.loaded("kv", "history", "n", "--limit", "1", "--json")["items"]
    assert (newest["event"], newest["value"], newest["exists"]) == ("set", {"b": 2}, True)


def test_removing_asks_and_removes_what_was_asked_about(operator: Operator) -> None:
    operator.run("kv", "set", "a", "1")
    asked = operator.run("kv", "remove", "a", code=1, stdin="n\n")
    assert "Remove a (version 1)? [y/N]" in asked.stdout
    assert operator.run("kv", "remove", "a", stdin="y\n").stdout.endswith("a: removed\n")
    for words in (("remove", "a"), ("remove", "a", "--yes")):
        assert "no key 'a'" in operator.refused("kv", *words)
    operator.run("kv", "set-many", '{"p:1": 1, "p:2": 2, "q": 3}')
    assert (
        "Remove 2 keys that begin with 'p:'?" in operator.run("kv", "remove-prefix", "p:", code=1, stdin="n\n").stdout
    )
    assert operator.said("kv", "remove-prefix", "p:", "--yes") == ["2 keys removed."]
    assert operator.said("kv", "keys") == ["q"]


def test_a_lease_has_one_holder_and_can_be_taken_away(operator: Operator) -> None:
    held = "nightly: held by me until 2026-01-01 12:01:00 UTC"
    assert operator.said("kv", "lease", "acquire", "nightly", "--holder", "me") == [f"{held}, version 1"]
    refused = operator.run("kv", "lease", "acquire", "nightly", code=1)
    assert (refused.stdout, refused.stderr) == ("", f"{held}\n")
    renewed = operator.said("kv", "lease", "renew", "nightly", "--version", "1", "--ttl", "90")
    assert renewed == ["nightly: held by me until 2026-01-01 12:01:30 UTC, version 2"]
    assert "changed by somebody else" in operator.refused("kv", "lease", "renew", "nightly", "--version", "1")
    assert operator.loaded("kv", "lease", "show", "nightly", "--json")["value"] == {"holder": "me"}
    assert "Take it away? [y/N]" in operator.run("kv", "lease", "break", "nightly", code=1, stdin="n\n").stdout
    assert operator.said("kv", "lease", "break", "nightly", "--yes") == ["nightly: nobody has it"]
    assert operator.said("kv", "lease", "show", "nightly") == ["nightly: nobody has it"]
    assert operator.loaded("kv", "lease", "show", "nightly", "--json") is None
    lost = operator.run("kv", "lease", "release", "nightly", "--version", "2", code=1)
    assert (lost.stdout, lost.stderr) == ("", "nightly: it had been lost\n")
    for words in (("break", "nightly", "--yes"), ("renew", "nightly", "--version", "2")):
        assert "no key 'nightly'" in operator.refused("kv", "lease", *words)
    token = operator.loaded("kv", "lease", "acquire", "nightly", "--json")["version"]
    assert operator.said("kv", "lease", "release", "nightly", "--version", str(token)) == ["nightly: given up"]
    operator.run("kv", "set", "odd", "1")
    assert operator.run("kv", "lease", "acquire", "odd", code=1).stderr == "odd: taken\n"


def test_what_a_bucket_declares_secret_is_covered_unless_it_is_to_be_seen(operator: Operator) -> None:
    operator.states.define_bucket("prefs", secrets=["auth.token"], ttl=60, shards=1, history=5)
    operator.run("kv", "set", "a", '{"auth": {"token": "s3cret"}}', "--bucket", "prefs")
    for words in (("get", "a"), ("show", "a"), ("history", "a")):
        told = operator.run("kv", *words, "--bucket", "prefs").stdout
        assert "s3cret" not in told
        assert "redacted" in told
        assert "s3cret" in operator.run("kv", *words, "--bucket", "prefs", "--reveal").stdout
    told = operator.run("kv", "watch", "--bucket", "prefs", "--since", "0", "--timeout", "0", "--diff").stdout
    assert "a  " in told
    assert "s3cret" not in told


def test_buckets_are_listed_and_shown(operator: Operator) -> None:
    operator.states.define_bucket("prefs", ttl=60, secrets=["a.b"])
    operator.run("kv", "set", "a", "1", "--bucket", "prefs")
    rows = operator.said("buckets", "list")
    assert rows[0].split() == ["BUCKET", "BACKEND", "TTL", "HISTORY", "HOLDS"]
    assert "state        memory                    states" in rows
    assert "prefs        memory   60 s             keys and values" in rows
    found = {each["name"]: each for each in operator.loaded("buckets", "list", "--json")["items"]}
    assert (found["prefs"]["secrets"], found["stores"]["backend"]) == (["a.b"], "client")
    # The browser keeps the stores of user interfaces; what else has no place of its own lies where keys do.
    assert (found["stores"]["backend"], found["refusals"]["backend"], found["admin-work"]["backend"]) == (
        "client",
        "memory",
        "memory",
    )
    assert found["stores-kept"]["history"] == 604800
    assert next(row for row in rows if row.startswith("stores-kept")).split()[2:4] == ["604,800", "s"]
    assert operator.loaded("buckets", "show", "prefs", "--json")["total_keys"] == 1
    assert "holds       states" in operator.said("buckets", "show", "state")
    assert "'nothing'" in operator.refused("buckets", "show", "nothing")
    assert "verbs of their own" in operator.refused("kv", "keys", "--bucket", "flows")


def test_hostile_keys_and_values_cannot_steer_the_terminal(operator: Operator, kv: KeyValueStore) -> None:
    hostile = "\x1b[2J\x07\r\u202e\x9b"
    with operator.app.app_context():
        kv.set("a", {hostile: hostile}, metadata={"m": hostile})
    for words in (("get", "a"), ("show", "a"), ("history", "a"), ("watch", "--since", "0", "--timeout", "0", "--diff")):
        told = operator.run("kv", *words).stdout
        assert all(character.isprintable() or character == "\n" for character in told)
    assert json.loads(operator.run("kv", "get", "a").stdout) == {hostile: hostile}
