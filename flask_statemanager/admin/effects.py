"""Durable effects, above all the dead letters among them: look, try again, give up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.jobs import CANCELLED, DEAD, DONE, PENDING
from ..effects.outbox import Effect, Outbox, OutboxVerbs, asked_by
from ..errors import LimitExceeded, StateValidationError
from ..flows.sending import TOPIC
from ..runtime import Runtime
from .answers import Done, Shown
from .causes import bucket_of, cause_of, without_secrets
from .jobs import PAGE, jobs_kept, number_in, paged
from .longwork import Outcome, Task, begun
from .page import Pages
from .progress import Report
from .visit import Visit

pages = Pages("effects", "Effects", order=44)

EVERY = "all"
ALL_EFFECTS = "all effects"
"""Stands for every effect in the form that has dead letters retried; no name of one has a space in it."""

STATUSES = ((DEAD, "Dead letters"), (PENDING, "Waiting"), (DONE, "Done"), (CANCELLED, "Discarded"), (EVERY, "All"))
"""What can be asked for; the first by default."""


class _Verbs(OutboxVerbs):
    """The verbs on the effects of one app."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def _outbox(self) -> Outbox:
        return self._runtime.workshop.outbox


@pages.show("/effects", "effects")
def list_effects(visit: Visit) -> Shown:
    """List durable effects, the newest first.

    :param visit: the visit.
    """
    if not jobs_kept(visit):
        return Shown("no_jobs.html", {"title": "Effects", "what": "durable effects"})
    runtime = visit.runtime
    known = {*runtime.declarations.callbacks.effects, TOPIC}
    wanted = visit.query.get("effect")
    attended = runtime.workshop.desk
    values: dict[str, Any] = {
        "statuses": STATUSES,
        "status": visit.query.get("status") or DEAD,
        "known": [(name, name) for name in sorted(known | ({wanted} if wanted else set()))],
        "all_effects": ALL_EFFECTS,
        "attendance": None if attended is None else attended.attendance(),
        "effects": [],
        "next": None,
        "trouble": None,
    }
    try:
        found = _listed(visit, values["status"])
    except (StateValidationError, LimitExceeded) as error:
        return Shown("effects.html", {**values, "trouble": str(error)}, 422)
    page, after = paged(found)
    shown = [(without_secrets(visit, each), bucket_of(each)) for each in page]
    return Shown("effects.html", {**values, "effects": shown, "next": after})


@pages.show("/effects/<effect_id>", "effect")
def show_effect(visit: Visit, effect_id: str) -> Shown:
    """Show one effect: what it is about, and why it fails.

    :param visit: the visit.
    :param effect_id: which one.
    """
    found = _Verbs(visit.runtime).get_effect(number_in(effect_id, "effect_id"))
    cause = cause_of(visit, bucket_of(found), found.state_id, found.version)
    registered = visit.runtime.declarations.callbacks.effect(found.effect)
    values = {
        "effect": found,
        "bucket": bucket_of(found),
        "error": cause.discreet(found.error),
        "traceback": cause.discreet(found.traceback),
        "cause": cause,
        "durability": None if registered is None else registered[1],
        "known": registered is not None or found.effect == TOPIC,
        "retriable": found.status in (DEAD, CANCELLED, PENDING),
        "discardable": found.status in (DEAD, PENDING),
    }
    return Shown("effect.html", values)


@pages.act("/effects/<effect_id>/reveal", "reveal_effect", reveals="effect {effect_id}")
def reveal_effect(visit: Visit, effect_id: str) -> Shown:
    """Show one effect with the secrets in it.

    :param visit: the visit.
    :param effect_id: which one.
    """
    return show_effect(visit, effect_id)


@pages.act("/effects/<effect_id>/retry", "retry_effect")
def retry_effect(visit: Visit, effect_id: str) -> Done:
    """Have an effect tried again now.

    :param visit: the visit.
    :param effect_id: which one.
    """
    found = _Verbs(visit.runtime).retry_effect(number_in(effect_id, "effect_id"), **visit.writing())
    return Done(f"Effect {found.id}, {found.effect}, is going to be tried again.", _page_of(visit, found))


@pages.act(
    "/effects/<effect_id>/discard",
    "discard_effect",
    destructive="Discard effect {effect_id}? It is not tried any more, and what it was to do is left undone.",
)
def discard_effect(visit: Visit, effect_id: str) -> Done:
    """Give an effect up.

    :param visit: the visit.
    :param effect_id: which one.
    :raises StateValidationError: when no reason is given.
    """
    asked = visit.writing()
    if asked["reason"] is None:
        raise StateValidationError({"reason": ["Say why it is given up: it stands with the effect."]})
    found = _Verbs(visit.runtime).discard_effect(number_in(effect_id, "effect_id"), **asked)
    return Done(f"Effect {found.id}, {found.effect}, is discarded.", _page_of(visit, found))


@pages.act(
    "/effects/retry-dead",
    "retry_dead",
    destructive="Retry all dead letters of {effect}? Whatever failed there is done again, mails and payments too.",
)
def retry_dead(visit: Visit) -> Done:
    """Have all dead letters tried again, or those of one effect; with very many it takes a while.

    :param visit: the visit.
    """
    outbox, wanted = visit.runtime.workshop.outbox, visit.form.get("effect", "")
    effect = None if wanted in ("", ALL_EFFECTS) else wanted
    asked, total = visit.writing(), outbox.counts().dead if effect is None else None
    by = asked_by(asked["actor"], asked["source"], asked["reason"])

    def perform(report: Report) -> Outcome:
        number = outbox.retry_dead(effect, by, lambda done: report(done, None if total is None else max(total, done)))
        noun = "dead letter is" if number == 1 else "dead letters are"
        arguments = {"status": PENDING} | ({"effect": effect} if effect else {})
        return Outcome(f"{number:,} {noun} going to be tried again.", "effects", arguments)

    of = f" of {effect}" if effect else ""
    return begun(visit, Task(f"Retry all dead letters{of}", perform, "retry-dead", "dead letters", "effects"))


def _listed(visit: Visit, status: str) -> list[Effect]:
    query: Mapping[str, str] = visit.query
    return _Verbs(visit.runtime).list_effects(
        status=None if status == EVERY else status,
        state_id=query.get("state") or None,
        effect=query.get("effect") or None,
        limit=PAGE + 1,
        after=number_in(query["after"], "after") if query.get("after") else None,
        newest_first=True,
    )


def _page_of(visit: Visit, effect: Effect) -> str:
    return visit.url("effect", effect_id=effect.id)
