"""Failures: what is noted of them, and what the user reads."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

from msgspec import Struct, field

from ..errors import LimitExceeded, StateConflict, StateManagerError, StateValidationError, StorageError
from .results import ValidationResult

logger = logging.getLogger("flask_statemanager.flows")

VALIDATION, SYSTEM = "validation", "system"


class ErrorContext(Struct, frozen=True):
    """What a program knows of a failure.

    >>> ErrorContext(error_type="api", message="The ledger is away.", details={"code": "LEDGER_DOWN"}).details["code"]
    'LEDGER_DOWN'

    :param error_type: its kind: ``validation`` when the user can mend it, else ``system``, ``api``, ``flow`` or another
        word of the application.
    :param message: what happened.
    :param details: whatever belongs to it, JSON; in other systems ``code``, ``service`` and ``action``.
    """

    error_type: str
    message: str
    details: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, error: BaseException) -> ErrorContext:
        """Make the context of an error of which nothing else is known.

        :param error: the error.
        """
        kind = VALIDATION if isinstance(error, StateValidationError | LimitExceeded) else SYSTEM
        return cls(kind, str(error), {"error": type(error).__name__})


class Noting(Protocol):
    """What a failure is noted in: a session."""

    @property
    def collecting(self) -> bool:
        """Whether a commit is going to follow."""
        ...  # pragma: no cover - a protocol has no body

    def note(self, event: str, **details: Any) -> None:
        """Note something for the audit trail.

        :param event: what it is.
        :param details: what belongs to it.
        """
        ...  # pragma: no cover - a protocol has no body

    def touch(self) -> None:
        """Commit what is noted, unless a commit is going to follow."""
        ...  # pragma: no cover - a protocol has no body


class ErrorHandler:
    """Turns a failure into an entry of the audit trail and a sentence for the user.

    :cvar sentences: what the user reads, by ``error_type``; an application may put its own there.
    """

    sentences: ClassVar[dict[str, str]] = {
        SYSTEM: "Something went wrong on our side. Nothing was lost: please try again in a moment.",
        "conflict": "Another message of yours was being dealt with. Please send this one again.",
        "storage": "We cannot reach your conversation right now. Please try again in a moment.",
    }

    @classmethod
    def handle_error(
        cls, error: BaseException, state_manager: Noting, context: ErrorContext | None = None
    ) -> ValidationResult:
        """Note a failure, and tell the user in words that show nothing of the inside.

        That the note cannot be written is logged; it never raises because of that.

        :param error: the error.
        :param state_manager: the session.
        :param context: what is known of it; made of the error by default.
        :returns: a failure with the sentence for the user; its details hold ``error_type`` and ``code``.
        """
        known = ErrorContext.of(error) if context is None else context
        try:
            state_manager.note(
                "error",
                error_type=known.error_type,
                message=known.message,
                details=dict(known.details),
                error=type(error).__name__,
            )
            state_manager.touch()
        except StateManagerError as unwritten:
            logger.warning("A failure in a conversation could not be noted: %s", type(unwritten).__name__)
        code = known.details.get("code")
        details = {"error_type": known.error_type} | ({} if code is None else {"code": code})
        return ValidationResult.failure(cls.sentence(error, known), field="error", details=details)

    @classmethod
    def sentence(cls, error: BaseException, context: ErrorContext) -> str:
        """Return what the user reads.

        :param error: the error.
        :param context: what is known of it.
        """
        if context.error_type == VALIDATION:
            return context.message
        kind = context.error_type
        if kind == SYSTEM and isinstance(error, StateConflict):
            kind = "conflict"
        elif kind == SYSTEM and isinstance(error, StorageError):
            kind = "storage"
        return cls.sentences.get(kind, cls.sentences[SYSTEM])
