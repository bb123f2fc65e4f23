"""Processes that read and write the same few keys at random, and say when each operation began and ended, and how.

The first of them has no threads and no connections, so that it can fork quickly those that are to write, and to be
killed. All of them speak through the same pipe, in lines that are short enough to stay whole. It understands
``{"do": "begin"}`` with a name, and ``{"do": "kill"}``. When its input ends it lets the others finish, and ends.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from typing import Any, NoReturn

from flask_statemanager import StateConflict, StateExists, StateValidationError, StorageTimeout, StorageUnavailable
from tests.linearizability import CONFLICT, EXISTS, NO_NUMBER
from tests.processes.application import opened
from tests.processes.nursery import exit_code
from tests.processes.voice import say

KEYS = ("hot", "warm", "cold")
WEIGHTS = (3, 2, 1)
PAUSE = 0.01
"""Seconds between two attempts to reach a storage that is away."""

Note = Callable[[dict[str, Any]], None]


class Scribe:
    """Reads and writes keys at random.

    :param kv: the keys and values.
    :param name: what no other scribe of the history is called; what stands before its hyphen all of them share, and
        the keys begin with it.
    :param note: told of each beginning and each end.
    """

    def __init__(self, kv: Any, name: str, note: Note) -> None:
        self._kv = kv
        self._name = name
        self._prefix = name.partition("-")[0]
        self._note = note
        self._chance = random.Random(name)
        self._number = 0
        self._values: dict[str, Any] = {}
        self._versions: dict[str, int] = {}
        self._acts: dict[str, Callable[..., Any]] = {
            "get": kv.get,
            "look": self._look,
            "set": lambda key, value, expect=None: kv.set(key, value, expect=expect).version,
            "create": lambda key, value: kv.create(key, value).version,
            "swap": kv.compare_and_swap,
            "remove": lambda key, expect=None: kv.remove(key, expect=expect),
            "increment": kv.increment,
        }

    def act(self) -> None:
        """Do one thing; where nobody knows whether it was done, read until the storage answers again."""
        key = self._chance.choices(KEYS, WEIGHTS)[0]
        if self._done(key, *self._chosen(key)):
            return
        while not self._done(key, "look", []):
            time.sleep(PAUSE)

    def _chosen(self, key: str) -> tuple[str, list[Any]]:
        """Return a verb and its arguments; what this scribe has seen last is expected often, and often in vain."""
        value, seen, version = self._value(), self._values.get(key), self._versions.get(key, 1)
        wanted = self._chance.choice((seen, seen, self._value()))
        verb, *given = self._chance.choice(
            (
                ("get",),
                ("look",),
                ("set", value),
                ("set", value, version),
                ("create", value),
                ("swap", wanted, value),
                ("swap", wanted, None),
                ("swap", None, value),
                ("remove",),
                ("remove", version),
                ("increment", 1),
                ("increment", 1),
            )
        )
        return str(verb), given

    def _value(self) -> int | str:
        """Return a number that others take too, so that things come round again, or a text that nobody else takes."""
        return self._chance.choice((self._chance.randrange(3), f"{self._name}.{self._number}"))

    def _done(self, key: str, verb: str, given: list[Any]) -> bool:
        """Do something, and return whether the storage has answered."""
        self._number += 1
        act = f"{self._name}.{self._number}"
        self._note({"act": act, "key": key, "verb": verb, "given": given, "at": time.monotonic_ns()})
        end = self._ended(key, verb, given)
        self._note({"act": act, "at": time.monotonic_ns(), **end})
        return "failed" not in end

    def _ended(self, key: str, verb: str, given: list[Any]) -> dict[str, Any]:
        try:
            return {"answer": self._acts[verb](f"{self._prefix}:{key}", *given)}
        except StateExists:
            return {"answer": EXISTS}
        except StateConflict as error:
            # Who expected nothing has only lost a race too often, and has done nothing.
            return {"void": "StateConflict"} if error.expected is None else {"answer": CONFLICT}
        except StateValidationError:
            return {"answer": NO_NUMBER}
        except StorageTimeout:
            # Nothing was written, it says.
            return {"void": "StorageTimeout", "failed": True}
        except StorageUnavailable as error:
            return {"failed": str(error)[:200]}
        except Exception as error:  # noqa: BLE001 - told to the test, which fails
            return {"unexpected": "".join(traceback.format_exception(error))[-2000:]}

    def _look(self, key: str) -> list[Any] | None:
        entry = self._kv.get_entry(key)
        seen = key.partition(":")[2]
        self._values[seen] = None if entry is None else entry.value
        if entry is None:
            return None
        self._versions[seen] = entry.version
        return [entry.version, entry.value]


class Scriptorium:
    """Starts processes that write until they are killed, or this one closes its end of a pipe, or is no more.

    :param told: the database and the Redis.
    """

    def __init__(self, told: dict[str, Any]) -> None:
        self._told = told
        self._living: list[int] = []
        self._stopped, self._stop = os.pipe()

    def begin(self, name: str) -> None:
        """Start a process.

        :param name: what the scribe is called.
        """
        pid = os.fork()
        if pid == 0:
            os.close(self._stop)
            self._live(name)
        self._living.append(pid)

    def kill(self) -> int:
        """Kill the oldest, and return its exit code."""
        victim = self._living.pop(0)
        os.kill(victim, signal.SIGKILL)
        return exit_code(victim)

    def stop(self) -> list[int]:
        """Let all of them finish what they are at, and return their exit codes."""
        os.close(self._stop)
        return [exit_code(pid) for pid in self._living]

    def _live(self, name: str) -> NoReturn:
        code = 1
        try:
            with opened(self._told["url"], redis_url=self._told["redis_url"]) as shared:
                scribe = Scribe(shared.states.kv, name, say)
                while not select.select([self._stopped], [], [], 0)[0]:
                    scribe.act()
            code = 0
        except BaseException:  # noqa: BLE001 - whatever it is, this process must not go on as its parent
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)


def main() -> None:
    """Obey until the input ends."""
    warnings.simplefilter("error")
    writing = Scriptorium(json.loads(sys.argv[1]))
    for line in sys.stdin:
        order = json.loads(line)
        if order["do"] == "begin":
            writing.begin(order["name"])
        else:
            say({"killed": writing.kill()})
    say({"codes": writing.stop()})


if __name__ == "__main__":
    main()
