"""Reading what another program keeps in a Redis: plain texts under keys."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from redis.exceptions import RedisError

from ...errors import StorageError
from .opening import open_redis

PAGE = 500
"""How many keys are looked for at once."""


def documents(url: str, patterns: Iterable[str]) -> Iterator[tuple[str, str, float | None]]:
    """Yield the texts of some keys, each key once, with the seconds that it lives on; None where it does not expire.

    What is no text, and what goes away meanwhile, is passed by.

    :param url: the Redis.
    :param patterns: of the keys, as ``SCAN`` takes them.
    :raises ConfigurationError: when it is no URL of a Redis.
    :raises StorageError: when Redis fails.
    """
    client = open_redis(url)
    seen: set[bytes] = set()
    try:
        for pattern in patterns:
            page: list[bytes] = []
            for key in client.scan_iter(match=pattern, count=PAGE, _type="STRING"):
                if key not in seen:
                    seen.add(key)
                    page.append(key)
                if len(page) == PAGE:
                    yield from _texts(client, page)
                    page = []
            yield from _texts(client, page)
    except RedisError as error:
        raise StorageError(f"The Redis with the documents fails ({error}): see that it can be read.") from error
    finally:
        client.close()


def _texts(client: object, keys: list[bytes]) -> list[tuple[str, str, float | None]]:
    pipeline = client.pipeline(transaction=False)  # type: ignore[attr-defined]
    for key in keys:
        pipeline.get(key)
        pipeline.pttl(key)
    answers = pipeline.execute()
    found = []
    for key, value, left in zip(keys, answers[::2], answers[1::2], strict=True):
        if value is not None:
            name = key.decode("utf-8", "replace")
            found.append((name, value.decode("utf-8", "replace"), left / 1000 if left > 0 else None))
    return found
