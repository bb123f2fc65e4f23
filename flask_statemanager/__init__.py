"""Flask-StateManager: durable, versioned, validated states for Flask applications."""

from . import signals
from .core.clock import Clock, SystemClock
from .core.record import Change, Key, Record, Revision
from .errors import (
    ConfigurationError,
    GuardFailed,
    LimitExceeded,
    StateConflict,
    StateExists,
    StateManagerError,
    StateNotFound,
    StateValidationError,
    StorageError,
    StorageTimeout,
    StorageUnavailable,
    TransitionNotAllowed,
)
from .extension import StateManager
from .lifecycle.machine import Guard, Machine, Transition
from .lifecycle.query import Page, StateQuery
from .lifecycle.reads import Explanation
from .lifecycle.state import HistoryEntry, State
from .lifecycle.types import StateTransition, StateType

__version__ = "0.1.0"

__all__ = [
    "Change",
    "Clock",
    "ConfigurationError",
    "Explanation",
    "Guard",
    "GuardFailed",
    "HistoryEntry",
    "Key",
    "LimitExceeded",
    "Machine",
    "Page",
    "Record",
    "Revision",
    "State",
    "StateConflict",
    "StateExists",
    "StateManager",
    "StateManagerError",
    "StateNotFound",
    "StateQuery",
    "StateTransition",
    "StateType",
    "StateValidationError",
    "StorageError",
    "StorageTimeout",
    "StorageUnavailable",
    "SystemClock",
    "Transition",
    "TransitionNotAllowed",
    "__version__",
    "signals",
]
