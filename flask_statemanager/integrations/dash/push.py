"""Stores of Dash that tell of their changes: what one tab or process writes, the user's other tabs hear of.

No interval asks. One event stream a tab (:mod:`flask_statemanager.web.live.stores`) says which of the user's stores
changed, and a :class:`StoreListener` in the layout makes that the trigger of a callback. Its own script is served by
Dash like those of Dash's components; nothing has to be built.
"""

from __future__ import annotations

import logging
import os
import threading
from typing import Any

from dash import Dash
from dash.development.base_component import Component
from flask import Flask, Response, current_app, g, has_app_context, request

from ...config import Settings
from ...errors import ConfigurationError, StateManagerError, StorageError
from ...globals import find_runtime
from ...stores.names import checked, name_part
from ...stores.opened import present_stores
from ...web.live.stores import StoreStreams
from ...web.problems import problem_of, problem_response

EXTENSION = "statemanager_store_push"
"""The name under ``app.extensions``."""

PATH = "_statemanager/stores"
"""Where the event stream is, below the prefix of the Dash app's requests; the script knows it too."""

SCRIPT = "integrations/dash/static/push.js"

_ON_G = "_statemanager_store_cursor"

logger = logging.getLogger("flask_statemanager.stores")


class StoreListener(Component):
    """Has a callback run when a store of the present user was changed elsewhere: in another tab, by another process.

    >>> StoreListener("filters").id
    'filters-changed'

    A callback with ``Input("filters-changed", "changes")`` reads the store again. It is not run for what its own tab
    has written. Nothing is lost between the making of the page and the opening of its stream, nor while the connection
    is down; where the log does not reach back as far, it runs as if there had been a change. Several changes within a
    tenth of a second may be told as one.

    :param store_id: the store.
    :param id: the component's id; by default that of the store with ``-changed`` behind it.
    :param changes: counts up with each change; None before the first. For the ``Input``.
    :param version: the version that the store has since the last one: 0 where it was removed, None where that is not
        known. Set by the browser.
    :raises StateValidationError: when it is no id of a store.
    """

    _namespace = "flask_statemanager"
    _type = "StoreListener"

    def __init__(
        self,
        store_id: str,
        id: str | dict[str, Any] | None = None,  # noqa: A002 - what Dash calls it
        changes: int | None = None,
        version: int | None = None,
    ) -> None:
        self._prop_names = ["id", "store_id", "name", "cursor", "changes", "version"]
        self.available_properties = self._prop_names
        self._valid_wildcard_attributes: list[str] = []
        self.available_wildcard_properties: list[str] = []
        given = {"changes": changes, "version": version}
        super().__init__(  # type: ignore[no-untyped-call]
            id=f"{store_id}-changed" if id is None else id,
            store_id=checked(store_id, "store_id"),
            name=name_part(store_id),
            **{name: value for name, value in given.items() if value is not None},
        )

    def to_plotly_json(self) -> dict[str, Any]:
        """Return what the browser is sent, with the cursor of this moment: what comes behind it, the page has not seen.

        :raises ConfigurationError: when the app was not made ready by :func:`push_stores`.
        """
        found: dict[str, Any] = super().to_plotly_json()  # type: ignore[no-untyped-call]
        if has_app_context():
            found["props"] = {**found["props"], "cursor": _cursor()}
        return found


def push_stores(app: Dash) -> None:
    """Have the :class:`StoreListener` components of a Dash app hear of changes.

    .. code-block:: python

        app = Dash(server=server)
        push_stores(app)
        app.layout = html.Div([StoreListener("filters"), dcc.Graph(id="graph")])

    Whose stores a page hears of is found out as for every request: by whoever is logged in, or the signed cookie of a
    visitor, and by nothing that the page says. Every open page holds a thread of the server, as other live events do:
    :doc:`live`.

    :param app: the Dash app, with its server.
    :raises ConfigurationError: when it has none yet, or was made ready before.
    """
    server, prefix = app.server, app.config.routes_pathname_prefix
    if not isinstance(server, Flask) or f"{prefix}_dash-layout" not in server.view_functions:
        raise ConfigurationError(
            "push_stores(app) needs the Flask server of the Dash app: call app.init_app(server) first."
        )
    endpoint = f"{prefix}{PATH}"
    if endpoint in server.view_functions:
        raise ConfigurationError("push_stores(app) was called for this Dash app already: once is enough.")
    server.extensions.setdefault(EXTENSION, Push())
    server.add_url_rule(endpoint, endpoint, _listen, methods=["GET"])
    script = {"namespace": "flask_statemanager", "relative_package_path": SCRIPT}
    app.scripts.append_script(script)  # type: ignore[no-untyped-call]


class Push:
    """The streams of one server: those of the stores that are in use now."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._streams: StoreStreams | None = None

    def streams(self) -> StoreStreams | None:
        """Return the streams; None where browsers keep their stores themselves.

        :raises ConfigurationError: when where the stores are kept cannot be followed.
        :raises StorageError: when it cannot be reached.
        """
        stores = present_stores()
        with self._lock:
            known = self._streams
            if known is not None and known.backend is not stores.server:
                known.close()
                known = self._streams = None
            if known is None and stores.server is not None:
                known = self._streams = self._opened(stores)
            return known

    @staticmethod
    def _opened(stores: Any) -> StoreStreams:
        runtime = find_runtime()
        if runtime is not None:
            return StoreStreams(stores, runtime.settings, runtime)
        app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
        return StoreStreams(stores, Settings.from_mapping(app.config, os.environ), app)


def _push() -> Push:
    found: Push | None = current_app.extensions.get(EXTENSION)
    if found is None:
        raise ConfigurationError(
            "A StoreListener hears of nothing in this app yet: call push_stores(app) behind Dash(...)."
        )
    return found


def _cursor() -> str | None:
    """Return from where on a page listens: empty for from now on, None where the browser has nothing to listen to."""
    found: str | None = g.get(_ON_G, "?")
    if found == "?":
        found = _present_cursor()
        setattr(g, _ON_G, found)
    return found


def _present_cursor() -> str | None:
    push = _push()
    # A new visitor is known from here on: each of the page's first requests would otherwise make another one.
    present_stores().owner(None)
    try:
        streams = push.streams()
        return None if streams is None else streams.cursor()
    except StorageError:
        logger.warning("A page listens to stores from later on, as their log cannot be read.", exc_info=True)
        return ""


def _listen() -> Response:
    try:
        streams = _push().streams()
        if streams is None:
            return Response(status=204)
        since = request.headers.get("Last-Event-ID") or request.args.get("since") or None
        return streams.listen(request.environ, since)
    except StateManagerError as error:
        return problem_response(problem_of(error))
