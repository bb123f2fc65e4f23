"""Flows: conversations over channels, each one document, durable, expiring, written once in a turn."""

from .atomic import AtomicStateManager, RedisAtomic
from .audit import Audit, AuditEvent, FlowAuditLogger
from .components import (
    ApiComponent,
    Component,
    ConfirmBase,
    ConfirmComponent,
    DisplayComponent,
    InputComponent,
    external_call,
)
from .failures import ErrorContext, ErrorHandler
from .flow import Flow
from .messaging import InMemoryMessaging, Message, Messaging
from .redaction import Redaction
from .results import ValidationResult
from .session import FlowSession, FlowStateManager
from .steps import END, Goto, Step
from .texts import Texts
from .turns import Answer
from .validation import StateValidator

__all__ = [
    "END",
    "Answer",
    "ApiComponent",
    "AtomicStateManager",
    "Audit",
    "AuditEvent",
    "Component",
    "ConfirmBase",
    "ConfirmComponent",
    "DisplayComponent",
    "ErrorContext",
    "ErrorHandler",
    "Flow",
    "FlowAuditLogger",
    "FlowSession",
    "FlowStateManager",
    "Goto",
    "InMemoryMessaging",
    "InputComponent",
    "Message",
    "Messaging",
    "Redaction",
    "RedisAtomic",
    "StateValidator",
    "Step",
    "Texts",
    "ValidationResult",
    "external_call",
]
