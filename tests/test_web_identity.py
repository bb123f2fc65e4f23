"""Who may do what over HTTP: tokens, the application's logins, a developer's own machine, and pages of other sites."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from flask import Flask, session
from flask.cli import FlaskGroup

from flask_statemanager import ConfigurationError, StateManager
from flask_statemanager.config import Settings
from flask_statemanager.security.identity import Identity
from tests.rest_client import PREFIX, asking, data_of, problem_of
from tests.worlds import World, build, entered


def digest(token: str, scheme: str = "sha256") -> str:
    return hashlib.new(scheme, token.encode()).hexdigest()


TOKENS = {
    digest("ada's"): {"user": "ada", "roles": ["admin"]},
    "sha256:" + digest("ben's").upper(): {"user": "ben"},
    "sha512:" + digest("cat's", "sha512"): {"user": "cat", "roles": ["service"]},
}


@contextmanager
def an_app(**config: Any) -> Iterator[World]:
    """An application in memory that answers at its API, neither testing nor in debug mode."""
    generator = entered(build("memory", "sqlite://", STATEMANAGER_API_ENABLED=True, **config))
    world = next(generator)
    world.app.testing = False
    world.app.secret_key = "key"
    try:
        yield world
    finally:
        generator.close()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def statuses(world: World, **headers: str) -> tuple[int, int, int]:
    """Return what comes of reading, writing and making a snapshot."""
    ask = asking(world)
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    reading = ask("GET", "/stats", headers=given)
    writing = ask("POST", "/bulk", json={"operations": [{"op": "remove", "key": "a"}]}, headers=given)
    snapshot = ask("GET", "/snapshot", headers=given)
    return reading.status_code, writing.status_code, snapshot.status_code


ALL, READ, NOBODY, NOTHING = (200, 200, 200), (200, 403, 403), (401, 401, 401), (403, 403, 403)


# -- bearer tokens -----------------------------------------------------------------------------------------------------


def test_a_token_is_its_user_and_writes_need_the_role_admin() -> None:
    with an_app(STATEMANAGER_API_TOKENS=TOKENS) as world:
        assert statuses(world, **bearer("ada's")) == ALL
        assert statuses(world, **bearer("ben's")) == READ
        assert statuses(world, **bearer("cat's")) == READ
        assert statuses(world) == NOBODY
        for wrong in ("ada", "", "ada's x", "\u00e4", digest("ada's"), "x" * 10_000):
            assert statuses(world, **bearer(wrong)) == NOBODY
        assert statuses(world, Authorization="Basic YWRhOmFkYQ==") == NOBODY
        assert statuses(world, Authorization="bearer  ada's ") == ALL
        told = []
        world.states.kv.subscribe(told.append)
        asking(world)("PUT", "/key", json={"value": 1}, headers=bearer("ada's"))
        assert [event.actor for event in told] == ["ada"]


def test_a_refusal_says_how_to_be_let_in() -> None:
    with an_app(STATEMANAGER_API_TOKENS=TOKENS) as world:
        ask = asking(world)
        unknown = ask("GET", "/stats")
        assert problem_of(unknown, 401)["type"].endswith(":unauthenticated")
        assert unknown.headers["WWW-Authenticate"] == "Bearer"
        wrong = ask("GET", "/stats", headers=bearer("wrong"))
        assert wrong.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
        assert "wrong" not in wrong.text
        weak = problem_of(ask("DELETE", "/key", headers=bearer("ben's")), 403)
        assert "'write'" in weak["detail"]


def test_roles_have_the_permissions_that_the_config_gives_them() -> None:
    roles = {"read": ["service"], "write": ["service"], "admin": []}
    with an_app(STATEMANAGER_API_TOKENS=TOKENS, STATEMANAGER_API_ROLES=roles) as world:
        assert statuses(world, **bearer("cat's")) == (200, 200, 403)
        assert statuses(world, **bearer("ada's")) == NOTHING
        assert statuses(world, **bearer("ben's")) == NOTHING
    with an_app(STATEMANAGER_API_TOKENS=TOKENS, STATEMANAGER_API_ROLES={"write": ["*"]}) as world:
        assert statuses(world, **bearer("ben's")) == (200, 200, 403)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("TOKENS", ["s3cret"]),
        ("TOKENS", {"s3cret": {"user": "ada"}}),
        ("TOKENS", {"md5:" + "0" * 32: {"user": "ada"}}),
        ("TOKENS", {"sha512:" + "0" * 64: {"user": "ada"}}),
        ("TOKENS", {7: {"user": "ada"}}),
        ("TOKENS", {"0" * 64: "s3cret"}),
        ("TOKENS", {"0" * 64: {"roles": []}}),
        ("TOKENS", {"0" * 64: {"user": "ada", "role": "admin"}}),
        ("TOKENS", {"0" * 64: {"user": ""}}),
        ("TOKENS", {"0" * 64: {"user": "ada", "roles": "admin"}}),
        ("ROLES", {"reading": []}),
        ("ROLES", {"read": "admin"}),
        ("ROLES", ["admin"]),
        ("ORIGINS", ["app.example.com"]),
        ("ORIGINS", ["https://app.example.com/"]),
        ("ORIGINS", ["ftp://app.example.com"]),
        ("ORIGINS", "https://app.example.com"),
        ("BUCKETS", "kv"),
    ],
)
def test_an_unusable_setting_fails_at_the_start_and_shows_no_token(key: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"STATEMANAGER_API_{key}") as refused:
        Settings.from_mapping({f"STATEMANAGER_API_{key}": value})
    assert "s3cret" not in str(refused.value)


def test_the_command_makes_a_token_that_is_let_in() -> None:
    group = FlaskGroup(create_app=lambda: Flask("app"))
    output = CliRunner().invoke(group, ["state", "token", "ada", "--role", "admin", "--role", "x"]).output
    token, line = re.fullmatch(r"token: (\S+)\nSTATEMANAGER_API_TOKENS: (.+)\n", output).groups()
    assert json.loads(f"{{{line}}}") == {f"sha256:{digest(token)}": {"user": "ada", "roles": ["admin", "x"]}}
    made = json.loads(CliRunner().invoke(group, ["state", "token", "ben", "--json"]).output)
    with an_app(STATEMANAGER_API_TOKENS=json.loads(f"{{{line}}}") | made["tokens"]) as world:
        assert statuses(world, **bearer(token)) == ALL
        assert statuses(world, **bearer(made["token"])) == READ


# -- the application's own logins --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (None, NOBODY),
        ("ada", READ),
        (7, READ),
        (("ada", ["admin"]), ALL),
        ((7, {"admin"}), ALL),
        (("ada", ()), READ),
        (Identity("ada", frozenset(("admin",))), ALL),
        (Identity("ada", frozenset(), frozenset(("write",))), READ),
    ],
)
def test_the_application_says_who_it_is(answer: Any, expected: tuple[int, int, int]) -> None:
    with an_app() as world:
        world.states._declarations.identity.loader = lambda: answer
        assert statuses(world) == expected


@pytest.mark.parametrize("answer", [True, "", 1.5, ("ada", "admin"), ("ada", [7]), ("ada", [], 1), object()])
def test_what_is_no_identity_is_an_error_of_the_application(answer: Any) -> None:
    with an_app() as world:
        world.states._declarations.identity.loader = lambda: answer
        assert statuses(world) == (500, 500, 500)


def test_the_actor_loader_serves_where_no_identity_loader_does() -> None:
    with an_app() as world:
        world.states._declarations.actor.loader = lambda: "ben"
        assert statuses(world) == READ
        world.states._declarations.identity.loader = lambda: ("ada", ["admin"])
        assert statuses(world) == ALL


def test_a_loader_is_set_as_a_decorator_outside_of_requests() -> None:
    with an_app(STATEMANAGER_API_TOKENS=TOKENS) as world:
        StateManager._instance = world.states
        with world.app.test_request_context(), pytest.raises(ConfigurationError, match="during a request"):
            world.states.identity_loader(lambda: None)
    StateManager.reset_instance()
    manager = StateManager()

    @manager.identity_loader
    def present() -> str:
        return "ada"

    assert manager._declarations.identity.loader is present


def test_a_token_goes_before_the_login_and_other_tokens_are_the_applications() -> None:
    with an_app(STATEMANAGER_API_TOKENS=TOKENS) as world:
        world.states._declarations.identity.loader = lambda: ("jwt-user", ["admin"])
        assert statuses(world, **bearer("ben's")) == READ
        assert statuses(world, **bearer("a.json.web-token")) == ALL
        assert statuses(world, Origin="https://evil.example", **bearer("a.json.web-token")) == ALL


# -- a developer's own machine -----------------------------------------------------------------------------------------


def test_with_nobody_to_know_only_a_testing_or_debug_app_at_home_answers() -> None:
    with an_app() as world:
        assert statuses(world) == NOBODY
        for mode in ("testing", "debug"):
            setattr(world.app, mode, True)
            assert statuses(world) == ALL
            for header in ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP", "Via"):
                assert statuses(world, **{header: "127.0.0.1"}) == NOBODY
            client = world.app.test_client()
            for host in ("127.0.0.1:5000", "[::1]:5000", "app.localhost", "localhost:5000"):
                assert client.get(f"{PREFIX}/stats", headers={"Host": host}).status_code == 200
            for host in ("evil.example", "192.168.1.2", "localhost.evil.example", ""):
                assert client.get(f"{PREFIX}/stats", headers={"Host": host}).status_code in (400, 401)
            for address, expected in (("::1", 200), ("127.8.8.8", 200), ("192.168.1.2", 401), (None, 401), ("x", 401)):
                environ = {"REMOTE_ADDR": address}
                assert client.get(f"{PREFIX}/stats", environ_overrides=environ).status_code == expected
            setattr(world.app, mode, False)


def test_at_home_the_name_of_the_server_will_do() -> None:
    with an_app(SERVER_NAME="app.example") as world:
        world.app.testing = True
        assert statuses(world) == ALL


@pytest.mark.parametrize("config", [{"STATEMANAGER_API_TOKENS": TOKENS}, {}])
def test_whoever_has_tokens_or_logins_is_let_in_by_these_alone(config: dict[str, Any]) -> None:
    with an_app(**config) as world:
        world.app.testing = True
        if not config:
            world.states._declarations.actor.loader = lambda: None
        assert statuses(world) == NOBODY


# -- pages of other sites ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "let_in"),
    [
        ({}, True),
        ({"Origin": "http://localhost"}, True),
        ({"Origin": "https://LOCALHOST"}, True),
        ({"Origin": "https://evil.example"}, False),
        ({"Origin": "http://localhost:8080"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": "https://app.example"}, True),
        ({"Origin": "https://app.example", "Sec-Fetch-Site": "cross-site"}, True),
        ({"Origin": "http://app.example"}, False),
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "none"}, True),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"}, False),
    ],
)
def test_a_page_of_another_site_cannot_write_with_somebodys_cookies(
    tmp_path: Path, headers: dict[str, str], let_in: bool
) -> None:
    config = {"STATEMANAGER_API_ORIGINS": ["https://app.example"], "STATEMANAGER_SNAPSHOTS": str(tmp_path)}
    with an_app(**config) as world:
        world.states._declarations.identity.loader = lambda: (session["who"], ["admin"]) if "who" in session else None
        client = world.app.test_client()
        with client.session_transaction() as cookies:
            cookies["who"] = "ada"
        for method, path, more in (
            ("PUT", "/key", {"json": {"value": 1}}),
            ("POST", "/snapshot", {}),
            ("DELETE", "/key", {}),
        ):
            answer = client.open(PREFIX + path, method=method, headers=headers, **more)
            if let_in:
                assert answer.status_code in (200, 201)
            else:
                assert problem_of(answer, 403)["type"].endswith(":cross-site-request")
        assert data_of(client.get(f"{PREFIX}/keys", headers=headers))["keys"] == []
        # A form of another page can send text, and nothing else.
        answer = client.put(f"{PREFIX}/key", data='{"value": 1}', content_type="text/plain")
        problem_of(answer, 415)
