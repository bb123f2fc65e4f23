"""Flask-StateManager: durable, versioned, validated states for Flask applications."""

from . import signals
from .core.clock import Clock, SystemClock
from .core.record import Change, Key, Record, Revision
from .core.snapshots import Restored
from .effects.outbox import Effect
from .errors import (
    BulkInterrupted,
    Compacted,
    ConfigurationError,
    GuardFailed,
    IdempotencyKeyReused,
    JobNotFound,
    LimitExceeded,
    PermanentFailure,
    RequestInProgress,
    ResponsibilityBreach,
    SnapshotDamaged,
    SnapshotInUse,
    SnapshotNotFound,
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
from .lifecycle.bulk_run import BulkResult, Refusal
from .lifecycle.deadlines import Deadline
from .lifecycle.explaining import Explanation
from .lifecycle.machine import Guard, Machine, Transition
from .lifecycle.query import Page, StateQuery
from .lifecycle.scheduling import Timer
from .lifecycle.state import HistoryEntry, State
from .lifecycle.types import StateTransition, StateType
from .snapshots.snapshot import Snapshot
from .tracking.propagation import Reach

__version__ = "0.1.0"

__all__ = [
    "BulkInterrupted",
    "BulkResult",
    "Change",
    "Clock",
    "Compacted",
    "ConfigurationError",
    "Deadline",
    "Effect",
    "Explanation",
    "Guard",
    "GuardFailed",
    "HistoryEntry",
    "IdempotencyKeyReused",
    "JobNotFound",
    "Key",
    "LimitExceeded",
    "Machine",
    "Page",
    "PermanentFailure",
    "Reach",
    "Record",
    "Refusal",
    "RequestInProgress",
    "ResponsibilityBreach",
    "Restored",
    "Revision",
    "Snapshot",
    "SnapshotDamaged",
    "SnapshotInUse",
    "SnapshotNotFound",
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
    "Timer",
    "Transition",
    "TransitionNotAllowed",
    "__version__",
    "signals",
]
