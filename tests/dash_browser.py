"""What Dash's renderer does in a browser, over HTTP: it opens a page, fires callbacks, and takes in their answers."""

from __future__ import annotations

import json
import threading
import time
import weakref
from typing import Any

import dash
from flask import Flask
from flask.ctx import RequestContext
from werkzeug.test import TestResponse

from flask_statemanager.stores.opened import EXTENSION

PATIENCE = 280
PAUSE = 0.1
UPDATE = "/_dash-update-component"


def dash_app(**config: Any) -> dash.Dash:
    """Return a Dash app on a Flask of its own, whose stores live in memory where nothing else is said.

    Its stores are closed when it goes.
    """
    server = Flask("dashboard")
    server.config.update({"SECRET_KEY": "signed", "STATE_BACKEND": "memory", **config})
    weakref.finalize(server, _close, server.extensions)
    return dash.Dash("dashboard", server=server, suppress_callback_exceptions=True)


def _close(extensions: dict[str, Any]) -> None:
    stores = extensions.get(EXTENSION)
    if stores is not None:
        stores.backend.close()


class Browser:
    """One browser with one page of an app; ``props`` is what its components hold, by ``id.property``."""

    def __init__(self, app: dash.Dash) -> None:
        self.app = app
        self.client = app.server.test_client()
        self.props: dict[str, Any] = {}
        self.status = 0

    def open(self) -> Browser:
        """Load the page."""
        self._take_in(self.client.get("/_dash-layout").json)
        return self

    def fire(self, output: str, changed: str | None = None, **values: Any) -> Any:
        """Fire the callback of an output, and return what the page's components get, or None when it was refused."""
        self.props.update({name.replace("__", "."): value for name, value in values.items()})
        return self._answered(self.client.post(UPDATE, json=self.body(output, changed)))

    def body(self, output: str, changed: str | None = None) -> dict[str, Any]:
        """Return what the renderer sends to fire a callback."""
        known = self.client.get("/_dash-dependencies").json
        assert known is not None
        (spec,) = (each for each in known if each["output"].partition("@")[0] == output)
        inputs = [self._sent(each) for each in spec["inputs"]]
        return {
            "output": spec["output"],
            "outputs": [] if spec["no_output"] else _outputs(spec["output"]),
            "inputs": inputs,
            "state": [self._sent(each) for each in spec["state"]],
            "changedPropIds": [changed or f"{spec['inputs'][0]['id']}.{spec['inputs'][0]['property']}"],
        }

    def post(self, body: dict[str, Any], query: dict[str, Any] | None = None) -> Any:
        """Send what the renderer sends, and take in the answer."""
        return self._answered(self.client.post(UPDATE, json=body, query_string=query))

    def background(self, output: str, **values: Any) -> Any:
        """Fire a background callback, and ask for its answer until there is one."""
        self.props.update({name.replace("__", "."): value for name, value in values.items()})
        body = self.body(output)
        job = self.client.post(UPDATE, json=body).json
        assert job is not None
        query = {name: job[name] for name in ("cacheKey", "job")}
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            found = self.post(body, query)
            if self.status != 200 or found is not None:
                return found
            threading.Event().wait(PAUSE)
        raise AssertionError("the background callback did not end in time")

    def at_work(self) -> RequestContext:
        """Return the context of a request of this browser, to look at its user's stores."""
        cookie = self.client.get_cookie("session")
        assert cookie is not None, "the page has not been opened"
        return self.app.server.test_request_context(headers={"Cookie": f"session={cookie.value}"})

    def _sent(self, spec: dict[str, Any]) -> dict[str, Any]:
        name = f"{spec['id']}.{spec['property']}"
        return {"id": spec["id"], "property": spec["property"], "value": self.props.get(name)}

    def _answered(self, answer: TestResponse) -> Any:
        self.status, self.text = answer.status_code, answer.text
        if answer.status_code != 200:
            return None
        found = answer.json
        assert found is not None
        self.props.update(found.get("progress", {}))
        for part in ("sideUpdate", "response"):
            for component, props in found.get(part, {}).items():
                self.props.update({f"{component}.{name}": value for name, value in props.items()})
        return found.get("response")

    def _take_in(self, component: Any) -> None:
        if isinstance(component, list):
            for each in component:
                self._take_in(each)
        if isinstance(component, dict) and "props" in component:
            props = component["props"]
            if "id" in props:
                self.props.update({f"{props['id']}.{name}": value for name, value in props.items()})
            self._take_in(props.get("children"))


def _outputs(output: str) -> Any:
    if not output.startswith(".."):
        return _output(output)
    return [_output(each) for each in output[2:-2].split("...")]


def _output(text: str) -> dict[str, Any]:
    component, _dot, name = text.rpartition(".")
    return {
        "id": json.loads(component) if component.startswith("{") else component,
        "property": name.partition("@")[0],
    }
