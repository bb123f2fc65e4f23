"""Doing what a request asks for once, and answering its repetitions with what was answered first."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import orjson

from ...core.bucket import Bucket
from ...core.idempotency import Request, fingerprint
from ...core.repeat import repeated_text
from ...core.scope import entered
from ..answer import Answer
from ..call import Call
from ..problems import IDEMPOTENCY_UNSUPPORTED, Problem
from .store import parts_of


def once(call: Call, work: Callable[[], Answer], **arguments: str) -> Answer:
    """Carry out a write of keys and values, or answer as its first time.

    The answer is kept in the transaction of the write itself: neither is there without the other. A refusal is not
    kept; the key is free again.

    :param call: the call.
    :param work: writes.
    :param arguments: those of the path.
    :raises Problem: when the bucket's store cannot remember requests.
    :raises IdempotencyKeyReused: when the key belongs to another request.
    """
    return work() if call.idempotency_key is None else once_in(parts_of(call).bucket, call, work, **arguments)


def once_in(bucket: Bucket, call: Call, work: Callable[[], Answer], **arguments: str) -> Answer:
    """Carry out a write in a bucket, or answer as its first time; see :func:`once`.

    :param bucket: where the write goes.
    :param call: the call.
    :param work: writes.
    :param arguments: those of the path.
    :raises Problem: when the bucket's store cannot remember requests.
    :raises IdempotencyKeyReused: when the key belongs to another request.
    """
    if call.idempotency_key is None:
        return work()
    memory = bucket.idempotent
    if memory is None:
        raise Problem(
            IDEMPOTENCY_UNSUPPORTED,
            f"Idempotency-Key: the {bucket.backend.title} backend of the bucket {bucket.name!r} cannot remember "
            "requests. Leave the header out, and repeat with If-Match or If-None-Match instead.",
        )
    asked: dict[str, Any] = {"path": arguments, "query": dict(call.query), "body": dict(call.body)}
    asked["conditions"] = call.preconditions.told()
    request = Request(
        call.actor,
        f"rest.{call.operation.name}",
        call.idempotency_key,
        fingerprint(asked),
        timedelta(seconds=call.runtime.settings.idempotency_ttl),
        call.runtime.settings.idempotency_wait,
    )

    def perform(unit: Any) -> str:
        with entered(bucket.backend, unit):
            return repeated_text(memory, unit, request, bucket.clock.now(), lambda: _text(work()))

    return _answer(bucket.within(perform, undone=True))


def _text(answer: Answer) -> str:
    return orjson.dumps([answer.data, answer.status, answer.version, answer.headers, answer.links]).decode()


def _answer(text: str) -> Answer:
    return Answer(*orjson.loads(text))
