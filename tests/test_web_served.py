"""The API behind a real server: the reference's commands as printed, paths as they are sent, bodies in chunks."""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from flask_statemanager import StateManager
from tests.processes.live_application import build
from tests.servers.web_server import WebServer
from tests.test_web_identity import digest

TOKEN = "0f4a-token"
DEBUG_COMMANDS = """
# Get state statistics
curl -H "Authorization: Bearer $TOKEN" \\
  http://localhost:8081/api/v1/state/stats

# List all keys with prefix
curl -H "Authorization: Bearer $TOKEN" \\
  "http://localhost:8081/api/v1/state/keys?prefix=session:"
"""
"""As the reference prints them."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebServer]:
    """Gunicorn, with two processes of four threads, on an SQLite file."""
    folder = tmp_path_factory.mktemp("served")
    config: dict[str, Any] = {
        "SQLALCHEMY_DATABASE_URI": f"sqlite:///{folder / 'served.sqlite'}",
        "STATEMANAGER_API_ENABLED": True,
        "STATEMANAGER_API_TOKENS": {digest(TOKEN): {"user": "ada", "roles": ["admin"]}},
        "STATEMANAGER_API_MAX_BODY": 100_000,
        "STATEMANAGER_SNAPSHOTS": str(folder / "snapshots"),
    }
    app = build(config)
    with app.app_context():
        db = app.extensions["sqlalchemy"]
        db.create_all()
        StateManager().kv.set_many({"session:user123": {"a": 1}, "session:user456": None})
        db.engine.dispose()
    StateManager.reset_instance()
    with WebServer("gthread", config, "--workers", "2", "--threads", "4") as running:
        yield running


def ask(
    server: WebServer, method: str, path: str, body: Any = None, *, chunked: bool = False, **headers: str
) -> tuple[int, str, Any]:
    """Return status, media type and JSON of an answer; the path is sent as it stands."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    given = {"Authorization": f"Bearer {TOKEN}", **headers}
    if body is not None:
        given["Content-Type"] = "application/json"
    try:
        connection.request(method, f"/api/v1/state{path}", body, given, encode_chunked=chunked)
        answer = connection.getresponse()
        return answer.status, answer.headers.get_content_type(), json.loads(answer.read() or b"null")
    finally:
        connection.close()


def test_the_commands_of_the_reference_work_as_printed(server: WebServer) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not installed")
    commands = DEBUG_COMMANDS.replace(":8081", f":{server.port}").replace("curl ", f"{curl} -sS --noproxy '*' ")
    done = subprocess.run(
        ["/bin/sh", "-ec", commands], env={"TOKEN": TOKEN}, capture_output=True, timeout=120, check=True, text=True
    )
    statistics, keys = (json.loads(line) for line in done.stdout.replace("}}{", "}}\n{").splitlines())
    assert {"total_keys", "total_size", "version", "metadata_keys"} <= statistics["data"].keys()
    assert keys == {"success": True, "data": {"keys": ["session:user123", "session:user456"], "total": 2}}


@pytest.mark.parametrize(
    ("path", "key"),
    [("/a%2Fb%3Ac", "a/b:c"), ("/d/e:f", "d/e:f"), ("/g%2fh", "g/h"), ("/i+j", "i+j"), ("/keys/stats", "stats")],
)
def test_a_key_is_the_same_however_its_path_is_written(server: WebServer, path: str, key: str) -> None:
    assert ask(server, "PUT", path, '{"value": 1}')[0] in (200, 201)
    assert ask(server, "GET", f"/keys/{key}")[2]["data"]["key"] == key
    assert ask(server, "GET", path)[2]["data"] == {"key": key, "value": 1, "version": 1}
    assert ask(server, "DELETE", path)[2]["data"]["removed"] is True


@pytest.mark.parametrize(
    "path", ["//x", "/x//y", "/x/", "/x%2F", "/%2Fx", "/x%2F%2Fy", "/x%00", "/x%C3", "", "/", "/x/../y"]
)
def test_a_path_that_is_no_key_writes_none_and_leads_nowhere_else(server: WebServer, path: str) -> None:
    status, media_type, problem = ask(server, "PUT", path, '{"value": 1}')
    assert (status in (404, 405, 422), media_type) == (True, "application/problem+json")
    assert problem["status"] == status
    assert ask(server, "GET", "/keys?prefix=x")[2]["data"]["total"] == 0
    assert ask(server, "GET", "/y")[0] == 404


def test_a_body_in_chunks_is_read_up_to_the_limit(server: WebServer) -> None:
    small = [b'{"value": ', b'"abc"', b"}"]
    assert ask(server, "PUT", "/chunks", iter(small), chunked=True)[2]["data"]["value"] == "abc"
    large = [b'{"value": "', *[b"x" * 10_000] * 20, b'"}']
    status, media_type, _problem = ask(server, "PUT", "/chunks", iter(large), chunked=True)
    assert (status, media_type) == (413, "application/problem+json")
    assert ask(server, "GET", "/chunks")[2]["data"]["version"] == 1


@pytest.mark.parametrize("body", [b'zz\r\n{"value": 1}\r\n0\r\n\r\n', b'5\r\n{"val\r\nzz\r\n'])
def test_malformed_chunks_are_the_clients_fault(server: WebServer, body: bytes) -> None:
    status, media_type, problem = ask(server, "PUT", "/broken", body, **{"Transfer-Encoding": "chunked"})
    assert (status, media_type) == (400, "application/problem+json")
    assert "chunks" in problem["detail"]
    assert ask(server, "GET", "/broken")[0] == 404


def test_both_processes_answer_alike(server: WebServer) -> None:
    ask(server, "PUT", "/shared", '{"value": 0}')
    for number in range(1, 11):
        assert ask(server, "PUT", "/shared", json.dumps({"value": number}))[0] == 200
        assert ask(server, "GET", "/shared")[2]["data"] == {"key": "shared", "value": number, "version": number + 1}
