"""The blinker signals. The sender is the Flask app (None without one), the payload a keyword argument.

Receivers run after the outermost commit, each isolated: one that fails is logged and counted, the others still run.
``state_changing`` alone runs before, inside the transaction, and may veto by raising.

>>> from flask_statemanager import signals
>>> @signals.state_transitioned.connect
... def log(sender, change):
...     print(change.key.name, change.before.status, "to", change.after.status)
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from blinker import NamedSignal, Namespace, Signal
from flask import current_app, has_app_context

from .core.codec import isolated_change
from .core.record import Change

logger = logging.getLogger("flask_statemanager")

namespace = Namespace()

state_registered = namespace.signal("state-registered", doc="A state was created. Payload: ``change``.")
state_changing = namespace.signal(
    "state-changing", doc="A state is about to be written; raise to refuse. Payload: ``change``, its revision still 0."
)
state_changed = namespace.signal("state-changed", doc="A state was written, in whichever way. Payload: ``change``.")
state_transitioned = namespace.signal(
    "state-transitioned", doc="The status of an existing state is another than before. Payload: ``change``."
)
state_deleted = namespace.signal("state-deleted", doc="A state was deleted. Payload: ``change``.")
transition_refused = namespace.signal(
    "transition-refused",
    doc="Status or guard refused a transition; nothing was written. Payload: ``state_id``, ``transition``, ``error``.",
)
callback_failed = namespace.signal(
    "callback-failed", doc="An ``after`` callback raised. Payload: ``callback`` (its name), ``change``, ``error``."
)


effect_dead = namespace.signal(
    "effect-dead", doc="A durable effect is a dead letter now. Payload: ``effect``, as ``get_effect`` gives it."
)


key_changed = namespace.signal(
    "key-changed", doc="A key of ``state_manager.kv`` or of another bucket was written. Payload: ``change``."
)


def transition_signal(transition: str) -> NamedSignal:
    """Return the signal of one transition, sent after its commit with ``change``.

    >>> transition_signal("suspend").name
    'transition:suspend'

    :param transition: the transition's name; ``create``, ``update``, ``delete`` and ``rollback`` too.
    """
    return namespace.signal(f"transition:{transition}")


_of_transition = lru_cache(maxsize=1024)(transition_signal)


def signals_of(change: Change) -> list[Signal]:
    """Return the signals that a committed change sends, in their order.

    :param change: the change.
    """
    before, after = change.before, change.after
    found: list[Signal] = [state_changed] if before is not None else [state_registered, state_changed]
    if before is not None and before.status != after.status:
        found.append(state_transitioned)
    if after.deleted_at is not None:
        found.append(state_deleted)
    found.append(_of_transition(change.event))
    return found


def sender() -> Any:
    """Return the app, as blinker's senders must be the object and not the proxy; None without an app."""
    return current_app._get_current_object() if has_app_context() else None  # type: ignore[attr-defined]


def send_change(signal: Signal, sender: Any, change: Change, failed: Callable[[], None]) -> None:
    """Send a signal with a committed change, a copy for each receiver.

    :param signal: the signal.
    :param sender: the app.
    :param change: the change.
    :param failed: called for each receiver that raised.
    """
    if signal.receivers:
        send_isolated(signal, sender, failed, lambda: {"change": isolated_change(change)})


def send_isolated(
    signal: Signal, sender: Any, failed: Callable[[], None], payload: Callable[[], dict[str, Any]]
) -> None:
    """Send a signal so that no receiver can hurt another or the sender.

    :param signal: the signal.
    :param sender: the app.
    :param failed: called for each receiver that raised.
    :param payload: makes what a receiver gets, anew for each, as one may edit it.
    """
    if not signal.receivers or signal.is_muted:
        return
    for receiver in signal.receivers_for(sender):
        try:
            receiver(sender, **payload())
        except Exception:
            logger.exception("A receiver of the signal %s failed.", getattr(signal, "name", signal))
            failed()
