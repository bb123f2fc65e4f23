"""The OpenAPI document and its page: valid, complete, shown to whom they should be, and in nobody's way."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask_smorest import Api, Blueprint
from jsonschema import Draft202012Validator
from marshmallow import Schema, fields
from openapi_spec_validator import validate

from flask_statemanager import StateManager
from flask_statemanager.web.mounting import GROUPS
from flask_statemanager.web.openapi.schemas import example_of, json_schema

PREFIX = "/api/v1/state"
OPERATIONS = {operation.name for group in GROUPS for operation in group} | {"socket_events", "stream_events"}
TOKENS = {hashlib.sha256(b"secret").hexdigest(): {"user": "ada", "roles": []}}


def make_app(**config: Any) -> Flask:
    """Make an app that answers at its API."""
    StateManager.reset_instance()
    app = Flask("documented")
    app.config.update(STATEMANAGER_API_ENABLED=True, STATEMANAGER_BACKEND="memory", TESTING=True, **config)
    StateManager(app)
    return app


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """Forget the manager afterwards."""
    yield
    StateManager.reset_instance()


@pytest.fixture(scope="module")
def document() -> Any:
    """The document of an app."""
    found = make_app().test_client().get(f"{PREFIX}/openapi.json").json
    StateManager.reset_instance()
    return found


def operations_of(document: Any) -> dict[str, Any]:
    """Return the operations by name."""
    methods = ("get", "post", "put", "patch", "delete")
    items = document["paths"].values()
    return {item[method]["operationId"]: item[method] for item in items for method in methods if method in item}


def test_the_document_is_valid_and_knows_every_operation(document: Any) -> None:
    validate(document)
    assert document["openapi"].startswith("3.1")
    assert document["servers"] == [{"url": PREFIX}]
    assert operations_of(document).keys() == OPERATIONS


def test_every_operation_says_what_it_needs_and_what_can_go_wrong(document: Any) -> None:
    assert document["security"] == [{"bearer": []}]
    for name, operation in operations_of(document).items():
        assert operation["summary"], name
        assert re.search(r"Needs the permission `(read|write|admin)`\.$", operation["description"]), name
        assert {"400", "401", "403", "429", "503"} <= operation["responses"].keys(), name
        assert all(each in operation["responses"] for each in ("413", "415", "422") if "requestBody" in operation), name
    patch = operations_of(document)["patch_state"]
    assert patch["requestBody"]["content"].keys() == {"application/json", "application/merge-patch+json"}
    headers = {each["$ref"].rpartition("/")[2] for each in patch["parameters"] if "$ref" in each}
    assert headers == {"If-Match", "If-None-Match", "Idempotency-Key", "X-Request-ID"}
    assert {"200", "404", "409", "412"} <= patch["responses"].keys()
    assert "428" not in patch["responses"]
    assert "304" in operations_of(document)["get_state"]["responses"]
    assert patch["responses"]["200"]["headers"].keys() == {"ETag"}


def test_428_is_documented_where_conditions_are_demanded() -> None:
    answer = make_app(STATEMANAGER_API_REQUIRE_MATCH=True).test_client().get(f"{PREFIX}/openapi.json")
    operations = operations_of(answer.json)
    assert "428" in operations["patch_state"]["responses"]
    assert "428" not in operations["get_state"]["responses"]
    assert "428" not in operations["make_transition"]["responses"]


def test_examples_fit_their_schemas(document: Any) -> None:
    components = {"components": document["components"]}
    checked = 0
    for operation in operations_of(document).values():
        contents = [*operation.get("requestBody", {}).get("content", {}).values()]
        for response in operation["responses"].values():
            contents += response.get("content", {}).values()
        for content in contents:
            if "example" in content:
                Draft202012Validator({**content["schema"], **components}).validate(content["example"])
                checked += 1
    assert checked > 20


def test_a_list_in_one_parameter_is_not_exploded_and_conditions_are_parameters_of_their_own(document: Any) -> None:
    parameters = {each.get("name"): each for each in operations_of(document)["list_states"]["parameters"]}
    assert (parameters["status"]["style"], parameters["status"]["explode"]) == ("form", False)
    assert parameters["filters"]["schema"]["type"] == "object"
    assert "explode" not in parameters["filters"]  # an object is exploded by default


class Reader(HTMLParser):
    """Collects what the page is made of."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.handlers: list[str] = []
        self.blocks: list[str] = []
        self._inside = False

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attributes:
            if name == "id":
                self.ids.append(str(value))
            if name in ("href", "src"):
                self.links.append(str(value))
            if name.startswith("on") or name == "style":
                self.handlers.append(name)
        if tag == "pre":
            self._inside = True
            self.blocks.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag != "pre"

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.blocks[-1] += data


def test_the_page_shows_every_operation_and_schema_and_loads_nothing_from_elsewhere(document: Any) -> None:
    answer = make_app().test_client().get(f"{PREFIX}/docs")
    page = Reader()
    page.feed(answer.text)
    assert answer.mimetype == "text/html"
    assert {*operations_of(document), *(f"schema-{name}" for name in document["components"]["schemas"])} <= {*page.ids}
    assert len(page.ids) == len(set(page.ids))
    assert "script" not in page.tags
    assert page.handlers == []
    assert {link for link in page.links if not link.startswith("#")} == {
        f"{PREFIX}/openapi.json",
        f"{PREFIX}/docs/api.css",
    }
    assert {link[1:] for link in page.links if link.startswith("#")} <= {*page.ids}
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'self'")
    assert "unsafe" not in policy


def test_the_commands_of_the_page_are_answered_as_the_page_says() -> None:
    client = make_app().test_client()
    page = Reader()
    page.feed(client.get(f"{PREFIX}/docs").text)
    commands = [shlex.split(block.replace("\\\n", " ")) for block in page.blocks if block.startswith("curl ")]
    assert len(commands) == len(OPERATIONS)
    client.post(f"{PREFIX}/states", json={"type": "user", "state_id": "user_1"})
    for command in commands:
        method = command[command.index("-X") + 1] if "-X" in command else "GET"
        [url] = [word for word in command if word.startswith("http://localhost/")]
        headers = dict(command[at + 1].split(": ", 1) for at, word in enumerate(command) if word == "-H")
        body = command[command.index("-d") + 1] if "-d" in command else None
        headers.pop("Authorization")
        if "/events" in url:
            continue  # they never end
        answer = client.open(url, method=method, headers=headers, data=body)
        assert answer.status_code in (200, 201, 404, 409), (command, answer.text)


def test_live_events_are_described_where_there_are_any(document: Any) -> None:
    stream = document["paths"]["/events/stream"]["get"]
    assert stream["responses"]["200"]["content"].keys() == {"text/event-stream"}
    assert {each["name"] for each in stream["parameters"]} == {"bucket", "prefix", "type", "since", "Last-Event-ID"}
    assert {"101", "426", "501"} <= document["paths"]["/events"]["get"]["responses"].keys()
    without = make_app(STATEMANAGER_BROADCAST_CHANGES=False).test_client().get(f"{PREFIX}/openapi.json").json
    assert without is not None
    assert not [path for path in without["paths"] if "events" in path]


def test_text_of_the_document_is_text_on_the_page() -> None:
    app = make_app(STATEMANAGER_API_DOCS="public")
    answer = app.test_client().get(f"{PREFIX}/docs", headers={"Host": 'a"><script>x</script>'})
    assert "<script" not in answer.text


@pytest.mark.parametrize(
    ("shown_to", "anonymous", "known"), [("read", 401, 200), ("public", 200, 200), ("off", 404, 404)]
)
@pytest.mark.parametrize("path", ["/openapi.json", "/docs"])
def test_it_is_shown_to_whom_the_configuration_says(path: str, shown_to: str, anonymous: int, known: int) -> None:
    client = make_app(STATEMANAGER_API_TOKENS=TOKENS, STATEMANAGER_API_DOCS=shown_to).test_client()
    assert client.get(PREFIX + path).status_code == anonymous
    answer = client.get(PREFIX + path, headers={"Authorization": "Bearer secret"})
    assert answer.status_code == known
    if known == 200:
        tag = {"Authorization": "Bearer secret", "If-None-Match": answer.headers["ETag"]}
        assert client.get(PREFIX + path, headers=tag).status_code == 304


def test_every_operation_asks_who_it_is(document: Any) -> None:
    client = make_app(STATEMANAGER_API_TOKENS=TOKENS).test_client()
    for path, item in document["paths"].items():
        # Whatever asks for events without being a WebSocket is told so first.
        for method in item.keys() & {"get", "post", "put", "patch", "delete"} if path != "/events" else ():
            answer = client.open(PREFIX + re.sub(r"{\w+}", "user", path), method=method.upper(), json={})
            assert (answer.status_code, answer.mimetype) == (401, "application/problem+json"), (method, path)
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("bucket", ["state", "flows", "nothing"])
def test_buckets_that_hold_no_keys_and_values_are_refused(bucket: str) -> None:
    answer = make_app().test_client().get(f"{PREFIX}/keys?bucket={bucket}")
    assert (answer.status_code, answer.get_json(force=True)["errors"].keys()) == (422, {"bucket"})


def test_below_a_mount_point_the_links_lead_below_it() -> None:
    client = make_app(STATEMANAGER_API_PREFIX="/states-api").test_client()
    below = {"SCRIPT_NAME": "/shop"}
    answer = client.get("/states-api/openapi.json", environ_overrides=below)
    assert answer.json is not None
    assert answer.json["servers"] == [{"url": "/shop/states-api"}]
    page = client.get("/states-api/docs", environ_overrides=below).text
    assert "/shop/states-api/docs/api.css" in page
    assert "http://localhost/shop/states-api/states" in page


def test_an_application_s_own_smorest_api_stays_as_it_is() -> None:
    app = make_app(API_TITLE="Shop", API_VERSION="v1", OPENAPI_VERSION="3.0.3", OPENAPI_URL_PREFIX="/")
    api = Api(app)
    pets = Blueprint("pets", "pets", url_prefix="/pets")

    class Query(Schema):
        name = fields.String(required=True)

    @pets.route("/")
    @pets.arguments(Query, location="query")
    @pets.response(200, Query)
    def look(asked: dict[str, str]) -> dict[str, str]:
        return asked

    api.register_blueprint(pets)
    client = app.test_client()
    theirs, ours = client.get("/openapi.json").json, client.get(f"{PREFIX}/openapi.json").json
    assert theirs is not None
    assert ours is not None
    assert (theirs["info"]["title"], list(theirs["paths"])) == ("Shop", ["/pets/"])
    assert ours["info"]["title"] == "State API"
    assert not any("pets" in path for path in ours["paths"])
    refused = client.get("/pets/")
    assert (refused.status_code, refused.mimetype) == (422, "application/json")
    assert refused.json == {
        "code": 422,
        "errors": {"query": {"name": ["Missing data for required field."]}},
        "status": "Unprocessable Entity",
    }
    assert client.get("/pets/?name=rex").json == {"name": "rex"}
    missing = client.get("/nothing")
    assert missing.json == {"code": 404, "status": "Not Found"}
    assert client.get(f"{PREFIX}/states/nobody").mimetype == "application/problem+json"
    assert client.get(f"{PREFIX}/states?limit=0").mimetype == "application/problem+json"


class Node(Schema):
    """A tree, for its schema."""

    name = fields.String(required=True, metadata={"examples": ["root"]})
    children = fields.List(fields.Nested(lambda: Node()))  # noqa: PLW0108 - its name is not known yet
    parent = fields.Nested(lambda: Node(), allow_none=True)  # noqa: PLW0108


def test_the_schema_of_a_type_s_data_is_complete_in_itself_even_where_it_is_recursive() -> None:
    found = json.loads(json.dumps(json_schema(Node())))
    validator = Draft202012Validator(found)
    validator.check_schema(found)
    validator.validate({"name": "a", "children": [{"name": "b", "children": []}], "parent": None})
    assert [error.message for error in validator.iter_errors({"children": [{"name": 1}]})] == [
        "1 is not of type 'string'",
        "'name' is a required property",
    ]


def test_an_example_is_made_of_what_a_schema_says() -> None:
    nested = {"$ref": "#/components/schemas/Inner"}
    inner = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string"}}, "required": ["a"]}
    loop = {"type": "object", "properties": {"loop": {"$ref": "#/components/schemas/Loop"}}, "required": ["loop"]}
    components = {"Inner": inner, "Loop": loop}
    assert example_of({"anyOf": [nested, {"type": "null"}]}, components) == {"a": 1}
    assert example_of({"type": "array", "items": nested}, components) == [{"a": 1}]
    assert example_of({"type": ["string", "null"]}, {}) is None
    assert example_of({"enum": ["x", "y"]}, {}) == "x"
    assert example_of({"const": False}, {}) is False
    assert example_of({"type": "integer", "default": 50}, {}) == 50
    assert str(example_of(loop, components)).count("loop") <= 8


def test_the_style_sheet_knows_light_dark_and_small() -> None:
    answer = make_app(STATEMANAGER_API_TOKENS=TOKENS).test_client().get(f"{PREFIX}/docs/api.css")
    assert answer.mimetype == "text/css"
    assert "prefers-color-scheme: dark" in answer.text
    assert "max-width: 40rem" in answer.text
    assert "url(" not in answer.text
    assert answer.text == (Path(__file__).parents[1] / "flask_statemanager/web/openapi/static/api.css").read_text()
