"""What an operation of a flow came to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct


class ValidationResult(Struct, frozen=True):
    """Whether a value is good, and what it is, or why it is not.

    >>> ValidationResult.success(12.5).value
    12.5
    >>> refused = ValidationResult.failure("Send a number.", field="amount")
    >>> bool(refused), refused.message
    (False, 'Send a number.')

    :param valid: whether it is good.
    :param value: the value, as it is to be used.
    :param error: ``{"message": str, "field": str, "details": dict}`` where it is not.
    :param metadata: whatever else the application notes.
    """

    valid: bool
    value: Any = None
    error: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None

    @classmethod
    def success(cls, value: Any = None, metadata: Mapping[str, Any] | None = None) -> ValidationResult:
        """Return the result for a good value.

        :param value: the value, as it is to be used.
        :param metadata: whatever else the application notes.
        """
        return cls(True, value, None, None if metadata is None else dict(metadata))

    @classmethod
    def failure(
        cls, message: str, *, field: str = "value", details: Mapping[str, Any] | None = None
    ) -> ValidationResult:
        """Return the result for a bad value.

        :param message: a sentence that the user may read.
        :param field: what is bad.
        :param details: whatever helps to find out why.
        """
        return cls(False, None, {"message": message, "field": field, "details": dict(details or {})})

    def __bool__(self) -> bool:
        return self.valid

    @property
    def message(self) -> str | None:
        """The sentence of a bad value; None for a good one."""
        return None if self.error is None else str(self.error["message"])
