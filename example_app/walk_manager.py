"""The steps of the check on the pages of Flask-StateManager for operators."""

from __future__ import annotations

from .visit import Visit, expect, require

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
        require("Overview" in page.words, page.words[:300])
        return "401 with the way to the login, 403, and the overview"
