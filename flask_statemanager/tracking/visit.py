"""One request as it is tracked: what is taken down while it is under way, and the notes that this becomes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct

from ..core.clock import iso
from ..core.record import JSONObject
from .redaction import MAX_HEADER, plain, shown_uri
from .rules import Rules


class Visit(Struct, eq=False):
    """One request. The thread that serves it fills it in, the one that writes the notes marks what is written.

    :param correlation_id: the request's.
    :param wanted: whether it is among those that are noted; of the others only the user is known.
    :param method: as it was sent.
    :param path: as it was sent, without the query string.
    :param query: the query string.
    :param headers: the allowed ones.
    :param started_at: when it began.
    :param began: the same, on the clock that only runs forward.
    :param arguments: what the route has found in the path.
    :param rule: of the route.
    :param user: whose request it is; None where nobody has said so.
    :param left: whose session it has ended; None for nobody's.
    :param status: of the answer; None where there is none yet.
    :param streamed: whether the answer goes on behind the view.
    :param completed_at: when it ended; None while it has not.
    :param duration: how many seconds it took.
    :param begun: whether the note of its beginning is in the store: None where nobody has tried, False where another
        request has its key.
    :param ended: whether the note of its end is done with.
    """

    correlation_id: str
    wanted: bool = False
    method: str = ""
    path: str = ""
    query: str = ""
    headers: Mapping[str, str] = {}
    started_at: datetime | None = None
    began: float = 0.0
    arguments: Mapping[str, Any] | None = None
    rule: str = ""
    user: str | None = None
    left: str | None = None
    status: int | None = None
    streamed: bool = False
    completed_at: datetime | None = None
    duration: float = 0.0
    begun: bool | None = None
    ended: bool = False

    def beginning(self, rules: Rules) -> JSONObject:
        """Return the note of its beginning.

        :param rules: what is noted.
        """
        return {
            "method": plain(self.method, 20),
            "uri": shown_uri(self.path, self.query, self.arguments, rules.query, self.rule),
            "started_at": None if self.started_at is None else iso(self.started_at),
            "headers": {name: plain(value, MAX_HEADER) for name, value in self.headers.items()},
        }

    def completion(self) -> JSONObject | None:
        """Return the note of its end, or None while it has not ended."""
        if self.completed_at is None:
            return None
        return {
            "completed_at": iso(self.completed_at),
            "status": self.status,
            "duration_ms": round(self.duration * 1000, 1),
        }
