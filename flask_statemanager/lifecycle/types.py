"""The names that every application starts with. Both lists are open: ``define()`` adds types and transitions."""

from __future__ import annotations

from enum import Enum


class StateType(str, Enum):
    """The types of states that are known from the start, all with the default machine."""

    USER = "user"
    TRANSACTION = "transaction"
    SUBSCRIPTION = "subscription"
    FEATURE = "feature"
    SESSION = "session"


class StateTransition(str, Enum):
    """The transitions of the default machine."""

    CREATE = "create"
    UPDATE = "update"
    ACTIVATE = "activate"
    SUSPEND = "suspend"
    RESUME = "resume"
    EXPIRE = "expire"
    DELETE = "delete"


CREATE, UPDATE, EXPIRE, DELETE, ROLLBACK = "create", "update", "expire", "delete", "rollback"
DELETED = "deleted"
