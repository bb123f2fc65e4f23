"""transitions with models of Flask-SQLAlchemy: one machine, to which each loaded state is added for its move.

As in "Alternative initialization patterns" of its README: a machine without models, ``add_model``, ``remove_model``.
"""

from __future__ import annotations

from contextlib import ExitStack
from datetime import datetime, timezone

from transitions import Machine

from benchmarks.peers.host import Host
from benchmarks.peers.orm import Accounts
from benchmarks.rounds import Batch
from benchmarks.work import SEEN, UPDATE


class Moving(Accounts):
    """The same models, moved by a machine.

    :param host: the application.
    """

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        moves = [["suspend", "active", "suspended"], ["resume", "suspended", "active"]]
        self.machine = Machine(
            model=None,
            states=["active", "suspended"],
            transitions=moves,
            initial=None,
            auto_transitions=False,
            model_attribute="status",
        )

    def update(self, number: int) -> None:
        """Move a state."""
        account = self.session.get(self.account, f"seen_{number % SEEN}")
        self.machine.add_model(account, initial=account.status)
        event = "suspend" if account.status == "active" else "resume"
        account.trigger(event)
        account.data = {**account.data, "turn": number}
        account.updated_at = datetime.now(timezone.utc)
        self.log(account, account.version + 1, event, account.updated_at)
        self.session.commit()
        self.machine.remove_model(account)


def works(stack: ExitStack, url: str, durable: bool) -> dict[str, Batch]:
    """Return what it does in another way than the models alone.

    :param stack: closes the application.
    :param url: its database.
    :param durable: whether a commit waits for the disk.
    """
    host = Host(stack, url, durable)
    accounts = Moving(host)
    accounts.begin()
    return {UPDATE: host.timed(accounts.update)}
