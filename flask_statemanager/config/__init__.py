"""Settings: every ``STATEMANAGER_`` key, read once, checked here. The docs page of keys is made from this package."""

from .indexed import ANY_TYPE, IndexedField
from .settings import PREFIX, Settings

__all__ = ["ANY_TYPE", "PREFIX", "IndexedField", "Settings"]
