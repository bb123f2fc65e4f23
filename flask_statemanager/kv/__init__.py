"""Keys and values: what a program keeps under a name, versioned, expiring, and watched."""

from .conditions import If
from .event import KeyEvent
from .lease import Lease
from .several import Put, Remove
from .value import KEEP, KeyValue

__all__ = ["KEEP", "If", "KeyEvent", "KeyValue", "Lease", "Put", "Remove"]
