"""What gunicorn serves for the benchmarks over HTTP: an application for each way, so that each pushes one context."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime, timezone
from typing import Any

import psycopg
from flask import Flask, Response, abort, jsonify

from benchmarks.extension import NEAR_CACHE, Extension
from benchmarks.floor import PostgresFloor, SqliteFloor
from benchmarks.ground import Store
from benchmarks.peers.host import Host
from benchmarks.peers.orm import Accounts
from flask_statemanager import Machine, Transition

KEEPING, KEPT = "keeping", "kept_"
"""A type whose states stay where they are, and what their ids begin with."""

RENEW = "renew"
TOKEN = "bench"
API = {
    "api_enabled": True,
    "api_tokens": {hashlib.sha256(TOKEN.encode()).hexdigest(): {"user": "bench", "roles": ["admin"]}},
}
"""The config of an application with the API."""

AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}
"""The headers of who uses it."""


def declare(extension: Extension) -> None:
    """Declare the type of the states that are moved.

    :param extension: the application.
    """
    machine = Machine(initial="active", transitions=[Transition(RENEW, ["active"], "active")])
    extension.manager.define(KEEPING, machine)
    extension.equip(KEEPING)


def served(short: str, url: str, orm_url: str, redis_url: str, stack: ExitStack | None = None) -> Callable[..., Any]:
    """Return the applications that gunicorn serves.

    :param short: the kind of database.
    :param url: where the states are.
    :param orm_url: where the ORM's rows are.
    :param redis_url: of the near cache's Redis; empty for none.
    :param stack: closes what is opened; None where that ends with the process.
    """
    store, stack = Store(short, "", str), stack or ExitStack()
    apps = {"hello": _bare(short, url), "orm": _accounts(orm_url, store)}
    apps |= dict.fromkeys(("raw", "raw-key"), apps["hello"])

    def extended(way: str, add: Callable[[str, Extension], object], **config: Any) -> None:
        extension = Extension(store, stack, url=url, tables=False, **config)
        add(way, extension)
        apps[way] = extension.app

    extended("state", _states)
    extended("api", lambda _way, extension: declare(extension), api_prefix="/api", **API)
    extended("tracked", _hello, track_requests=True)
    extended("unsampled", _hello, track_requests=True, track_sample=0.0)
    if redis_url:
        extended("near", _states, cache_url=redis_url, **NEAR_CACHE)
        extended("api-near", _nothing, api_prefix="/api-near", cache_url=redis_url, **NEAR_CACHE, **API)

    def answer(environ: dict[str, Any], start_response: Any) -> Any:
        return apps[environ["PATH_INFO"].split("/", 2)[1]](environ, start_response)

    return answer


def _nothing(_way: str, _extension: Extension) -> None:
    """Add nothing to what the extension brings."""


def _bare(short: str, url: str) -> Flask:
    app, raw = Flask("bare"), _raw(short, url)

    @app.get("/hello")
    def hello() -> Response:
        return jsonify(hello="world")

    @app.get("/raw/<name>")
    def bare(name: str) -> Response:
        return Response(raw("state", name)[9], mimetype="application/json")

    @app.get("/raw-key/<name>")
    def key(name: str) -> Response:
        row = raw("kv", name)
        if row is None:
            abort(404)
        # The stored document is {"value": ...}: what is between is the value as it was set.
        value = str(row[9]).partition(":")[2][:-1]
        body = f'{{"success":true,"data":{{"key":"{name}","value":{value},"version":{row[6]}}}}}'
        return Response(body, mimetype="application/json", headers={"ETag": f'"{row[6]}"'})

    return app


def _hello(way: str, extension: Extension) -> None:
    @extension.app.get(f"/{way}/hello")
    def hello() -> Response:
        return jsonify(hello="world")


def _states(way: str, extension: Extension) -> None:
    @extension.app.get(f"/{way}/<name>")
    def state(name: str) -> Any:
        return extension.manager.get_state_or_404(name)


def _accounts(url: str, store: Store) -> Flask:
    with ExitStack() as context:
        accounts = Accounts(Host(context, url, store.durable))

    @accounts.host.app.get("/orm/<name>")
    def orm(name: str) -> Any:
        return {"status": (found := accounts.session.get(accounts.account, name)).status, "data": found.data}

    @accounts.host.app.post("/orm/<name>/renew")
    def renew(name: str) -> Any:
        account = accounts.session.get(accounts.account, name)
        if account is None:
            abort(404)
        if account.status != "active":
            abort(409)
        account.updated_at = datetime.now(timezone.utc)
        accounts.log(account, account.version + 1, RENEW, account.updated_at)
        accounts.session.commit()
        return {"status": account.status, "version": account.version, "data": account.data}

    return accounts.host.app


def _raw(short: str, url: str) -> Callable[[str, str], Any]:
    """Return a read of a stored row, on a connection of the thread's own."""
    own = threading.local()

    def read(bucket: str, name: str) -> Any:
        if not hasattr(own, "rows"):
            if short == "postgresql":
                own.rows = psycopg.connect(url.replace("+psycopg", "", 1), autocommit=True).execute
                own.select = PostgresFloor.select
            else:
                own.rows = sqlite3.connect(url.removeprefix("sqlite:///")).execute
                own.select = SqliteFloor.select
        return own.rows(own.select, (bucket, name)).fetchone()

    return read
