"""What several operations of keys and values are told."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields, validate

from ...core.names import ID_PATTERN
from ...security.actor import MAX_REASON
from ..fields import text

KEY_PATTERN = f"^{ID_PATTERN}$"
KEY_RULE = {
    "description": "1 to 255 ASCII characters, no slash at the ends, no empty, . or .. segment.",
    "pattern": KEY_PATTERN,
    "examples": ["session:user123"],
}


class Ttl(fields.Float):
    """Seconds that a key lives; null for no expiry, left out for the bucket's, or what there is."""

    def __init__(self) -> None:
        super().__init__(
            allow_none=True,
            validate=validate.Range(0.001, 10 * 365 * 86400),
            metadata={
                "description": "Seconds until the key is absent, from now on; null for never.",
                "examples": [300],
            },
        )

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> float:
        if isinstance(value, bool | str):
            raise self.make_error("invalid", input=value)
        return super()._deserialize(value, attr, data, **kwargs)


class Metadata(fields.Dict):
    """What is noted about a key; null clears it, left out leaves what there is."""

    def __init__(self) -> None:
        super().__init__(
            fields.String(),
            fields.Raw(allow_none=True),
            allow_none=True,
            metadata={
                "description": "What to note about it; null clears it. A member `ttl` sets the expiry.",
                "examples": [{"purpose": "session_data"}],
            },
        )


class WriteBody(Schema):
    """What every write may say of itself."""

    source = text("The part of a system that asks.", "price_feed")
    reason = text("Why.", "price moved", most=MAX_REASON)


class Entry(Schema):
    """A key with its value."""

    key = fields.String(required=True)
    value = fields.Raw(required=True, allow_none=True)
    version = fields.Integer(required=True)
    metadata = fields.Dict()
    created_at = fields.DateTime()
    updated_at = fields.DateTime()
    expires_at = fields.DateTime(allow_none=True)


class Removed(Schema):
    """A key that is not there any more."""

    key = fields.String(required=True)
    removed = fields.Boolean(required=True)
