"""What it was measured on: the machine, how busy it was, and the versions of everything."""

from __future__ import annotations

import os
import platform
import sqlite3
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psycopg

PROCESSORS = Path("/proc/cpuinfo")

PACKAGES = (
    "Flask-StateManager",
    "Flask",
    "Flask-SQLAlchemy",
    "Flask-Caching",
    "SQLAlchemy",
    "alembic",
    "marshmallow",
    "msgspec",
    "orjson",
    "psycopg",
    "redis",
    "transitions",
    "SQLAlchemy-Continuum",
    "Django",
    "django-fsm-2",
    "django-fsm-log",
    "eventsourcing",
    "gunicorn",
)


class Run:
    """A run, from now on."""

    def __init__(self) -> None:
        self._begin = time.monotonic()
        self._load = load()

    def told(self, servers: Mapping[str, str]) -> dict[str, Any]:
        """Return what there is to say at the end of it.

        :param servers: the version of each server that was asked for something.
        """
        return {
            "machine": {"cores": os.cpu_count(), "system": platform.system(), "processor": processor()},
            "versions": versions(servers),
            "load": [self._load, load()],
            "minutes": round((time.monotonic() - self._begin) / 60, 1),
        }


def load() -> float | None:
    """Return how many processes wanted to run in the last minute, or None where the system does not tell."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def processor(path: Path = PROCESSORS) -> str:
    """Return the processor's name, or its kind where the system does not tell.

    :param path: where Linux tells.
    """
    told = path.read_text(errors="replace").splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in told if line.startswith("model name")]
    return names[0] if names and names[0] else platform.machine()


def versions(servers: Mapping[str, str]) -> dict[str, str]:
    """Return the versions of everything that takes part.

    :param servers: those of the servers.
    """
    found = {"Python": platform.python_version(), "SQLite": sqlite3.sqlite_version, **servers}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    # One in C and one in Python answer to the same version.
    found["psycopg"] += f" ({psycopg.pq.__impl__})"
    return found
