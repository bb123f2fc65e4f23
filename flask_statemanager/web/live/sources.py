"""Sources: where the changes of each bucket of an app are found."""

from __future__ import annotations

from ...core.follows import Watches
from ...core.powers import require
from ...lifecycle.parts import BUCKET
from ...runtime import Runtime
from .log import Source

FACE = "The face of live events"


def source_of(runtime: Runtime, bucket: str) -> Source:
    """Return where the changes of a bucket are, without the secrets that it declares.

    :param runtime: the app's running parts.
    :param bucket: the bucket of the states, or one that is declared.
    :raises StateValidationError: when it is unknown, with the known ones.
    :raises ConfigurationError: when its backend cannot be had, or its log cannot be followed.
    """
    if bucket == BUCKET:
        backend = runtime.backend
        watches = require(backend, Watches, FACE)  # type: ignore[type-abstract]
    else:
        parts = runtime.shelves.kept(bucket)
        backend, watches = parts.bucket.backend, parts.watches
    log = require(backend, Watches, FACE)  # type: ignore[type-abstract]
    return Source(backend.title if log.one_log else f"{backend.title}.{bucket}", watches)
