"""One app's lifecycle face, for the parts of this package that have a runtime at hand (CLI, web, admin)."""

from __future__ import annotations

from .bulk import LifecycleBulk
from .parts import Parts
from .reads import LifecycleReads
from .scheduling import LifecycleScheduling
from .transactions import LifecycleTransactions
from .writes import LifecycleWrites


class Lifecycle(LifecycleReads, LifecycleWrites, LifecycleBulk, LifecycleScheduling, LifecycleTransactions):
    """The lifecycle verbs on one app's running parts.

    :param parts: the running parts.
    """

    def __init__(self, parts: Parts) -> None:
        self.parts = parts

    def _parts(self) -> Parts:
        return self.parts
