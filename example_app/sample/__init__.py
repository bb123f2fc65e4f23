"""A believable sample: months of a few hundred users' lives, the same for the same seed."""

from .load import LOGINS, Loaded, NotEmptyError, fill, is_empty, load, reset

__all__ = ["LOGINS", "Loaded", "NotEmptyError", "fill", "is_empty", "load", "reset"]
