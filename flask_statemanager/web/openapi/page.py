"""The document as a page: what the template shows, made from the document alone."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode

from markupsafe import Markup, escape
from msgspec import Struct
from msgspec.structs import replace

from .schemas import JSONSchema, example_of

METHODS = ("get", "post", "put", "patch", "delete")

_CODE = re.compile(r"`([^`]+)`")
_BOUNDS = {
    "minimum": "≥ {}",
    "maximum": "≤ {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
}
_HUGE = 2**53


class Row(Struct, frozen=True):
    """A parameter, or a member of an object.

    :param name: its name.
    :param place: where it stands: ``path``, ``query``, ``header`` or, in an object, nothing.
    :param required: whether it must be there.
    :param kind: its type, in words.
    :param description: what it means.
    :param notes: what limits it.
    :param example: one value as it is sent, or None.
    """

    name: str
    place: str
    required: bool
    kind: Markup
    description: Markup
    notes: str
    example: str | None


class Entry(Struct, frozen=True):
    """One response of an operation.

    :param status: its status.
    :param description: what it means.
    :param headers: the names of its headers.
    :param kind: what its body is, in words.
    :param example: a body, or None.
    """

    status: str
    description: Markup
    headers: list[str]
    kind: Markup
    example: str | None


class Shown(Struct, frozen=True):
    """One operation.

    :param name: its name, which is its anchor.
    :param method: the HTTP method.
    :param path: its path.
    :param summary: what it does.
    :param description: what else is to know.
    :param parameters: what it takes beside a body.
    :param body: what the body is, in words; None for none.
    :param media_types: what the body may be.
    :param body_example: a body, or None.
    :param curl: a command.
    :param answers: its good responses.
    :param problems: the statuses of its problems.
    """

    name: str
    method: str
    path: str
    summary: str
    description: Markup
    parameters: list[Row]
    body: Markup | None
    media_types: list[str]
    body_example: str | None
    curl: str
    answers: list[Entry]
    problems: list[str]


class Page:
    """Shows a document.

    :param document: the document.
    :param url: where the API is, for the commands.
    """

    def __init__(self, document: Mapping[str, Any], url: str) -> None:
        self._document = document
        self._components = document["components"]
        self._url = url
        self.info = document["info"]
        self.introduction = prose(self.info["description"])

    def sections(self) -> Iterator[tuple[str, Markup, list[Shown]]]:
        """Yield name, description and operations of each group."""
        for tag in self._document["tags"]:
            shown = [
                self._shown(path, method, item[method])
                for path, item in self._document["paths"].items()
                for method in METHODS
                if method in item and tag["name"] in item[method]["tags"]
            ]
            yield tag["name"], prose(tag["description"]), shown

    def schemas(self) -> Iterator[tuple[str, Markup, list[Row]]]:
        """Yield name, description and members of each schema."""
        for name, schema in self._components["schemas"].items():
            required = schema.get("required", ())
            members = schema.get("properties", {}).items()
            rows = [self._row(member, "", member in required, part) for member, part in members]
            yield name, prose(schema.get("description", "")), rows

    def problems(self) -> Iterator[tuple[str, list[tuple[str, str]]]]:
        """Yield the status of each problem, with the types and titles that it may have."""
        for name, response in self._components["responses"].items():
            [content] = response["content"].values()
            examples = content["examples"].values()
            yield name.removeprefix("Problem"), [(each["value"]["type"], each["summary"]) for each in examples]

    def _shown(self, path: str, method: str, operation: Mapping[str, Any]) -> Shown:
        parameters = [self._resolved(each, "parameters") for each in operation["parameters"]]
        body = operation.get("requestBody")
        contents = {} if body is None else body["content"]
        content = next(iter(contents.values()), None)
        responses = operation["responses"].items()
        return Shown(
            operation["operationId"],
            method.upper(),
            path,
            operation["summary"],
            prose(operation["description"]),
            [self._parameter(each) for each in parameters],
            None if content is None else self._kind(content["schema"]),
            list(contents),
            None if content is None else written(content["example"]),
            self._curl(path, method, parameters, contents),
            [self._entry(status, told) for status, told in responses if "$ref" not in told],
            [status for status, told in responses if "$ref" in told],
        )

    def _resolved(self, part: Mapping[str, Any], group: str) -> Mapping[str, Any]:
        if "$ref" not in part:
            return part
        found: Mapping[str, Any] = self._components[group][part["$ref"].rpartition("/")[2]]
        return found

    def _parameter(self, parameter: Mapping[str, Any]) -> Row:
        schema = {"description": parameter.get("description", ""), **parameter["schema"]}
        row = self._row(parameter["name"], parameter["in"], parameter.get("required", False), schema)
        given = schema.get("examples")
        return row if given is None else replace(row, example=_in_url(given[0]))

    def _row(self, name: str, place: str, required: bool, schema: JSONSchema) -> Row:
        given = schema.get("examples")
        return Row(
            name,
            place,
            required,
            self._kind(schema),
            prose(schema.get("description", "")),
            "; ".join(_notes(schema)),
            None if given is None else json.dumps(given[0], ensure_ascii=False),
        )

    def _entry(self, status: str, told: Mapping[str, Any]) -> Entry:
        contents: dict[str, dict[str, Any]] = told.get("content", {})
        content = next(iter(contents.values()), {})
        data = content.get("schema", {}).get("properties", {}).get("data")
        kind = escape(" or ".join(contents)) if data is None else self._kind(data)
        example = content.get("example")
        example = example if example is None or isinstance(example, str) else written(example)
        return Entry(status, prose(told["description"]), list(told.get("headers", ())), kind, example)

    def _kind(self, schema: JSONSchema) -> Markup:
        """Write a type in words, with links to the schemas that it names."""
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            return Markup('<a href="#schema-{0}">{0}</a>').format(name)
        if "anyOf" in schema:
            return Markup(" or ").join(self._kind(each) for each in schema["anyOf"])
        if "const" in schema:
            return escape(json.dumps(schema["const"]))
        if "enum" in schema:
            return Markup(" ").join(Markup("<code>{}</code>").format(each) for each in schema["enum"])
        kinds = schema.get("type", "any JSON value")
        named = Markup(" or ").join([kinds] if isinstance(kinds, str) else kinds)
        if "items" in schema:
            return Markup("{} of {}").format(named, self._kind(schema["items"]))
        return Markup("{} ({})").format(named, schema["format"]) if "format" in schema else named

    def _curl(self, path: str, method: str, parameters: list[Mapping[str, Any]], contents: Mapping[str, Any]) -> str:
        """Write a command with what is required, and with the example of the body."""
        needed = [each for each in parameters if each.get("required")]
        values = {each["name"]: str(example_of(each["schema"], {})) for each in needed}
        for each in needed:
            if each["in"] == "path":
                path = path.replace(f"{{{each['name']}}}", quote(values[each["name"]], safe="/:@+=~"))
        asked = urlencode({each["name"]: values[each["name"]] for each in needed if each["in"] == "query"})
        url = f"{self._url}{path}{'?' if asked else ''}{asked}"
        words = ["curl", *([] if method == "get" else ["-X", method.upper()]), shlex.quote(url)]
        lines = [" ".join(words), '-H "Authorization: Bearer $TOKEN"']
        for media_type, content in list(contents.items())[:1]:
            body = json.dumps(content["example"], ensure_ascii=False)
            lines += [f"-H {shlex.quote(f'Content-Type: {media_type}')}", f"-d {shlex.quote(body)}"]
        return " \\\n  ".join(lines)


def prose(text: str) -> Markup:
    """Write text as paragraphs; what stands in backquotes becomes code.

    :param text: the text.
    """
    return Markup("").join(Markup("<p>{}</p>").format(_marked(each)) for each in text.strip().split("\n\n") if each)


def _marked(text: str) -> Markup:
    parts = _CODE.split(text)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if index % 2 else escape(part) for index, part in enumerate(parts)
    )


def written(value: Any) -> str:
    """Write a JSON value over several lines.

    :param value: the value.
    """
    return json.dumps(value, indent=2, ensure_ascii=False)


def _in_url(value: Any) -> str:
    """Write a value as it stands in a path, a query or a header."""
    if isinstance(value, list):
        return ",".join(map(_in_url, value))
    if isinstance(value, dict):
        return "&".join(f"{name}={_in_url(part)}" for name, part in value.items())
    return value if isinstance(value, str) else json.dumps(value)


def _notes(schema: JSONSchema) -> Iterator[str]:
    for name, wording in _BOUNDS.items():
        if name in schema and abs(schema[name]) < _HUGE and (name, schema[name]) != ("minLength", 1):
            yield wording.format(schema[name])
    if "default" in schema:
        yield f"default {json.dumps(schema['default'])}"
