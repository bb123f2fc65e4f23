"""What the pages show: filters, and the movements that they leave."""

from __future__ import annotations

from typing import Any

import pandas as pd
from dash import dcc, html

from flask_statemanager.integrations.dash import StoreListener, create_session_component, create_state_store_component

ROOT = "/analytics/"
DATA = f"{ROOT}data"
ROWS = 20
"""Rows of the table at a time."""

KINDS = ("purchase", "refund", "renewal", "bonus")


def frame_of_pages() -> html.Div:
    """Return the layout, which each page gets anew."""
    return html.Div(
        [
            dcc.Location(id="address"),
            create_session_component(),
            create_state_store_component("filters", storage_type="session"),
            StoreListener("filters"),
            html.Header(
                [
                    html.A("Credit System", href="/", className="brand"),
                    html.Nav(
                        [
                            dcc.Link("Filters", href=ROOT, id="to-filters"),
                            dcc.Link("Movements", href=DATA, id="to-data"),
                        ],
                        **{"aria-label": "Analytics"},
                    ),
                ],
                className="top",
            ),
            html.Main(id="main"),
        ]
    )


def filters_page(kinds: list[str]) -> list[Any]:
    """Return the page with the filters, which are filled in when it is shown.

    :param kinds: the kinds of movements that there are.
    """
    return [
        html.H1("Filters"),
        html.Section(
            [
                html.P("What is chosen here holds for all of your pages, on whichever device they are open."),
                html.Fieldset(
                    [html.Legend("Kinds"), dcc.Checklist(options=kinds, id="kinds", className="choices", inline=True)]
                ),
                html.Label("Least credits", htmlFor="least"),
                dcc.Input(id="least", type="number", min=0, step=1, debounce=True),
                html.P(id="chosen", className="hint", role="status"),
                dcc.Link("Show the movements", href=DATA, className="button"),
            ],
            className="card",
        ),
    ]


def data_page() -> list[Any]:
    """Return the page with the movements."""
    return [
        html.Div([html.H1("Movements"), html.P(id="summary", className="hint", role="status")], className="head"),
        html.Section(
            [
                html.Div(id="table", className="table"),
                html.Div(
                    [
                        html.Button("Newer", id="newer", n_clicks=0),
                        html.Span(id="place", className="hint"),
                        html.Button("Older", id="older", n_clicks=0),
                    ],
                    className="pager",
                ),
                create_state_store_component("movements"),
                dcc.Store(id="page", data=0),
            ],
            className="card",
        ),
    ]


def table(frame: pd.DataFrame, page: int) -> html.Table:
    """Return one page of the movements.

    :param frame: the movements.
    :param page: which page, from 0.
    """
    shown = frame.iloc[page * ROWS : (page + 1) * ROWS]
    head = ("When", "Who", "Kind", "Credits", "Balance")
    return html.Table(
        [
            html.Thead(html.Tr([html.Th(title, scope="col") for title in head])),
            html.Tbody(
                [
                    html.Tr(
                        [
                            html.Td(f"{row.when:%Y-%m-%d %H:%M}", className="time"),
                            html.Td(row.who),
                            html.Td(html.Span(row.kind, className="chip")),
                            html.Td(f"{row.amount:+,}", className="number"),
                            html.Td(f"{row.balance:,}", className="number"),
                        ]
                    )
                    for row in shown.itertuples()
                ]
            ),
        ]
    )


def summary(frame: pd.DataFrame, filters: dict[str, Any]) -> str:
    """Return how many movements are shown, and why.

    :param frame: the movements.
    :param filters: what is chosen.
    """
    return f"{len(frame):,} movements, {int(frame['amount'].sum()):+,} credits. {told(filters)}"


def told(filters: dict[str, Any]) -> str:
    """Say what is chosen.

    :param filters: what is chosen.
    """
    kinds = ", ".join(filters.get("kinds") or []) or "all kinds"
    least = filters.get("least")
    return f"Chosen: {kinds}" + (f", of at least {least:,} credits." if least else ".")
