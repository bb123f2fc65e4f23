"""What happens on the pages. Nothing here knows where the stores live."""

from __future__ import annotations

import io
from typing import Any

import pandas as pd
from dash import Dash, Input, Output, State, ctx, no_update
from flask import g
from sqlalchemy import select

from flask_statemanager.integrations.dash import get_state_manager, state_managed_callback

from ..extensions import db
from ..models import LedgerEntry
from . import pages
from .movements import chosen, visible

Filters = dict[str, Any]

SESSION = State("user-session-id", "data")


def connect(app: Dash) -> None:
    """Register the callbacks.

    :param app: the Dash app.
    """
    app.callback(Output("main", "children"), Input("address", "pathname"))(_page)
    _connect_filters(app)
    _connect_movements(app)


def _connect_filters(app: Dash) -> None:
    app.callback(
        Output("filters", "data", allow_duplicate=True),
        Input("kinds", "value"),
        State("filters", "data"),
        SESSION,
        prevent_initial_call=True,
    )(_choose_kinds)
    app.callback(
        Output("filters", "data", allow_duplicate=True),
        Input("least", "value"),
        State("filters", "data"),
        SESSION,
        prevent_initial_call=True,
    )(_choose_least)
    app.callback(
        Output("kinds", "value"),
        Output("least", "value"),
        Input("filters-changed", "changes"),
        State("filters", "data"),
        SESSION,
    )(_show_filters)
    app.callback(Output("chosen", "children"), Input("kinds", "value"), Input("least", "value"))(_tell)


def _connect_movements(app: Dash) -> None:
    app.callback(
        Output("movements", "data"),
        Output("summary", "children"),
        Output("page", "data", allow_duplicate=True),
        Input("filters-changed", "changes"),
        Input("filters", "data"),
        SESSION,
        prevent_initial_call="initial_duplicate",
    )(_choose_movements)
    app.callback(
        Output("page", "data"),
        Input("newer", "n_clicks"),
        Input("older", "n_clicks"),
        State("page", "data"),
        prevent_initial_call=True,
    )(_turn)
    app.callback(
        Output("table", "children"),
        Output("place", "children"),
        Input("page", "data"),
        Input("summary", "children"),
        State("movements", "data"),
        SESSION,
    )(_show_movements)


def _page(pathname: str | None) -> Any:
    if pathname == pages.DATA:
        return pages.data_page()
    return pages.filters_page(sorted(db.session.scalars(select(LedgerEntry.kind).distinct())))


def _changed(filters: Filters | None, member: str, value: Any) -> Any:
    manager = get_state_manager()
    if manager.is_client_managed("filters"):
        return {**(filters or {}), member: value}
    # A patch of one member: what another page or callback changes at the same moment stays.
    if (manager.get_store_data("filters") or {}).get(member) != value:
        manager.update_store_data("filters", {member: value})
    return no_update


@state_managed_callback({"filters": "filters"})
def _choose_kinds(kinds: list[str] | None, filters: Filters | None, _session: str | None) -> Any:
    return _changed(filters, "kinds", kinds or None)


@state_managed_callback({"filters": "filters"})
def _choose_least(least: float | None, filters: Filters | None, _session: str | None) -> Any:
    return _changed(filters, "least", None if least is None else int(least))


@state_managed_callback({"filters": "filters"})
def _show_filters(_changes: int | None, filters: Filters | None, _session: str | None) -> Any:
    found = filters or {}
    return found.get("kinds") or [], found.get("least")


def _tell(kinds: list[str] | None, least: float | None) -> str:
    return pages.told({"kinds": kinds, "least": least})


@state_managed_callback({"filters": "filters"}, outputs={0: "movements"})
def _choose_movements(_changes: int | None, filters: Filters | None, _session: str | None) -> Any:
    frame = chosen(visible(g.account), filters or {})
    kept = frame
    if get_state_manager().is_client_managed("movements"):
        kept = frame.to_json(orient="split", date_format="iso")
    return kept, pages.summary(frame, filters or {}), 0


def _turn(_newer: int, _older: int, page: int) -> int:
    return max(0, page + (1 if ctx.triggered_id == "older" else -1))


@state_managed_callback({"movements": "movements"})
def _show_movements(page: int, _summary: str, movements: Any, _session: str | None) -> Any:
    if movements is None:
        return no_update, no_update
    frame = movements
    if isinstance(movements, str):
        frame = pd.read_json(io.StringIO(movements), orient="split", dtype=False)
        frame["when"] = pd.to_datetime(frame["when"])
    last = max(0, (len(frame) - 1) // pages.ROWS)
    shown = min(page, last)
    return pages.table(frame, shown), f"Page {shown + 1:,} of {last + 1:,}"
