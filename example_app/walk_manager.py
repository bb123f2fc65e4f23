"""The steps of the check on the pages of Flask-StateManager for operators."""

from __future__ import annotations

import re

from .browser import Form, Page
from .visit import Visit, expect, require, wait_for

MANAGER = "admin/state"


class ManagerWalk(Visit):
    """What an operator does there, and what nobody else sees."""

    def managed(self) -> str:
        """Operators have pages of their own, which show nothing to others."""
        page = expect(self.visitor.get(f"{MANAGER}/"), 401)
        require("/login?next=/admin/state" in page.text, page.text[:900])
        page = expect(self.customer.get(f"{MANAGER}/"), 403)
        require("user_1" not in page.words, page.words[:300])
        page = expect(self.operator.get(f"{MANAGER}/"), 200)
        require("States by type and status" in page.words, page.words[:300])
        form = self._managed_user().form("/transition")
        form.fields.pop("admin_token")
        expect(self.operator.send(form, transition="suspend"), 403)
        return "401 with the way to the login, 403, the overview, and 403 for a form without its token"

    def managed_state(self) -> str:
        """On those pages a state is found, moved with a reason, and restored."""
        page = expect(self.operator.get(f"{MANAGER}/states?id={self.newcomer}&match=exactly"), 200)
        require(f"/{MANAGER}/states/{self.newcomer}" in page.text, page.words[-600:])
        before = self.program.get(f"api/users/{self.newcomer}").json["version"]
        form = self._managed_user().form("/transition", "suspend")
        page = expect(self.operator.send(form, transition="suspend", reason="seen from the manager"), 200)
        require("“seen from the manager”" in page.words, page.words[:900])
        page = expect(self.operator.get(f"{MANAGER}/state-rollback/{self.newcomer}?to={before}"), 200)
        form = next(form for form in page.forms() if form.fields.get("to") == str(before))
        page = expect(self.operator.send(form, reason="a mistake"), 200)
        require("“a mistake”" in page.words, page.words[:900])
        newest = self.program.get(f"api/users/{self.newcomer}").json
        require((newest["status"], newest["version"]) == ("active", before + 2), str(newest))
        return f"version {newest['version']} is as version {before} was"

    def managed_effect(self) -> str:
        """There a dead letter is read, retried and given up."""
        fields = {"login": "lost", "email": "lost@bounces.example.com", "display_name": "L. Lost"}
        state_id = expect(self.program.call("POST", "api/users", fields), 201).json["state_id"]
        expect(self.program.call("POST", f"api/users/{state_id}/transitions", {"transition": "suspend"}), 200)
        page = self._managed_effect(state_id)
        require("PermanentFailure" in page.words and "Traceback" in page.words, page.words[:900])
        expect(self.operator.send(page.form("/retry"), reason="the server is back"), 200)
        page = self._managed_effect(state_id)
        page = expect(self.operator.send(page.form("/discard"), reason="no such address"), 200)
        require("Are you sure?" in page.words, page.words[:300])
        expect(self.operator.send(_answered(page)), 200)
        require(state_id not in self.operator.get(f"{MANAGER}/effects?status=dead").words, "it is still there")
        return f"that of {state_id}, which failed again"

    def managed_snapshot(self) -> str:
        """There a snapshot of the keys is made and checked."""
        form = expect(self.operator.get(f"{MANAGER}/snapshots"), 200).form("/snapshots")
        page = expect(self.operator.send(form, buckets="kv", prefix="switch:"), 200)
        page = self._ended(page, "/verify")
        page = expect(self.operator.send(page.form("/verify")), 200)
        self._ended(page, "/verify")
        found = re.search(r"Snapshot ([0-9a-f]{12})", page.words)
        return f"{found[1]} holds the switches" if found else "it holds the switches"

    def _managed_user(self) -> Page:
        return expect(self.operator.get(f"{MANAGER}/states/{self.newcomer}"), 200)

    def _managed_effect(self, state_id: str) -> Page:
        dead: list[str] = []

        def look() -> bool:
            page = expect(self.operator.get(f"{MANAGER}/effects?status=dead&state={state_id}"), 200)
            dead[:] = re.findall(rf'href="/({MANAGER}/effects/\d+)"', page.text)
            return bool(dead)

        wait_for(look, f"there is no dead letter of {state_id}")
        return expect(self.operator.get(dead[0]), 200)

    def _ended(self, page: Page, form: str) -> Page:
        """Return the page that long work leads to, which has a form; it may take a while."""
        seen = [page]

        def look() -> bool:
            onward = re.search(r'class="button" href="([^"]+)">Go on<', seen[-1].text)
            if onward is not None:
                seen.append(expect(self.operator.get(onward[1].replace("&amp;", "&")), 200))
            ended = any(each.action.endswith(form) for each in seen[-1].forms())
            if not ended:
                seen.append(expect(self.operator.get(seen[-1].url), 200))
            return ended

        wait_for(look, "it does not end")
        return seen[-1]


def _answered(page: Page) -> Form:
    """Return the form with which a question is answered with yes."""
    return next(form for form in page.forms() if form.fields.get("confirmed") == "yes")
