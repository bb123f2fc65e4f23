"""A backend for Flask-Caching: what the application caches through it lies in Redis as JSON, never as a pickle.

States are cached on the same Redis, under the same prefix::

    app.config["CACHE_TYPE"] = "flask_statemanager.cache.redis_json.RedisJsonCache"
    app.config["CACHE_REDIS_URL"] = "redis://127.0.0.1:6379/0"
"""

from __future__ import annotations

from typing import Any

from flask_caching.backends.rediscache import RedisCache

from ..core.codec import clean, decode, encode
from ..core.record import JSON

MAX_BYTES = 2**26
"""The most bytes that one value takes."""


class JsonSerializer:
    """Writes values as JSON. Whole numbers are written as Redis itself counts them up and down."""

    def dumps(self, value: JSON) -> bytes:
        """Write a value.

        :param value: what JSON can hold; tuples become lists.
        :raises StateValidationError: when it holds anything else, with the path of it.
        :raises LimitExceeded: when it is too large.
        """
        return encode(clean(value, "value", MAX_BYTES)).encode()

    def loads(self, text: bytes | None) -> JSON:
        """Read a value; what is no JSON counts as nothing, for example what another backend has pickled.

        :param text: the text, or None.
        """
        try:
            return None if text is None else decode(text)
        except ValueError:
            return None


class RedisJsonCache(RedisCache):
    """Flask-Caching's Redis backend, with all that it can do and is configured by, and JSON in place of pickle."""

    serializer: Any = JsonSerializer()
