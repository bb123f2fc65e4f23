"""Flask-Caching's own caches, in the process and in Redis, as in "Set Up" and "Explicitly Caching Data" of its docs."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import Any

from flask import Flask
from flask_caching import Cache

from benchmarks.rounds import Batch, timed
from benchmarks.work import DOCUMENT, SEEN


def works(stack: ExitStack, url: str) -> dict[str, Batch]:
    """Return reads that hit.

    :param stack: leaves the application.
    :param url: of a Redis.
    """
    app = Flask("peer")
    simple = Cache(app, config={"CACHE_TYPE": "SimpleCache", "CACHE_DEFAULT_TIMEOUT": 3600})
    far = Cache(app, config={"CACHE_TYPE": "RedisCache", "CACHE_REDIS_URL": url, "CACHE_DEFAULT_TIMEOUT": 3600})
    stack.enter_context(app.app_context())
    document = json.loads(DOCUMENT)
    for number in range(SEEN):
        for cache in (simple, far):
            cache.set(f"seen_{number}", document)

    def reading(cache: Any) -> Batch:
        return timed(lambda number: cache.get(f"seen_{number % SEEN}"))

    return {"simple": reading(simple), "redis": reading(far)}
