"""The reception of one app: what its conversations stand on, and what workers do for them."""

from __future__ import annotations

from flask import current_app, has_app_context
from msgspec.structs import replace

from .config import Settings
from .core.ports import Backend
from .effects.callbacks import Callback
from .effects.chores import Chore
from .effects.durable import Durability
from .flows.audit import AUDIT, AuditTrail
from .flows.definitions import FlowDefinitions
from .flows.parts import FlowParts
from .flows.responsibilities import Wardenship
from .flows.sending import TOPIC, Sending
from .flows.turns import Conduct
from .metrics.counters import Counters
from .shelves import Shelves

DURABILITY = Durability(TOPIC)
"""How answers are sent that the process which made them could not send."""


class Reception:
    """Connects the parts of conversations.

    :param settings: the app's settings.
    :param shelves: where the documents lie.
    :param declared: what the application declares for its flows.
    :param main: where the states live, whose jobs the workers carry out.
    :param counters: the app's counters.
    """

    def __init__(
        self, settings: Settings, shelves: Shelves, declared: FlowDefinitions, main: Backend, counters: Counters
    ) -> None:
        self._settings = settings
        self._shelves = shelves
        self._declared = declared
        self._main = main
        self._warden = Wardenship(_strict, lambda: counters.increment("flows.breach"))

    def parts(self) -> FlowParts:
        """Return what conversations stand on, with what is declared for them by now.

        :raises ConfigurationError: when their backend cannot be had, or lacks a power.
        """
        found = self._shelves.flow_parts(self._declared)
        trail = AuditTrail(found.bucket.name, self._declared.registry.manners.redaction)
        return replace(found, accompany=trail, beside=(AUDIT,))

    def conduct(self) -> Conduct:
        """Return what turns stand on.

        :raises ConfigurationError: when the backend of conversations cannot be had, or lacks a power.
        """
        parts = self.parts()
        jobs = parts.bucket.jobs.enqueues if parts.bucket.backend is self._main else None
        return Conduct(
            parts=parts,
            registry=self._declared.registry,
            sending=Sending(parts, jobs),
            lease=self._settings.flows_lease,
            warden=self._warden,
        )

    def effect(self, name: str) -> tuple[Callback, Durability] | None:
        """Return the durable effect that sends, or None for another name.

        :param name: the name of an effect.
        """
        return (self.conduct().sending.effect, DURABILITY) if name == TOPIC else None

    def chores(self) -> list[Chore]:
        """Return what a worker has to do for conversations again and again."""
        return [Chore("send what conversations have to say", self._settings.worker_poll, self._sweep)]

    def _sweep(self) -> bool:
        return self.conduct().sending.sweep()


def _strict() -> bool:
    """Tell whether a breach raises: where the app is tested or debugged, and where there is none."""
    return not has_app_context() or bool(current_app.testing or current_app.debug)
