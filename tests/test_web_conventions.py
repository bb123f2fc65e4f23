"""What holds for all of the API: problem details, JSON, conditions, request ids; on no account HTML."""

from __future__ import annotations

import io
import logging
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Blueprint, Flask, abort
from werkzeug.exceptions import TooManyRequests

from flask_statemanager import ConfigurationError, StateConflict, StateManager, StorageTimeout, StorageUnavailable
from flask_statemanager.web import mounting
from flask_statemanager.web.preconditions import Preconditions, Tags
from flask_statemanager.web.problems import KINDS, PRECONDITION_FAILED, Problem
from flask_statemanager.web.problems import problem_of as problem_for
from tests.rest_client import PREFIX, Ask, asking, data_of, problem_of
from tests.worlds import World, build, entered

JSON = "application/json"


@pytest.fixture
def world() -> Iterator[World]:
    """An application in memory that answers at its API."""
    yield from entered(build("memory", "sqlite://", STATEMANAGER_API_ENABLED=True, STATEMANAGER_API_MAX_BODY=3_000_000))


@pytest.fixture
def ask(world: World) -> Ask:
    return asking(world)


def refused(ask: Ask, status: int, kind: str, method: str, path: str, **more: Any) -> Any:
    """Ask for what is refused with a status and a type; return the problem."""
    problem = problem_of(ask(method, path, **more), status)
    assert problem["type"] == f"urn:problem-type:statemanager:{kind}"
    assert problem["title"]
    return problem


def put(ask: Ask, text: str | bytes, **more: Any) -> Any:
    return ask("PUT", "/key", data=text, content_type=JSON, **more)


# -- where the API is --------------------------------------------------------------------------------------------------


def test_it_is_off_by_default_and_can_be_elsewhere() -> None:
    for world in entered(build("memory", "sqlite://")):
        assert world.app.test_client().get(f"{PREFIX}/stats").status_code == 404
        assert mounting.BLUEPRINT not in world.app.blueprints
    config = {"STATEMANAGER_API_ENABLED": True, "STATEMANAGER_API_PREFIX": "/internal/state"}
    for world in entered(build("memory", "sqlite://", **config)):
        client = world.app.test_client()
        assert data_of(client.get("/internal/state/stats"))["total_keys"] == 0
        assert client.get(f"{PREFIX}/stats").mimetype == "text/html"
        assert problem_of(client.get("/internal/state"), 404)
        assert client.get("/internal/stateful").mimetype == "text/html"


@pytest.mark.parametrize("prefix", ["api", "/api/", "/", "", "/a b", "/<x>", "/a//b", 7])
def test_an_unusable_prefix_fails_at_the_start(prefix: object) -> None:
    StateManager.reset_instance()
    app = Flask("app")
    app.config.update(STATEMANAGER_BACKEND="memory", STATEMANAGER_API_PREFIX=prefix)
    with pytest.raises(ConfigurationError, match="STATEMANAGER_API_PREFIX"):
        StateManager(app)


def test_a_blueprint_of_the_same_name_is_told_of() -> None:
    StateManager.reset_instance()
    app = Flask("app")
    app.register_blueprint(Blueprint(mounting.BLUEPRINT, __name__))
    app.config.update(STATEMANAGER_BACKEND="memory", STATEMANAGER_API_ENABLED=True)
    with pytest.raises(ConfigurationError, match="another name"):
        StateManager(app)


# -- errors ------------------------------------------------------------------------------------------------------------


def test_every_kind_of_problem_has_a_type_of_its_own() -> None:
    assert len({kind.type for kind in KINDS}) == len(KINDS) > 20
    assert all(400 <= kind.status < 600 for kind in KINDS)


@pytest.mark.parametrize("path", ["", "/", "//a", "/a%0Ab"])
def test_where_nothing_is_the_answer_is_a_problem(ask: Ask, path: str) -> None:
    refused(ask, 404, "no-such-path", "GET", path)


def test_a_method_that_a_path_does_not_know_is_a_problem(ask: Ask) -> None:
    refused(ask, 405, "method-not-allowed", "POST", "/key")
    for method in ("PUT", "POST", "DELETE"):
        refused(ask, 404, "no-such-path", method, "//key")
    answer = ask("PROPFIND", "/stats")
    problem_of(answer, 405)
    assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}


def test_the_pages_of_the_application_stay_its_own(world: World) -> None:
    @world.app.errorhandler(404)
    def missing(_error: Exception) -> tuple[str, int]:
        return "<h1>ours</h1>", 404

    client = world.app.test_client()
    assert client.get("/nothing").text == "<h1>ours</h1>"
    problem_of(client.get(f"{PREFIX}/"), 404)
    problem_of(client.get(f"{PREFIX}/key"), 404)


def test_pages_for_errors_of_the_application_are_for_its_own_paths(
    world: World, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.app.config.update(PROPAGATE_EXCEPTIONS=False, MAX_CONTENT_LENGTH=50)
    for status in (404, 405, 413, 500, Exception):
        world.app.register_error_handler(status, lambda _error: ("<h1>ours</h1>", 500))
    problem_of(ask("PUT", "/stats", json={}), 405)
    problem_of(ask("PATCH", "/key"), 405)
    problem_of(ask("PUT", "/key", json={"value": "x" * 100}), 413)

    def fail(_key: Any) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(world.runtime.shelves.parts("kv").bucket.backend, "fetch_unread", fail)
    assert "secret" not in problem_of(ask("GET", "/key"), 500)["detail"]
    assert world.app.test_client().get("/nothing").text == "<h1>ours</h1>"


def test_an_error_that_an_extension_knows_is_its_own(world: World, ask: Ask) -> None:
    class ExpiredTokenError(Exception):
        """What an extension raises that checks tokens."""

    world.app.register_error_handler(ExpiredTokenError, lambda _error: ({"msg": "expired"}, 401))
    world.app.register_error_handler(Exception, lambda _error: ("<h1>ours</h1>", 500))

    @world.states.identity_loader
    def present_user() -> str:
        raise ExpiredTokenError

    assert ask("GET", "/key").get_json() == {"msg": "expired"}


def test_what_the_application_refuses_below_the_prefix_is_a_problem(world: World, ask: Ask) -> None:
    kinds = {400: "malformed-request", 401: "unauthenticated", 403: "forbidden", 413: "too-large", 418: "http-418"}
    statuses = list(kinds)
    world.app.before_request(lambda: abort(statuses.pop()))
    while statuses:
        status = statuses[-1]
        refused(ask, status, kinds[status], "GET", "/key")


def test_too_many_requests_say_when_to_come_again(world: World, ask: Ask) -> None:
    waits: list[int | None] = [None, 7]
    world.app.before_request(lambda: (_ for _ in ()).throw(TooManyRequests(retry_after=waits.pop())))
    for expected in ("7", "1"):
        answer = ask("GET", "/key")
        assert problem_of(answer, 429)["type"].endswith(":too-many-requests")
        assert answer.headers["Retry-After"] == expected


def test_a_storage_that_fails_is_503_and_tells_nothing_of_the_inside(
    world: World, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = world.runtime.shelves.parts("kv").bucket.backend
    for error, kind in ((StorageUnavailable, "unavailable"), (StorageTimeout, "busy")):

        def fail(*_given: Any, error: type[Exception] = error) -> None:
            raise error("host=db.internal password=hunter2")

        monkeypatch.setattr(backend, "fetch_unread", fail)
        answer = ask("GET", "/key")
        problem = problem_of(answer, 503)
        assert problem["type"].endswith(f":{kind}")
        assert int(answer.headers["Retry-After"]) >= 1
        assert "hunter2" not in answer.text


def test_an_error_inside_is_500_without_a_trace_and_is_logged(
    world: World, ask: Ask, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world.app.config["PROPAGATE_EXCEPTIONS"] = False
    backend = world.runtime.shelves.parts("kv").bucket.backend
    for error in (RuntimeError("secret"), ConfigurationError("secret")):

        def fail(_key: Any, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(backend, "fetch_unread", fail)
        caplog.clear()
        with caplog.at_level(logging.ERROR):
            answer = ask("GET", "/key", headers={"X-Request-ID": "r-1"})
        assert problem_of(answer, 500)["type"].endswith(":internal-error")
        assert "secret" not in answer.text
        assert "Traceback" not in answer.text
        assert answer.headers["X-Request-ID"] == "r-1"
        assert "secret" in caplog.text


def test_a_developer_sees_the_error_itself(world: World, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_key: Any) -> None:
        raise RuntimeError("mine")

    monkeypatch.setattr(world.runtime.shelves.parts("kv").bucket.backend, "fetch_unread", fail)
    with pytest.raises(RuntimeError, match="mine"):
        ask("GET", "/key")


def test_a_subclass_of_an_error_is_the_problem_of_its_class() -> None:
    class Mine(StorageTimeout):
        """An application's own."""

    assert problem_for(Mine("x")).kind.name == "busy"


# -- JSON --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"", "no JSON"),
        (b"{", "no JSON"),
        (b'{"value": 1} x', "no JSON"),
        (b"\xef\xbb\xbf{}", "no JSON"),
        (b'{"value": "\xff"}', "no UTF-8"),
        (b'{"value": NaN}', "NaN"),
        (b'{"value": -Infinity}', "-Infinity"),
        (b'{"value": 1, "value": 2}', "twice"),
        (b'{"value": {"a": {"b": 1, "\\u0062": 2}}}', "twice"),
        (b'{"value": ' + b"[" * 100_000, "levels"),
        (b'{"value": ' + b"[" * 600 + b"]" * 600 + b"}", "levels"),
        (b'{"value": ' + b'{"a":' * 600 + b"1" + b"}" * 601, "levels"),
        (b'{"value": ' + b"9" * 5000 + b"}", "64 bits"),
    ],
    ids=lambda value: value[:20] if isinstance(value, bytes) else value,
)
def test_a_body_that_is_no_good_json_is_400(world: World, ask: Ask, text: bytes, told: str) -> None:
    answer = put(ask, text)
    problem = problem_of(answer, 400)
    assert problem["type"].endswith(":malformed-request")
    assert told in problem["detail"]
    assert len(answer.data) < 1000
    assert world.states.kv.count() == 0


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("{}", "value"),
        ("[]", "body"),
        ("null", "body"),
        ('{"value": 1e400}', "value"),
        ('{"value": 18446744073709551616}', "value"),
        ('{"value": "\\u0000"}', "value"),
        ('{"value": ["\\ud800"]}', "value.0"),
        ('{"value": ' + "[" * 101 + "]" * 101 + "}", None),
        ('{"value": 1, "valeu": 2}', "valeu"),
        ('{"value": 1, "\\ud800": 2}', "\ud800"),
        ('{"value": 1, "ttl": "30"}', "ttl"),
        ('{"value": 1, "ttl": true}', "ttl"),
        ('{"value": 1, "ttl": 0}', "ttl"),
        ('{"value": 1, "metadata": []}', "metadata"),
        ('{"value": 1, "metadata": {"ttl": "soon"}}', "metadata.ttl"),
        ('{"value": 1, "source": ""}', "source"),
        ('{"value": 1, "reason": "\\ud800"}', "reason"),
    ],
)
def test_a_body_that_means_nothing_here_is_422(world: World, ask: Ask, text: str, field: str | None) -> None:
    problem = problem_of(put(ask, text), 422)
    assert problem["type"].endswith(":invalid")
    assert field is None or field in problem["errors"]
    assert world.states.kv.count() == 0


def test_much_that_is_wrong_makes_no_large_answer(ask: Ask) -> None:
    members = {f"k{number}": 1 for number in range(5000)} | {"x" * 5000: 1}
    answer = ask("PUT", "/key", json=members)
    problem = problem_of(answer, 422)
    assert problem["errors"]["body"] == ["There is more: 5,002 members are wrong."]
    assert len(answer.data) < 10_000


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=x", "limit=10001", "unknown=1", "cursor=%25", "cursor=\u00e9", "prefix=%C3%A4"]
)
def test_a_query_that_means_nothing_here_is_422(ask: Ask, query: str) -> None:
    refused(ask, 422, "invalid", "GET", f"/keys?{query}")


def test_a_parameter_that_is_given_twice_is_refused(ask: Ask) -> None:
    refused(ask, 400, "malformed-request", "GET", "/keys?limit=1&limit=2")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/json; charset=latin-1"},
        {"Content-Type": JSON, "Content-Encoding": "gzip"},
    ],
)
def test_only_json_is_read(ask: Ask, headers: dict[str, str]) -> None:
    text = zlib.compress(b'{"value": 1}') if "Content-Encoding" in headers else b'{"value": 1}'
    refused(ask, 415, "unsupported-media-type", "PUT", "/key", data=text, headers=headers)
    assert data_of(ask("PUT", "/key", data=b'{"value": 1}', content_type="application/json; charset=UTF-8"))


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        (None, 200),
        ("", 200),
        ("*/*", 200),
        (JSON, 200),
        ("text/html, */*;q=0.1", 200),
        ("application/*", 200),
        ("application/json; charset=utf-8", 200),
        ("text/html", 406),
        ("application/json;q=0", 406),
        ("application/xml, text/*", 406),
    ],
)
def test_only_json_is_answered(ask: Ask, accept: str | None, status: int) -> None:
    answer = ask("GET", "/stats", headers={} if accept is None else {"Accept": accept})
    assert answer.status_code == status
    assert answer.mimetype == (JSON if status == 200 else "application/problem+json")


def test_a_large_body_is_413_announced_or_not(world: World, ask: Ask) -> None:
    large = b'{"value": "' + b"x" * 3_000_000 + b'"}'
    problem = refused(ask, 413, "too-large", "PUT", "/key", data=large, content_type=JSON)
    assert (problem["limit"], problem["value"]) == (3_000_000, len(large))
    chunked = {"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}
    more = {"input_stream": io.BytesIO(large), "content_type": JSON, "environ_overrides": chunked}
    assert refused(ask, 413, "too-large", "PUT", "/key", **more)["value"] == 3_000_001
    world.app.config["MAX_CONTENT_LENGTH"] = 100
    refused(ask, 413, "too-large", "PUT", "/key", json={"value": "x" * 200})
    assert world.states.kv.count() == 0


def test_a_large_value_is_413(ask: Ask) -> None:
    assert refused(ask, 413, "too-large", "PUT", "/key", json={"value": "x" * 1_100_000})["limit"] == 2**20


def test_a_body_in_chunks_is_read(ask: Ask) -> None:
    more: Any = {"environ_overrides": {"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}}
    more["input_stream"] = io.BytesIO(b'{"value": [1]}')
    assert data_of(ask("PUT", "/key", content_type=JSON, **more))["value"] == [1]


# -- conditions, ids, headers ------------------------------------------------------------------------------------------


def test_a_reader_who_has_the_version_gets_304(ask: Ask) -> None:
    ask("PUT", "/key", json={"value": 1})
    for tags in ('"1"', 'W/"1"', '"7", "1"', "*"):
        answer = ask("GET", "/key", headers={"If-None-Match": tags})
        assert (answer.status_code, answer.data, answer.headers["ETag"]) == (304, b"", '"1"')
        assert ask("HEAD", "/key", headers={"If-None-Match": tags}).status_code == 304
    assert ask("GET", "/key", headers={"If-None-Match": '"2"'}).status_code == 200
    assert ask("GET", "/key", headers={"If-Match": '"1"'}).status_code == 200
    problem_of(ask("GET", "/key", headers={"If-Match": '"2"'}), 412)


@pytest.mark.parametrize("tags", ["1", "", '"1', '"1" "2"', "w/1", '"1",', '"' + "1" * 5000 + '"'])
def test_a_condition_that_cannot_be_read_is_400(ask: Ask, tags: str) -> None:
    for header in ("If-Match", "If-None-Match"):
        refused(ask, 400, "malformed-request", "GET", "/key", headers={header: tags})


def test_an_application_can_demand_conditions() -> None:
    for world in entered(
        build("memory", "sqlite://", STATEMANAGER_API_ENABLED=True, STATEMANAGER_API_REQUIRE_MATCH=True)
    ):
        ask = asking(world)
        refused(ask, 428, "precondition-required", "PUT", "/key", json={"value": 1})
        assert ask("PUT", "/key", json={"value": 1}, headers={"If-None-Match": "*"}).status_code == 201
        refused(ask, 428, "precondition-required", "DELETE", "/key")
        assert ask("GET", "/key").status_code == 200
        assert ask("DELETE", "/key", headers={"If-Match": '"1"'}).status_code == 200


def test_the_request_id_comes_back_and_is_written_down(world: World, ask: Ask) -> None:
    answer = ask("PUT", "/key", json={"value": 1}, headers={"X-Request-ID": "r-1"})
    assert answer.headers["X-Request-ID"] == "r-1"
    assert ask("GET", "/missing", headers={"X-Request-ID": "r-2"}).headers["X-Request-ID"] == "r-2"
    assert ask("GET", "/", headers={"X-Request-ID": "r-3"}).headers["X-Request-ID"] == "r-3"
    for unfit in ("a b", "", "x" * 201, "ä"):
        assert "X-Request-ID" not in ask("GET", "/key", headers={"X-Request-ID": unfit}).headers
    assert "X-Request-ID" not in ask("GET", "/key").headers


def test_answers_are_not_kept_by_caches_that_others_use(ask: Ask) -> None:
    ask("PUT", "/key", json={"value": 1})
    assert ask("GET", "/key").headers["Cache-Control"] == "private, no-cache"
    assert ask("GET", "/missing").headers["Cache-Control"] == "no-store"


def test_head_and_options_are_answered(ask: Ask) -> None:
    ask("PUT", "/key", json={"value": 1})
    head = ask("HEAD", "/key")
    assert (head.status_code, head.data, head.headers["ETag"]) == (200, b"", '"1"')
    assert int(head.headers["Content-Length"]) == len(ask("GET", "/key").data)
    assert set(ask("OPTIONS", "/key").headers["Allow"].split(", ")) >= {"GET", "PUT", "DELETE"}


def test_a_link_holds_what_was_asked_for_behind_a_mount_point(world: World) -> None:
    for name in ("a+b", "a=c"):
        world.states.kv.set(name, 1)
    answer = world.app.test_client().get(f"{PREFIX}/keys?prefix=a&limit=1", base_url="http://localhost/mounted")
    link = answer.headers["Link"]
    assert link.startswith(f"</mounted{PREFIX}/keys?prefix=a&limit=1&cursor=")
    assert link.endswith('>; rel="next"')


# -- conditions while others write -------------------------------------------------------------------------------------


ANY, SOME, FIVE = Tags(True, frozenset()), Tags(False, frozenset((4, 5))), Tags(False, frozenset((5,)))


def raced(conditions: Preconditions, versions: list[int | None], lost: list[StateConflict]) -> tuple[Any, list[Any]]:
    """Guard a write that loses races while there are any to lose; return what came of it, and what was tried."""
    tried: list[int | None] = []

    def write(version: int | None) -> str:
        tried.append(version)
        if lost:
            raise lost.pop()
        return "written"

    try:
        return conditions.guard(lambda: versions.pop(0), write), tried
    except (Problem, StateConflict) as refused:
        return refused, tried


def test_a_condition_is_looked_at_anew_when_a_race_was_lost() -> None:
    lost = StateConflict("key", 4, 5)
    assert raced(Preconditions(ANY), [4, 5], [lost]) == ("written", [4, 5])
    assert raced(Preconditions(SOME), [4, 5], [lost]) == ("written", [4, 5])
    refused, tried = raced(Preconditions(SOME), [4, 6], [lost])
    assert (refused.kind, refused.members, tried) == (PRECONDITION_FAILED, {"actual": 6}, [4])
    refused, tried = raced(Preconditions(None, ANY), [None, 1], [lost])
    assert (refused.kind, tried) == (PRECONDITION_FAILED, [None])


def test_a_race_that_is_lost_again_and_again_is_a_conflict() -> None:
    refused, tried = raced(Preconditions(ANY), [4] * 20, [StateConflict("key", 4, 5)] * 20)
    assert isinstance(refused, StateConflict)
    assert len(tried) == 10


def test_the_one_version_that_is_expected_is_not_looked_for_first() -> None:
    assert raced(Preconditions(FIVE), [], []) == ("written", [5])
    refused, _tried = raced(Preconditions(FIVE), [], [StateConflict("key", 5, 6)])
    assert (refused.kind, refused.members) == (PRECONDITION_FAILED, {"actual": 6})
    for race in (StateConflict("key", None, None), StateConflict("key", 5, 5)):
        assert raced(Preconditions(FIVE), [], [race])[0] is race
