"""Flows: conversations over channels, each one document, durable, expiring, written once in a turn."""

from .messaging import InMemoryMessaging, Message, Messaging
from .results import ValidationResult
from .session import FlowSession, FlowStateManager
from .validation import StateValidator

__all__ = [
    "FlowSession",
    "FlowStateManager",
    "InMemoryMessaging",
    "Message",
    "Messaging",
    "StateValidator",
    "ValidationResult",
]
