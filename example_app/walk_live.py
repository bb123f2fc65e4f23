"""The steps of the check that use the API of Flask-StateManager: its commands, and its live events."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from .listener import Listener, greeting
from .visit import Visit, expect, require, wait_for

API = "api/v1/state"


class LiveWalk(Visit):
    """What programs and open pages see of what people do."""

    def statistics(self) -> str:
        """The API tells how much there is, to who has the token."""
        expect(self.visitor.get(f"{API}/stats"), 401)
        found = expect(self.program.get(f"{API}/stats"), 200).json["data"]
        require(found["total_keys"] > 0 and found["version"] > 0, str(found))
        return f"{found['total_keys']} keys, revision {found['version']}"

    def tracked(self) -> str:
        """Requests and sessions are noted as keys."""

        def sessions() -> list[str]:
            found: list[str] = expect(self.program.get(f"{API}/keys?prefix=session:"), 200).json["data"]["keys"]
            return found

        wait_for(lambda: {"session:user_1", "session:user_2"} <= set(sessions()), "the sessions are not noted")
        session = expect(self.program.get(f"{API}/session:user_1"), 200).json["data"]["value"]
        key = f"{API}/request:{session['correlation_id']}:completion"
        wait_for(lambda: self.program.get(key).code == 200, "the last request of the operator has not ended")
        ended = self.program.get(key).json["data"]["value"]
        return f"{', '.join(sessions())}; the operator's last request took {ended['duration_ms']} ms"

    def described(self) -> str:
        """The API describes itself, on a page and as OpenAPI."""
        found = expect(self.program.get(f"{API}/openapi.json"), 200).json
        page = expect(self.program.get(f"{API}/docs"), 200)
        require("<script" not in page.text and "transitions" in page.words, page.words[:200])
        return f"OpenAPI {found['openapi']}, {len(found['paths'])} paths"

    def kept_apart(self) -> str:
        """Customers may not look around in the API, and nobody writes past the books."""
        expect(self.customer.get(f"{API}/states"), 403)
        expect(self.customer.get(f"{API}/user_1"), 403)
        expect(self.operator.get(f"{API}/states?limit=1"), 200)
        expect(self.program.call("PUT", f"{API}/key", {"value": 1}), 403)
        return "403 for both"

    def live(self) -> str:
        """Open pages are told of changes: the operator of all, the customer of what is theirs, at once."""
        for browser in (self.operator, self.customer):
            require("data-stream" in expect(browser.get("live/"), 200).text, "the page has no stream")
        with ExitStack() as stack:
            root, path = self.operator.root, f"{API}/events/stream?bucket=state"
            everything, own = (
                stack.enter_context(Listener(root, path, browser.headers)) for browser in (self.operator, self.customer)
            )
            self._press(self._user(), "suspend", reason="live")
            self._press(self._user(), "resume", reason="live")
            bought = self._buy("4242").url.rpartition("/")[2]
            seen = [_until(listener, bought) for listener in (everything, own)]
        require(self.newcomer in {change["key"] for change in seen[0]}, f"the operator heard {seen[0]}")
        require({change["key"] for change in seen[1]} == {bought}, f"the customer heard {seen[1]}")
        return f"{len(seen[0])} changes for the operator, {len(seen[1])} for the customer"

    def socket(self) -> str:
        """A WebSocket opens for who has the token."""
        told = greeting(self.program.root, f"{API}/events", self.program.headers)
        require('"subscribed"' in told, told)
        return told[:60]


def _until(listener: Listener, key: str) -> list[dict[str, Any]]:
    """Return what a listener is told until a purchase is completed."""
    found = []
    for change in listener.changes():
        found.append(change)
        if change["key"] == key and change["new_status"] == "completed":
            break
    return found
