"""Flows: conversations over channels, each one document, durable, expiring, written once in a turn."""

from .atomic import AtomicStateManager, RedisAtomic
from .failures import ErrorContext, ErrorHandler
from .messaging import InMemoryMessaging, Message, Messaging
from .results import ValidationResult
from .session import FlowSession, FlowStateManager
from .validation import StateValidator

__all__ = [
    "AtomicStateManager",
    "ErrorContext",
    "ErrorHandler",
    "FlowSession",
    "FlowStateManager",
    "InMemoryMessaging",
    "Message",
    "Messaging",
    "RedisAtomic",
    "StateValidator",
    "ValidationResult",
]
