"""How templates show times, money, patches and links."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any

from flask import Flask, url_for

PAGES = {
    "user": "users.show",
    "purchase": "purchases.show",
    "subscription": "subscriptions.show",
    "feature": "features.show",
    "session": "sessions.show",
}
"""The page of a state by its type."""

_PREFIXES = {"user_": "user", "pay_": "purchase", "sub_": "subscription", "feature_": "feature", "session_": "session"}


def type_of(state_id: str) -> str | None:
    """Return the type that an id of this application speaks of; a deleted state is still in the history by its id.

    :param state_id: the id.
    """
    return next((kind for prefix, kind in _PREFIXES.items() if state_id.startswith(prefix)), None)


def page_of(state_id: str, state_type: str | None = None) -> str | None:
    """Return the address of a state's page.

    :param state_id: the state.
    :param state_type: its type, where it is known.
    """
    endpoint = PAGES.get(state_type or type_of(state_id) or "")
    return None if endpoint is None else url_for(endpoint, state_id=state_id)


def moment(value: str | datetime | None) -> str:
    """Show a time to the minute, in UTC.

    :param value: ISO text or an aware datetime.
    """
    if value is None:
        return "\N{EN DASH}"
    found = value if isinstance(value, datetime) else datetime.fromisoformat(value.replace("Z", "+00:00"))
    return found.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M")


def money(cents: int) -> str:
    """Show an amount.

    :param cents: the amount in cents.
    """
    return f"{cents / 100:,.2f} €"


def words(name: str) -> str:
    """Show an identifier as words.

    :param name: for example ``past_due``.
    """
    return name.replace("_", " ")


def patch_line(operation: dict[str, Any]) -> str:
    """Show one operation of a JSON Patch.

    :param operation: the operation.
    """
    where = operation["path"].lstrip("/").replace("/", ".") or "everything"
    if operation["op"] == "remove":
        return f"\N{MINUS SIGN} {where}"
    sign = "+" if operation["op"] == "add" else "~"
    return f"{sign} {where} = {json.dumps(operation.get('value'), ensure_ascii=False)}"


def add_filters(app: Flask) -> None:
    """Give the templates these functions.

    :param app: the app.
    """
    app.jinja_env.filters |= {"moment": moment, "money": money, "words": words, "patch_line": patch_line}
    app.jinja_env.globals["page_of"] = page_of
