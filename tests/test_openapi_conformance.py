"""Schemathesis asks the API whatever its OpenAPI document allows, and what it does not, and looks at every answer."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from flask_statemanager.web.mounting import GROUPS
from tests.worlds import World, build, entered, uri_for

PREFIX = "/api/v1/state"
EXAMPLES = 8
"""Requests for each operation, of each kind."""

SECRET = "conformance"
HEADERS = {"Authorization": f"Bearer {SECRET}"}
TOKENS = {hashlib.sha256(SECRET.encode()).hexdigest(): {"user": "ada", "roles": ["admin"]}}

THERE = {"state_id": "user_1", "key": "session:user123", "state_type": "user", "transition": "activate"}
"""What is there before every request, so that more than its absence is found."""

ENDLESS = frozenset(("socket_events", "stream_events"))
"""Operations whose answers never end."""

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
"""What holds for every answer. Whether a request is acceptable is more than a document can say."""

quick = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """An application that answers at its API, and answers errors as it would in production."""
    uri = uri_for(request.param, tmp_path, request)
    config = {"STATEMANAGER_API_ENABLED": True, "STATEMANAGER_API_TOKENS": TOKENS, "PROPAGATE_EXCEPTIONS": False}
    yield from entered(build(request.param, uri, **config))


def provide(world: World) -> None:
    """Make sure that there is what requests are about."""
    world.states.register_state(THERE["state_id"], THERE["state_type"], {"plan": "pro"}, if_exists="ignore")
    world.states.kv.set(THERE["key"], {"cart": []})


def ask_everything(world: World, mode: GenerationMode, paths: dict[str, str]) -> Counter[str]:
    """Ask for every operation, and return how many answers of which status there were."""
    schema = schemathesis.openapi.from_wsgi(f"{PREFIX}/openapi.json", world.app, headers=HEADERS)
    statuses: Counter[str] = Counter()
    asked = 0
    for result in schema.get_all_operations():
        operation = result.ok()
        asked += 1
        if operation.definition.raw["operationId"] in ENDLESS:
            continue
        fixed = {name: value for name, value in paths.items() if f"{{{name}}}" in operation.path}

        @quick
        @given(case=operation.as_strategy(generation_mode=mode, path_parameters=fixed or None))
        def ask(case: Any) -> None:
            provide(world)
            answer = case.call_and_validate(headers=HEADERS, checks=CHECKS)
            statuses[str(answer.status_code)[0]] += 1

        ask()
    assert asked == len(ENDLESS) + sum(1 for group in GROUPS for _operation in group)
    return statuses


@pytest.mark.slow
@pytest.mark.parametrize("served", ["postgresql"], indirect=True)
def test_what_the_document_allows_is_answered_as_it_says(served: World) -> None:
    statuses = ask_everything(served, GenerationMode.POSITIVE, THERE)
    assert statuses["5"] == 0
    assert statuses["2"] > statuses["4"] / 2


@pytest.mark.slow
@pytest.mark.parametrize("served", ["sqlite"], indirect=True)
def test_what_the_document_does_not_allow_is_refused_as_it_says(served: World) -> None:
    statuses = ask_everything(served, GenerationMode.NEGATIVE, {})
    assert statuses["5"] == 0
    assert statuses["4"] > statuses["2"]
