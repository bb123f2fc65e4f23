"""The steps of the check on the analytics, where Dash is installed."""

from __future__ import annotations

from typing import Any

from .browser import Browser
from .listener import Listener
from .visit import Visit, expect, require

ANALYTICS = "analytics"


class AnalyticsWalk(Visit):
    """What the pages of Dash ask for behind the scenes: the layout, the callbacks, the push."""

    def analysed(self) -> str:
        """Filters are chosen in one page, and the user's other pages hear of it and show what they leave."""
        if self.operator.get(f"{ANALYTICS}/").code == 404:
            return "not installed here: pip install 'Flask-StateManager[dash,frames]'"
        expect(self.visitor.get(f"{ANALYTICS}/_dash-layout"), 401)
        expect(self.operator.call("POST", f"{ANALYTICS}/_dash-update-component", {}), 400)
        layout = expect(self.operator.get(f"{ANALYTICS}/_dash-layout"), 200).json["props"]["children"]
        props = {each["props"].get("id"): each["props"] for each in layout}
        page = props["user-session-id"]["data"]
        stream = f"{ANALYTICS}/_statemanager/stores?since={props['filters-changed']['cursor']}"
        with Listener(self.operator.root, stream, self.operator.headers) as listener:
            chosen = {"id": "kinds", "property": "value", "value": ["purchase"]}
            self._fired(
                self.operator, "kinds", [chosen], [("filters", "data", None), ("user-session-id", "data", page)]
            )
            heard = next(iter(listener.changes()))
        require(heard["store"] == "filters" and "purchase" not in str(heard), str(heard))
        changes = [
            {"id": "filters-changed", "property": "changes", "value": 1},
            {"id": "filters", "property": "data", "value": None},
        ]
        shown = self._fired(self.operator, "filters-changed", changes, [("user-session-id", "data", page)])
        summary: str = shown["summary"]["children"]
        require("Chosen: purchase." in summary, summary)
        return summary

    def _fired(
        self, browser: Browser, trigger: str, inputs: list[dict[str, Any]], state: list[tuple[str, str, Any]]
    ) -> dict[str, Any]:
        """Fire a callback as the script of Dash does: the last one with this trigger and these inputs."""
        known = expect(browser.get(f"{ANALYTICS}/_dash-dependencies"), 200).json
        wanted = [(each["id"], each["property"]) for each in inputs]
        *_others, found = (
            each["output"] for each in known if [(one["id"], one["property"]) for one in each["inputs"]] == wanted
        )
        names = found.strip(".").split("...")
        outputs = [dict(zip(("id", "property"), name.rsplit(".", 1), strict=True)) for name in names]
        body = {
            "output": found,
            "outputs": outputs if found.startswith("..") else outputs[0],
            "changedPropIds": [f"{trigger}.{inputs[0]['property']}"],
            "inputs": inputs,
            "state": [{"id": name, "property": each, "value": value} for name, each, value in state],
        }
        token = dict(pair.split("=", 1) for pair in browser.headers["Cookie"].split("; "))["_csrf_token"]
        page = browser.call("POST", f"{ANALYTICS}/_dash-update-component", body, X_CSRFToken=token)
        require(page.code in (200, 204), f"{page.code}: {page.words[:300]}")
        return dict(page.json["response"]) if page.code == 200 else {}
