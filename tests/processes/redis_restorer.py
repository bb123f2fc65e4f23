"""A process that restores a snapshot on Redis and kills itself on the way."""

from __future__ import annotations

import json
import sys
import warnings
from typing import Any

from flask_statemanager.backends.redis.backend import RedisBackend
from flask_statemanager.backends.redis.opening import open_redis
from flask_statemanager.snapshots.directory import DirectoryStorage
from tests.archives import Kept
from tests.processes.traps import die


def restore(order: dict[str, Any]) -> None:
    """Restore, up to a point.

    :param order: the URL, the number of shards, the folder, the id of the snapshot, and the point: a script, which one
        of its runs, and whether the process dies behind it.
    """
    backend = RedisBackend(open_redis(order["url"]), shards=lambda _bucket: order["shards"])
    name, turn, behind = order["point"]
    run, left = backend.link.run, [turn]

    def trapped(script: str, call: Any) -> Any:
        here = script == name
        left[0] -= here
        if here and not behind and left[0] == 0:
            die()
        answer = run(script, call)
        if here and behind and left[0] == 0:
            die()
        return answer

    backend.link.run = trapped  # type: ignore[method-assign]
    Kept(backend, DirectoryStorage(order["folder"])).archive.restore_snapshot(order["id"])


if __name__ == "__main__":
    warnings.simplefilter("error")
    restore(json.loads(sys.argv[1]))
