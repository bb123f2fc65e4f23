"""What importing the package costs beyond the packages that it requires, in time and memory."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from tempfile import TemporaryDirectory

from benchmarks.ground import Ground, Store
from benchmarks.rounds import Batch, Contestant
from benchmarks.work import EXTENSION, IMPORT_EXTRAS, IMPORT_MEMORY, IMPORT_TIME

REQUIRED = (
    "alembic.command, blinker, flask, flask_caching, flask_sqlalchemy, marshmallow, msgspec.structs, "
    "orjson, redis, sqlalchemy"
)
"""What is imported before, where the package alone is to be seen."""

EXTRAS = (
    "redis",
    "flask_caching",
    "cachelib",
    "celery",
    "psycopg",
    "psycopg2",
    "dash",
    "limits",
    "openfeature",
    "webargs",
    "apispec",
    "wsproto",
)
"""What must wait until it is configured."""

COST = f"""
import gc, resource, time
def resident():
    try:
        with open("/proc/self/statm") as pages:
            return int(pages.read().split()[1]) * resource.getpagesize() / 1e6
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
def cost(act):
    gc.collect()
    before, begin = resident(), time.perf_counter()
    act()
    spent = time.perf_counter() - begin
    gc.collect()
    return spent, resident() - before
def required():
    import {REQUIRED}
def package():
    import flask_statemanager
first, second = cost(required), cost(package)
print(*first, *second)
"""
LOADED = f"import sys, flask_statemanager; print(sum(name in sys.modules for name in {EXTRAS!r}))"

STACK = "the required packages"


def contestants(_ground: Ground, store: Store, stack: ExitStack) -> Iterator[Contestant]:
    """Yield the required packages and ours, for time and memory.

    :param store: none.
    :param stack: removes the compiled modules.
    """
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    # The round that does not count compiles the modules, as an installation does.
    environment["PYTHONPYCACHEPREFIX"] = stack.enter_context(TemporaryDirectory())

    def printed(program: str, place: int) -> Batch:
        return lambda numbers: sum(_number(program, place, environment) for _ in numbers)

    for work, unit, scale, place in ((IMPORT_TIME, "ms", 1e3, 0), (IMPORT_MEMORY, "MB", 1, 1)):
        yield Contestant(store.name, work, STACK, printed(COST, place), runs=1, unit=unit, scale=scale)
        yield Contestant(store.name, work, EXTENSION, printed(COST, place + 2), runs=1, unit=unit, scale=scale)
    yield Contestant(store.name, IMPORT_EXTRAS, EXTENSION, printed(LOADED, 0), runs=1, unit="packages", scale=1)


def _number(program: str, place: int, environment: dict[str, str]) -> float:
    """Return a number that a program prints."""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120, env=environment)
    return float(done.stdout.split()[place])
