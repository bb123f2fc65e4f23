"""The cache of Flask-Caching over a bucket: ``CACHE_TYPE = "flask_statemanager.integrations.flask_caching.cache"``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flask import Flask

from ..core.buckets import KV
from ..errors import ConfigurationError, shown
from .cachelib import StateManagerCache

BUCKET_KEY = "CACHE_BUCKET"
"""The key of Flask-Caching's configuration that names the bucket."""


def cache(_app: Flask, config: Mapping[str, Any], args: Sequence[Any], options: Mapping[str, Any]) -> StateManagerCache:
    """Make the cache of a Flask-Caching object, which is to name this function as its ``CACHE_TYPE``.

    :param _app: the app.
    :param config: its configuration, in which ``CACHE_BUCKET`` names the bucket.
    :param args: ``CACHE_ARGS``, of which there are none here.
    :param options: ``CACHE_OPTIONS``, as for the class, with the default timeout.
    :raises ConfigurationError: when there are arguments.
    """
    if args:
        raise ConfigurationError(f"CACHE_ARGS={shown(args)} mean nothing here: name the bucket in {BUCKET_KEY}.")
    prefix = config.get("CACHE_KEY_PREFIX") or ""
    return StateManagerCache(**{"bucket": config.get(BUCKET_KEY, KV), "key_prefix": prefix, **options})
