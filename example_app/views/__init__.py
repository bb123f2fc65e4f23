"""The pages and the JSON endpoints, a blueprint each."""

from __future__ import annotations

from flask import Flask

from . import (
    api,
    auth,
    chat,
    dashboard,
    features,
    keys,
    live,
    machines,
    mails,
    members,
    preferences,
    purchases,
    sessions,
    states,
    subscriptions,
    users,
    whatsapp,
)
from .presentation import add_filters

PAGES = (
    api, auth, chat, dashboard, features, keys, live, machines, mails, members, preferences, purchases, sessions,
    states, subscriptions, users, whatsapp,
)  # fmt: skip


def init_app(app: Flask) -> None:
    """Put all pages into an app.

    :param app: the app.
    """
    for module in PAGES:
        app.register_blueprint(module.blueprint)
    add_filters(app)
