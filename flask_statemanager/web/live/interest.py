"""What a client wants to hear of, and what it may."""

from __future__ import annotations

from msgspec import Struct

from ...core.record import Change
from ...tracking.propagation import FULL, Reaches, Sight


class Interest(Struct, frozen=True):
    """What a client has asked for.

    :param buckets: of which collections, sorted.
    :param prefix: only keys that begin so.
    :param type_name: only records of this type; None for all.
    :param values: whether it wants the values, too.
    """

    buckets: tuple[str, ...]
    prefix: str = ""
    type_name: str | None = None
    values: bool = True

    def takes(self, change: Change) -> bool:
        """Tell whether a change is of interest.

        :param change: the change.
        """
        key = change.key
        return (
            key.bucket in self.buckets
            and key.name.startswith(self.prefix)
            and (self.type_name is None or change.after.type == self.type_name)
        )

    def seen(self, sight: Sight) -> Sight:
        """Return what is wanted of what may be seen.

        :param sight: what may be seen.
        """
        return sight if self.values else Sight(sight.old, sight.new, values=False)


class Audience(Struct, frozen=True):
    """Who listens.

    :param user: the id; None for an administrator.
    :param everything: whether it is told of everything, as an administrator is.
    """

    user: str | None = None
    everything: bool = False

    def sight(self, reaches: Reaches) -> Sight:
        """Return what may be seen of a change.

        :param reaches: whose the record was and is.
        """
        return FULL if self.everything else reaches.sight(self.user)


EVERYTHING = Audience(everything=True)
"""An administrator, whoever it is."""
