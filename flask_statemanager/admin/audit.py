"""Audit: who did what, when and why; and what was refused to whom."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from msgspec import Struct

from ..core.audits import Audited, AuditQuery, Audits
from ..core.bucket import Bucket
from ..core.record import Key
from ..errors import StateManagerError, StateValidationError
from ..lifecycle.parts import BUCKET
from ..refusing import SLOTS, Kept, book_of
from ..tracking.refusals import FORBIDDEN, GUARD, RATE, STATUS, UNKNOWN
from .answers import Shown
from .page import Pages
from .places import outcome, place_of
from .visit import Visit

pages = Pages("audit", "Audit", order=80)

PAGE = 50
"""The most changes, and refusals, of a page."""

LOOK_AT = 25_000
"""How many entries of the log are looked at for a page."""

LABELS = {
    STATUS: "status",
    GUARD: "guard",
    UNKNOWN: "not signed in",
    FORBIDDEN: "not allowed",
    RATE: "too many",
}
"""The kinds of refusals, in short."""

ALL = "*"
"""Stands for all buckets of the store of the states."""

TEXTS = ("actor", "event", "source", "request_id", "type", "status", "reason", "name")
"""What can be asked for as it is."""

_FORMS = ("%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d")


class Result(Struct, frozen=True):
    """What a search has come to.

    :param audited: what was found, and how far it has looked; None where it could not be made.
    :param problem: why not.
    """

    audited: Audited | None
    problem: str | None = None


# -- who did what ------------------------------------------------------------------------------------------------------


@pages.show("/audit", "audit")
def search(visit: Visit) -> Shown:
    """Search the log of the store, newest first.

    :param visit: the visit.
    """
    wanted = visit.query.get("bucket") or BUCKET
    try:
        result = Result(_audited(visit, wanted))
    except StateValidationError as error:
        result = Result(None, " ".join(text for texts in error.errors.values() for text in texts))
    except StateManagerError as error:
        result = Result(None, str(error))
    buckets = sorted({BUCKET, *visit.runtime.declarations.buckets.buckets})
    values = {
        "result": result,
        "bucket": wanted,
        "buckets": [(ALL, "All in the store of the states"), *buckets],
        "asked": {name: visit.query.get(name, "") for name in (*TEXTS, "since", "until")},
        "look_at": LOOK_AT,
        "place_of": lambda deed: place_of(visit, deed.key),
        "outcome": outcome,
    }
    return Shown("audit.html", values)


def _audited(visit: Visit, wanted: str) -> Audited | None:
    bucket = _bucket(visit, BUCKET if wanted == ALL else wanted)
    backend = bucket.backend
    if not isinstance(backend, Audits):
        raise StateValidationError(
            {"bucket": [f"{wanted} lies in {backend.title}, whose log cannot be searched: a database keeps one."]}
        )
    query = _query(visit.query, None if wanted == ALL else wanted)
    with bucket.reading() as unit:
        return backend.audit(unit, query)


def _bucket(visit: Visit, name: str) -> Bucket:
    return visit.runtime.bucket if name == BUCKET else visit.runtime.shelves.kept(name).bucket


def _query(query: Mapping[str, str], bucket: str | None) -> AuditQuery:
    texts: dict[str, Any] = {name: query.get(name, "").strip() or None for name in TEXTS}
    if bucket is None and texts["name"] is not None:
        raise StateValidationError({"name": ["Choose the bucket that it is in."]})
    unusable = next((name for name, text in texts.items() if text is not None and "\0" in text), None)
    if unusable is not None:
        raise StateValidationError({unusable: ["This cannot be in any change."]})
    return AuditQuery(
        bucket,
        **texts,
        since=_moment(query, "since"),
        until=_moment(query, "until"),
        before=_revision(query.get("before")),
        limit=PAGE,
        look_at=LOOK_AT,
    )


def _moment(query: Mapping[str, str], name: str) -> datetime | None:
    """Return a moment in UTC, as browsers and people write it."""
    given = query.get(name, "").strip().rstrip("Z")
    if not given:
        return None
    for form in _FORMS:
        try:
            return datetime.strptime(given, form).replace(tzinfo=timezone.utc)
        except ValueError:
            continue
    raise StateValidationError({name: [f"{given[:40]!r} is no moment: write 2026-01-31 12:00, in UTC."]})


def _revision(given: str | None) -> int | None:
    if given is None:
        return None
    if given.isascii() and given.isdigit() and len(given) < 19:
        return int(given)
    raise StateValidationError({"before": ["This is no page: begin with the first one."]})


# -- what was refused --------------------------------------------------------------------------------------------------


class Refused(Struct, frozen=True):
    """A page of what was refused.

    :param found: newest first.
    :param next: where the next page begins; None where there is none.
    """

    found: list[Kept]
    next: int | None


@pages.show("/refusals", "refusals")
def list_refusals(visit: Visit) -> Shown:
    """List the latest of what was refused.

    :param visit: the visit.
    """
    kept = visit.runtime.refusals.kept
    values = {
        "kept": kept,
        "refused": _refused(visit) if kept else Refused([], None),
        "kinds": list(LABELS.items()),
        "labels": LABELS,
        "slots": SLOTS,
        "ttl": visit.runtime.settings.refusals_ttl,
        "counted": _counted(visit),
        "place_of_state": lambda state_id: place_of(visit, Key(BUCKET, state_id)),
    }
    return Shown("refusals.html", values)


def _refused(visit: Visit) -> Refused:
    query = visit.query
    kind, who = query.get("kind", ""), query.get("who", "").strip()
    found = [
        each
        for each in book_of(visit.runtime).latest()
        if kind in ("", each.kind) and (not who or who in (each.who or "", each.address or "", each.target or ""))
    ]
    start = _revision(query.get("after")) or 0
    more = start + PAGE if len(found) > start + PAGE else None
    return Refused(found[start : start + PAGE], more)


def _counted(visit: Visit) -> list[tuple[str, int]]:
    """Return the refused transitions of this process, by transition."""
    counters = visit.runtime.counters.snapshot()
    found = [
        (name.removeprefix("refused."), number) for name, number in counters.items() if name.startswith("refused.")
    ]
    return sorted(found, key=lambda pair: -pair[1])[:20]
