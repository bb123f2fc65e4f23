"""The verbs that read and write, together: what stands on top of keys and values needs no more."""

from __future__ import annotations

from .reads import KvReads
from .several import KvSeveral
from .writes import KvWrites


class KvVerbs(KvReads, KvWrites, KvSeveral):
    """All verbs that read and write."""
