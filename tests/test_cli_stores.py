"""The commands for stores of user interfaces, tracked requests and conversations."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from flask_statemanager import StateManager
from flask_statemanager.stores import StateManager as Stores
from tests.cli_operator import Operator, application, hired
from tests.test_cli_flows import typed
from tests.test_flow_turns import say
from tests.worlds import World

pytest_plugins = ["tests.cli_operator"]


@pytest.fixture
def stocked(terminal: None) -> Iterator[Operator]:
    """An operator of an app that keeps stores, and tracks requests."""
    made = hired(
        application(
            STATEMANAGER_STORES_BACKEND="memory",
            STATEMANAGER_STORES_HISTORY=["filters"],
            STATEMANAGER_STORES_ROLLOUT={"moving": 0},
            STATEMANAGER_TRACK_REQUESTS=True,
        )
    )
    made.app.add_url_rule("/hello", "hello", lambda: "hello")
    yield made
    made.runtime.close()
    StateManager.reset_instance()


def test_stores_are_kept_listed_and_removed(stocked: Operator) -> None:
    assert stocked.said("stores", "list") == ["No stores found."]
    assert stocked.said("stores", "set", "filters", '{"age": [18, 65]}', "--user", "ada lovelace") == ["filters: kept"]
    stocked.run("stores", "set", "a/b", "plain", "--text", "--user", "bob", "--ttl", "60")
    rows = stocked.said("stores", "list")
    assert rows[0].split() == ["USER", "STORE", "VERSION", "BYTES", "UPDATED", "(UTC)", "UNTIL", "(UTC)"]
    items = stocked.loaded("stores", "list", "--json")["items"]
    assert {(each["user"], each["store"]) for each in items} == {("ada lovelace", "filters"), ("bob", "a/b")}
    assert [each["store"] for each in stocked.loaded("stores", "list", "--user", "bob", "--json")["items"]] == ["a/b"]
    assert stocked.loaded("stores", "get", "filters", "--user", "ada lovelace") == {"age": [18, 65]}
    assert stocked.said("stores", "exists", "a/b", "--user", "bob") == ["yes"]
    assert stocked.said("stores", "exists", "a/b", "--user", "eve", code=1) == ["no"]
    assert "'a/b'" in stocked.refused("stores", "get", "a/b", "--user", "eve")
    assert "'a/b'" in stocked.refused("stores", "show", "a/b", "--user", "eve")
    assert (
        "Remove the store a/b?" in stocked.run("stores", "delete", "a/b", "--user", "bob", code=1, stdin="n\n").stdout
    )
    assert stocked.said("stores", "delete", "a/b", "--user", "bob", "--yes") == ["a/b: removed"]
    assert "'a/b'" in stocked.refused("stores", "delete", "a/b", "--user", "bob", "--yes")
    assert stocked.loaded("stores", "stats", "--json")["total_keys"] == 1
    assert stocked.said("stores", "stats")[0].split() == ["backend_type", "memory"]


def test_a_store_with_a_history_is_changed_and_taken_back(stocked: Operator) -> None:
    whose = ("--user", "ada")
    stocked.run("stores", "set", "filters", '{"a": 1}', *whose)
    assert stocked.loaded("stores", "patch", "filters", '{"b": 2}', *whose) == {"a": 1, "b": 2}
    shown = stocked.loaded("stores", "show", "filters", "--json", *whose)
    assert (shown["version"], shown["value"]) == (2, {"a": 1, "b": 2})
    assert 'value       {"a": 1, "b": 2}' in stocked.said("stores", "show", "filters", *whose)
    assert "changed by somebody else" in stocked.refused("stores", "set", "filters", "1", "--expect", "1", *whose)
    items = stocked.loaded("stores", "history", "filters", "--json", *whose)["items"]
    assert [each["value"] for each in items] == [{"a": 1, "b": 2}, {"a": 1}]
    assert len(stocked.said("stores", "history", "filters", *whose)) == 3
    rows = stocked.said("stores", "changes", "filters", *whose)
    assert [row.split()[0] for row in rows] == ["VERSION", "2", "1"]
    newest = stocked.loaded("stores", "changes", "filters", "--json", "--limit", "1", *whose)["items"][0]
    assert (newest["event"], newest["value"]) == ("set", {"a": 1, "b": 2})
    assert stocked.said("stores", "changes", "filters", "--user", "eve") == ["No changes found."]
    assert stocked.loaded("stores", "undo", "filters", *whose) == {"a": 1}
    assert "for good?" in stocked.run("stores", "clear-user", "ada", code=1, stdin="n\n").stdout
    assert stocked.said("stores", "clear-user", "ada", "--yes") == ["1 store removed."]


def test_of_stores_without_a_history_is_watched_that_they_changed(stocked: Operator) -> None:
    stocked.run("stores", "set", "plain", "[1]", "--user", "ada")
    stocked.run("stores", "delete", "plain", "--user", "ada", "--yes")
    watched = ("watch", "--bucket", "stores", "--since", "0", "--timeout", "0")
    lines = stocked.said(*watched, "--diff")
    assert [line.split(maxsplit=1)[1].partition(" by ")[0].split() for line in lines] == [
        ["create", "u:ada/s:plain", "v1"],
        ["remove", "u:ada/s:plain", "v2"],
    ]
    told = [json.loads(line) for line in stocked.run(*watched, "--json").stdout.splitlines()]
    assert [(each["existed"], each["exists"], "new_value" in each) for each in told] == [
        (False, True, False),
        (True, False, False),
    ]


def test_what_json_does_not_know_is_shown_as_text(stocked: Operator) -> None:
    with stocked.app.app_context():
        Stores().set_store_data("raw", b"\x00\x01", user_id="ada")
    assert isinstance(stocked.loaded("stores", "get", "raw", "--user", "ada"), str)


def test_a_browser_that_keeps_its_values_has_nothing_here(operator: Operator) -> None:
    assert "The browser keeps this value" in operator.refused("stores", "get", "a", "--user", "ada")
    for words in (("list",), ("set", "a", "1", "--user", "ada")):
        assert "The browser keeps the stores" in operator.refused("stores", *words)


def test_what_moves_to_the_server_later_is_not_said_to_be_kept(stocked: Operator) -> None:
    assert "STATEMANAGER_STORES_ROLLOUT" in stocked.refused("stores", "set", "moving", "1", "--user", "ada")
    assert "STATEMANAGER_STORES_ROLLOUT" in stocked.refused("stores", "get", "moving", "--user", "ada")
    assert stocked.said("stores", "list") == ["No stores found."]


def test_values_are_carried_to_another_backend(stocked: Operator) -> None:
    stocked.run("stores", "set", "filters", "1", "--user", "ada")
    asked = stocked.run("stores", "migrate", "memory", code=1, stdin="n\n").stdout
    assert "Carry all stores from memory to memory?" in asked
    assert "0 stores carried" in stocked.said("stores", "migrate", "memory", "--yes")[0]


def test_requests_and_sessions_are_listed(stocked: Operator) -> None:
    assert stocked.said("tracking", "sessions") == ["No sessions found."]
    stocked.states.actor_loader(lambda: "ada lovelace")
    client = stocked.app.test_client()
    for place in ("hello", "nowhere"):
        client.get(f"/{place}", headers={"X-Correlation-ID": f"c-{place}"})
    stocked.clock.advance(1)
    with stocked.app.app_context():
        assert stocked.states.tracking.flush(60)
    rows = stocked.said("tracking", "requests")
    assert rows[0].split() == ["BEGUN", "(UTC)", "METHOD", "STATUS", "MS", "URI", "CORRELATION", "ID"]
    found = {each["correlation_id"]: each for each in stocked.loaded("tracking", "requests", "--json")["items"]}
    assert (found["c-hello"]["status"], found["c-nowhere"]["status"]) == (200, 404)
    only = stocked.loaded("tracking", "requests", "--status", "404", "--json")["items"]
    assert [each["correlation_id"] for each in only] == ["c-nowhere"]
    assert stocked.loaded("tracking", "request", "c-hello")["method"] == "GET"
    assert "Nothing is noted" in stocked.refused("tracking", "request", "c-other")
    [session] = stocked.loaded("tracking", "sessions", "--json")["items"]
    assert (session["user"], session["active"]) == ("ada lovelace", True)
    assert "logged out?" in stocked.run("tracking", "end-session", "ada lovelace", code=1, stdin="n\n").stdout
    assert stocked.said("tracking", "end-session", "ada lovelace", "--yes") == ["ada lovelace: logged out"]
    assert stocked.said("tracking", "sessions", "--active") == ["No sessions found."]
    assert stocked.said("tracking", "sessions")[1].split()[:3] == ["ada", "lovelace", "no"]


def test_without_tracking_it_says_so(operator: Operator) -> None:
    assert "STATEMANAGER_TRACK_REQUESTS" in operator.refused("tracking", "sessions")


# -- conversations -----------------------------------------------------------------------------------------------------


def test_a_conversation_is_had_in_place_of_the_user(small_talk: World) -> None:
    said = typed(small_talk, "receive", "web", "v1", "join")
    assert (said.exit_code, said.output.splitlines()[-1]) == (0, "[sign_up: name]")
    answer = json.loads(typed(small_talk, "receive", "web", "v1", "Ada", "--json").output)
    assert (answer["failed"], answer["messages"] != []) == (False, True)
    again: list[Any] = [
        json.loads(typed(small_talk, "receive", "web", "v1", "offer", "--json", "--message-id", "m").output)["repeated"]
        for _time in range(2)
    ]
    assert again == [False, True]


def test_a_conversation_is_mended(small_talk: World) -> None:
    say(small_talk, "join", "Ada", "offer")
    version = small_talk.states.flows.open("web", "v1").version
    updated = typed(small_talk, "update", "web", "v1", '{"profile": {"name": "Ada"}}')
    assert updated.output.startswith(f"web v1: version {version + 1} [offer: ")
    assert small_talk.states.flows.open("web", "v1").get("profile") == {"name": "Ada"}
    assert typed(small_talk, "recover", "web", "v1", "--how", "restart").output.startswith("taken: restart\n")
    assert typed(small_talk, "back", "web", "v1", "--steps", "9").exit_code == 1
    assert typed(small_talk, "logout", "web", "v1").exit_code == 0
    for words in (("back",), ("recover",), ("logout",)):
        missing = typed(small_talk, *words, "web", "nobody")
        assert (missing.exit_code, "No conversation is going on with web nobody" in missing.stderr) == (1, True)


def test_a_step_is_taken_back(small_talk: World) -> None:
    say(small_talk, "join")
    session = small_talk.states.flows.open("web", "v1")
    session.transition_flow("offer", "amount")
    assert typed(small_talk, "back", "web", "v1").output.endswith("[sign_up: name]\n")
