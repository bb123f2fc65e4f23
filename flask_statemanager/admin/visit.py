"""Visits: what the functions of a page are given of the request."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from flask import url_for
from msgspec import Struct, field
from msgspec.structs import replace
from werkzeug.routing import BuildError

from ..core.record import JSON
from ..core.secrets import redacted, redacted_members
from ..errors import StateValidationError
from ..runtime import Runtime
from ..security.identity import Identity

BLUEPRINT = "statemanager_admin"
"""The name of the blueprint, and what the endpoints begin with."""

SOURCE = "admin"
"""What the changes that are made here name as their source."""

REASON = "reason"
"""The form field that says why."""

NO_QUERY = frozenset(("endpoint", "_anchor", "_external", "_method", "_scheme"))
"""What no query may be called, as ``url_for`` takes it for its own: a link could have the pages lead elsewhere."""

logger = logging.getLogger("flask_statemanager.admin")


class Writing(TypedDict):
    """Who asks and why, as the verbs take it."""

    actor: str
    source: str
    reason: str | None


class Refusal(Struct, frozen=True):
    """What an act was refused with; the page that it came from is shown with it.

    :param sentence: what to do.
    :param fields: messages by field, such as ``data.email``.
    """

    sentence: str
    fields: Mapping[str, Sequence[str]] = field(default_factory=dict)


class Visit(Struct, frozen=True):
    """One request of somebody who may see the pages.

    :param runtime: the app's running parts.
    :param identity: who asks; ``identity.user`` is the ``actor`` of what is written.
    :param query: the query; of a name that comes twice, the first value.
    :param form: the form, likewise.
    :param several: the values of the form fields that came more than once, in order; see :meth:`chosen`.
    :param refusal: what the act that was asked for was refused with, or None.
    :param revealed: whether secrets may be shown.
    :param told: the message of what was done before, or None.
    """

    runtime: Runtime
    identity: Identity
    query: Mapping[str, str] = field(default_factory=dict)
    form: Mapping[str, str] = field(default_factory=dict)
    several: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    refusal: Refusal | None = None
    revealed: bool = False
    told: str | None = None

    def writing(self) -> Writing:
        """Return who asks and why, for a verb: ``update_state(..., **visit.writing())``. An empty reason is none."""
        reason = self.form.get(REASON, "").strip()
        return {"actor": self.identity.user, "source": SOURCE, "reason": reason or None}

    def chosen(self, name: str) -> tuple[str, ...]:
        """Return all values of a form field, such as those of check boxes with one name.

        :param name: the field.
        """
        one = (self.form[name],) if name in self.form else ()
        return self.several.get(name, one)

    def url(self, name: str, /, **arguments: Any) -> str:
        """Return the URL of a page or an act; what is no part of its path goes into the query, None is left out.

        :param name: its name.
        :param arguments: those of its path, and of the query.
        :raises werkzeug.routing.BuildError: when there is none, or its path lacks an argument.
        """
        return url_for(f"{BLUEPRINT}.{name}", **arguments)

    def find(self, name: str, /, **arguments: Any) -> str | None:
        """Return the URL of a page that there may not be, or None; for links to pages of other faces.

        :param name: its name.
        :param arguments: as for :meth:`url`.
        """
        try:
            return self.url(name, **arguments)
        except BuildError:
            return None

    def typed(self, name: str, otherwise: Any = "") -> Any:
        """Return what a field of a form holds: what was typed, if the act was refused, else what it begins with.

        :param name: the field.
        :param otherwise: what it begins with.
        """
        return self.form.get(name, otherwise) if self.refusal is not None else otherwise

    def problems(self, name: str) -> list[str]:
        """Return the messages about a field and what lies below it.

        :param name: the field, such as ``data``.
        """
        if self.refusal is None:
            return []
        return [
            text if at == name else f"{at}: {text}"
            for at, texts in self.refusal.fields.items()
            if at == name or at.startswith(f"{name}.")
            for text in texts
        ]

    def covered(self, value: JSON, paths: Sequence[str] = ()) -> JSON:
        """Return a value without its secrets, unless they were asked to be revealed.

        Covered is what a bucket names as ``secrets``, and what members of the names in ``STATEMANAGER_LIVE_SECRETS``
        hold, at any depth.

        :param value: a clean value.
        :param paths: where the bucket's secrets are.
        """
        if self.revealed:
            return value
        return redacted_members(redacted(value, paths), self.runtime.settings.live_secrets)

    def revealing(self, what: str) -> Visit:
        """Return this visit as one that sees secrets; the frame does so for acts that are declared to reveal some.

        :param what: of what the secrets are shown.
        :raises StateValidationError: when no reason is given.
        """
        reason = self.writing()["reason"]
        if reason is None:
            raise StateValidationError({REASON: ["Say why the secrets have to be seen."]})
        self.runtime.counters.increment("admin.revealed")
        logger.warning("%r has the secrets of %s revealed: %r", self.identity.user, what, reason)
        return replace(self, revealed=True)
