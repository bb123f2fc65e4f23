"""The operator's commands for conversations, and the migration of another system's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import redis
from marshmallow import Schema, fields

from flask_statemanager import StateValidationError
from flask_statemanager.flows.legacy import Legacy, Migration, by_mapping
from tests.test_cli_flows import typed
from tests.worlds import World

pytest_plugins = ["tests.flow_worlds"]

MEMBERS = {"+263 77 111": "m1", "26377222": "m2"}

OLD: dict[str, Any] = {
    "26377111": {
        "mobile_number": "26377111",
        "profile": {"name": "Ada"},
        "jwt_token": "s3cret",
        "authenticated": True,
        "flow_data": {
            "id": "offer",
            "step": 2,
            "flow_type": "offer",
            "data": {"amount": 5, "member_id": "m1", "_validation_state": {"attempts": 1}},
            "previous": {"step": 1},
        },
        "_version": 7,
        "nonsense": 1,
    },
    "channel:26377222": json.dumps({"channel": {"type": "sms", "identifier": "26377222"}, "dashboard": {"a": 1}}),
    "channel:26377333": {
        "channel": {"identifier": "26377333"},
        "flow_data": {"context": "onboard", "component": "name"},
    },
    "user_state:26377444": {"dashboard": {"member": {"memberID": "m4"}}},
    "channel:broken": "{",
}


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """A JSON export of the old documents."""
    path = tmp_path / "export.json"
    path.write_text(json.dumps(OLD))
    return path


@pytest.fixture
def members(tmp_path: Path) -> Path:
    """The members by their mobile numbers."""
    path = tmp_path / "members.json"
    path.write_text(json.dumps(MEMBERS))
    return path


def find(number: str) -> str | None:
    """Find a member, as an application would."""
    if number == "26377222":
        raise RuntimeError("no such table")
    return by_mapping(MEMBERS)(number)  # type: ignore[return-value]


def test_conversations_are_listed_shown_and_cleared(flow_world):
    assert typed(flow_world, "conversations").output == "No conversation is going on.\n"
    session = flow_world.states.flows.open("web", "ada lovelace")
    session.authenticate("m1", "s3cret")
    session.transition_flow("offer", "amount")
    flow_world.states.flows.open("whatsapp", "+1").update_state({"profile": {"name": "Bob"}})
    lines = typed(flow_world, "conversations").output.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["channel:whatsapp:+1", "member:m1"]
    assert "offer" in lines[2]
    [only] = json.loads(typed(flow_world, "conversations", "--members", "--json").output)["conversations"]
    assert (only["key"], only["component"], only["version"]) == ("member:m1", "amount", 2)
    assert len(typed(flow_world, "conversations", "--limit", "1").output.splitlines()) == 2
    shown = typed(flow_world, "show", "web", "ada lovelace")
    assert json.loads(shown.output)["member_id"] == "m1"
    assert "s3cret" not in shown.output
    assert typed(flow_world, "clear", "web", "ada lovelace", "--flow", "--yes").output.endswith("cleared, version 3\n")
    assert session.refresh().is_authenticated()
    assert typed(flow_world, "clear", "web", "ada lovelace").exit_code == 1
    assert typed(flow_world, "clear", "web", "ada lovelace", "--yes").exit_code == 0
    assert session.refresh().get_member_id() is None
    missing = typed(flow_world, "show", "web", "nobody")
    assert (missing.exit_code, "No conversation is going on with web nobody" in missing.stderr) == (1, True)


def test_old_documents_become_conversations_of_members_and_channels(flow_world, export, members):
    rehearsed = typed(flow_world, "migrate-legacy", "--file", str(export), "--members", str(members), "--dry-run")
    assert "5 documents (nothing written): 3 to members, 1 to channels, 0 there already, 1 refused" in rehearsed.output
    flows = flow_world.states.flows
    assert flows.open("whatsapp", "26377111").version == 0
    done = typed(flow_world, "migrate-legacy", "--file", str(export), "--members", str(members))
    assert done.exit_code == 1
    assert done.output.splitlines()[0] == "5 documents: 3 to members, 1 to channels, 0 there already, 1 refused"
    assert "channel:broken: document: Is not JSON" in done.output
    ada = flows.open("whatsapp", "26377111")
    assert (ada.get_member_id(), ada.get("profile"), ada.is_authenticated()) == ("m1", {"name": "Ada"}, False)
    assert (ada.get_component(), ada.get_flow_data(), ada.get_attempts()) == (2, {"amount": 5, "flow_type": "offer"}, 1)
    assert ada.get("nonsense") is None
    sms = flows.open("sms", "26377222")
    assert (sms.get_member_id(), sms.get("dashboard")) == ("m2", {"a": 1})
    other = flows.open("whatsapp", "26377333")
    assert (other.get_member_id(), other.get_path(), other.get_component()) == (None, "onboard", "name")
    assert flows.open("whatsapp", "26377444").get_member_id() == "m4"
    again = typed(flow_world, "migrate-legacy", "--file", str(export), "--members", str(members))
    assert again.output.startswith("5 documents: 0 to members, 0 to channels, 4 there already, 1 refused")


def test_old_documents_come_out_of_a_redis_with_what_is_left_of_their_time(memory_flow_world, redis_url):
    with redis.Redis.from_url(redis_url) as client:
        for key, value in OLD.items():
            client.set(key, value if isinstance(value, str) else json.dumps(value), ex=120)
        client.rpush("channel:list", "no document")
    found = typed(
        *(memory_flow_world, "migrate-legacy", "--redis-url", redis_url, "--match", "channel:*", "--match", "2637*"),
        *("--resolver", f"{__name__}:find", "--ttl", "3600"),
    )
    assert found.output.splitlines()[0] == "4 documents: 1 to members, 1 to channels, 0 there already, 2 refused"
    assert "The resolver failed: RuntimeError('no such table')" in found.output
    flows = memory_flow_world.states.flows
    ada = flows.open("whatsapp", "26377111")
    assert ada.jwt_token == "s3cret"
    memory_flow_world.clock.advance(121)
    assert not ada.is_authenticated()
    memory_flow_world.clock.advance(3000)
    assert flows.open("whatsapp", "26377111").get_member_id() == "m1"
    ada.refresh().touch()
    memory_flow_world.clock.advance(300)
    assert flows.open("whatsapp", "26377111").get_member_id() is None


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ((), "either --redis-url or --file"),
        (("--file", "x.json", "--redis-url", "redis://x"), "either --redis-url or --file"),
        (("--file", "x.json", "--members", "x.json", "--resolver", "a:b"), "either --members or --resolver"),
        (("--file", "x.json", "--resolver", "nowhere:find"), "There is no resolver nowhere:find"),
        (("--file", "bad.json"), "Line 1 of bad.json is no JSON"),
        (("--file", "x.json", "--members", "brace.json"), "brace.json is no JSON"),
        (("--file", "list.json"), "is no export"),
        (("--redis-url", "http://x"), "URL of the Redis is unusable"),
        (("--redis-url", "redis://127.0.0.1:1"), "The Redis with the documents fails"),
    ],
)
def test_a_migration_that_cannot_be_says_why(memory_flow_world, tmp_path, monkeypatch, words, problem):
    monkeypatch.chdir(tmp_path)
    for name, text in {"x.json": "{}", "bad.json": "no", "brace.json": "{,", "list.json": "[1]"}.items():
        Path(name).write_text(text)
    found = typed(memory_flow_world, "migrate-legacy", *words)
    assert found.exit_code in (1, 2)
    assert problem in found.stderr


def test_exports_by_lines_and_members_by_commas(memory_flow_world, tmp_path):
    lines, members = tmp_path / "export.jsonl", tmp_path / "members.csv"
    lines.write_text('{"key": "channel:1", "value": {}}\n\n{"key": "channel:2", "value": {}, "ttl": 60}\n')
    members.write_text("1, m1\nincomplete\n")
    found = typed(memory_flow_world, "migrate-legacy", "--file", str(lines), "--members", str(members))
    assert found.output == "2 documents: 1 to members, 1 to channels, 0 there already, 0 refused\n"
    one = tmp_path / "one.json"
    one.write_text('{"key": "channel:3", "value": {}}')
    assert "1 documents" in typed(memory_flow_world, "migrate-legacy", "--file", str(one)).output


class Loyalty(Schema):
    """What an application adds."""

    points = fields.Integer(strict=True)


def test_the_applications_own_fields_come_along_and_are_checked(memory_flow_world):
    memory_flow_world.states.flows.register_schema(Loyalty)
    migration = Migration(memory_flow_world.runtime.reception.parts(), lambda _number: None)
    assert migration.take(Legacy("channel:1", {"points": 5})) is None
    assert "points" in str(migration.take(Legacy("channel:2", {"points": "many"})))
    assert "object" in str(migration.take(Legacy("channel:3", [1])))
    assert memory_flow_world.states.flows.open("whatsapp", "1").get("points") == 5
    assert memory_flow_world.states.flows.open("whatsapp", "2").version == 0


def test_numbers_are_found_however_they_are_written():
    find = by_mapping({"+263 77-1": "m1", "": "m0"})
    assert [find(number) for number in ("263771", "00263771", "+263 77-1", "no digits", "2")] == [
        *("m1", "m1", "m1", None, None),
    ]


def test_a_resolver_may_refuse_with_our_errors(memory_flow_world: World) -> None:
    def refuse(_number: str) -> None:
        raise StateValidationError({"number": ["Unknown."]})

    migration = Migration(memory_flow_world.runtime.reception.parts(), refuse)
    assert migration.take(Legacy("channel:1", {})) == "number: Unknown."
