"""The Flask Credit System: an application that stands on Flask-StateManager, as its users write them.

``python -m example_app`` runs it, ``flask --app example_app run`` too once the tables are there.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from flask import Flask, Response

from . import access, cli, errors, events, live, views
from . import chat as chat
from . import mails as mails
from . import schemas as schemas
from .extensions import cache, db, state_manager

__all__ = ["create_app"]


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """Make the application.

    It runs on an SQLite file in its instance folder. ``CREDIT_DATABASE_URI`` puts it on another database,
    ``CREDIT_REDIS_URL`` gives it a cache, ``CREDIT_KEYS_URL`` has its keys and values live in a Redis,
    ``CREDIT_SECRET_KEY`` and ``CREDIT_API_TOKEN`` fix what is otherwise made anew with each start; the token is for
    ``/api`` and for the API of Flask-StateManager at ``/api/v1/state``.
    ``CREDIT_STORES`` says where the stores of the analytics live, ``client`` being the browser.
    ``CREDIT_WORKER=external`` leaves mails and timers to ``flask state worker``. ``CREDIT_WHATSAPP_SECRET`` and its kin
    connect the webhook of the conversations to a real phone number.

    :param config: settings that go before all others; ``INSTANCE_PATH`` moves the instance folder.
    :raises flask_statemanager.ConfigurationError: when the settings are unusable.
    """
    given = dict(config or {})
    home = Path(given.pop("INSTANCE_PATH", Path(__file__).parent / "instance")).absolute()
    app = Flask(__name__, instance_path=str(home))
    app.config.from_mapping(_defaults(home))
    app.config.from_mapping(given)
    digest = hashlib.sha256(app.config["API_TOKEN"].encode()).hexdigest()
    app.config.setdefault("STATEMANAGER_API_TOKENS", {digest: {"user": "service", "roles": [live.OPERATOR]}})
    if app.config["SQLALCHEMY_DATABASE_URI"].startswith("sqlite"):
        home.mkdir(parents=True, exist_ok=True)
        # Readers and a writer at the same time: this database is the application's own.
        app.config.setdefault("STATEMANAGER_SQLITE_WAL", True)
    db.init_app(app)
    cache.init_app(app, config=_cache_config(app.config["REDIS_URL"]))
    state_manager.init_app(app)
    errors.init_app(app)
    access.init_app(app)
    events.connect(app)
    views.init_app(app)
    if app.config["ANALYTICS"]:
        import_module(".analytics.mounting", __name__).mount(app)
    app.cli.add_command(cli.credit)
    app.after_request(_harden)
    return app


def _defaults(home: Path) -> dict[str, Any]:
    environ = os.environ
    return {
        "SQLALCHEMY_DATABASE_URI": environ.get("CREDIT_DATABASE_URI") or f"sqlite:///{home / 'credit.sqlite'}",
        "REDIS_URL": environ.get("CREDIT_REDIS_URL"),
        "SECRET_KEY": environ.get("CREDIT_SECRET_KEY") or secrets.token_hex(32),
        "API_TOKEN": environ.get("CREDIT_API_TOKEN") or secrets.token_urlsafe(24),
        "SESSION_COOKIE_NAME": "credit_session",
        "SESSION_COOKIE_SAMESITE": "Lax",
        "DEMO": False,
        # The Dash app at /analytics/; what it imports takes a second, and need not be installed.
        "ANALYTICS": all(map(find_spec, ("dash", "pandas", "pyarrow"))),
        # With what WhatsApp signs its deliveries; where answers are sent to, and as whom.
        "WHATSAPP_SECRET": environ.get("CREDIT_WHATSAPP_SECRET") or secrets.token_hex(16),
        "WHATSAPP_VERIFY_TOKEN": environ.get("CREDIT_WHATSAPP_VERIFY_TOKEN") or secrets.token_hex(16),
        "WHATSAPP_URL": environ.get("CREDIT_WHATSAPP_URL") or None,
        "WHATSAPP_TOKEN": environ.get("CREDIT_WHATSAPP_TOKEN") or "",
        # Requests of one address in a minute.
        "API_LIMIT": 600,
        **_managed(environ.get("CREDIT_KEYS_URL") or None),
        "STATEMANAGER_STORES_BACKEND": environ.get("CREDIT_STORES") or "database",
    }


def _managed(keys_url: str | None) -> dict[str, Any]:
    """Return the settings of Flask-StateManager."""
    elsewhere = None if keys_url is None else "redis"
    return {
        "STATEMANAGER_REDIS_URL": keys_url,
        "STATEMANAGER_KV_BACKEND": elsewhere,
        "STATEMANAGER_FLOWS_BACKEND": elsewhere,
        "STATEMANAGER_API_ENABLED": True,
        # The pages for operators at /admin/state.
        "STATEMANAGER_ADMIN_ENABLED": True,
        "STATEMANAGER_ADMIN_LOGIN_URL": "/login",
        # Whoever may make snapshots hears of every change, and opens the pages for operators. The API writes nothing:
        # what does goes through /api and the pages, which keep rows and states together.
        "STATEMANAGER_API_ROLES": {"read": [live.OPERATOR, live.LISTENER], "write": [], "admin": [live.OPERATOR]},
        # Beside the other keys, where a list of keys finds them.
        "STATEMANAGER_TRACK_REQUESTS": True,
        "STATEMANAGER_TRACK_BUCKET": "kv",
        # One process serves the demo; where there are several, a worker beside them is the better choice.
        "STATEMANAGER_WORKER": os.environ.get("CREDIT_WORKER") or "embedded",
    }


def _cache_config(redis_url: str | None) -> dict[str, Any]:
    if redis_url is None:
        return {"CACHE_TYPE": "NullCache", "CACHE_NO_NULL_WARNING": True}
    return {"CACHE_TYPE": "RedisCache", "CACHE_REDIS_URL": redis_url, "CACHE_KEY_PREFIX": "credit:"}


def _harden(response: Response) -> Response:
    """Let pages load nothing from elsewhere and stand in nobody's frame."""
    response.headers.setdefault(
        "Content-Security-Policy", "default-src 'self'; frame-ancestors 'none'; form-action 'self'; base-uri 'none'"
    )
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Referrer-Policy", "same-origin")
    return response
