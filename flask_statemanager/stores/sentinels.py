"""What verbs answer in place of a value."""

from __future__ import annotations

from enum import Enum
from typing import Final


class Sentinel(Enum):
    """Stands for something that is no value. Both are false."""

    NO_UPDATE = "no update"
    CLIENT_MANAGED = "client managed"

    def __bool__(self) -> bool:
        """Return False, so that ``if data:`` takes the branch for no data."""
        return False


NO_UPDATE: Final = Sentinel.NO_UPDATE
"""The server keeps the value: the browser's own store need not be changed."""

CLIENT_MANAGED: Final = Sentinel.CLIENT_MANAGED
"""The browser keeps the value: the server does not know it."""
