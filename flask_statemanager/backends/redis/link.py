"""The way to Redis: what is asked is answered, or raised as an error of this package that says what to do."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import Any, NoReturn

from redis.exceptions import AuthenticationError, ClusterError, ResponseError
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import TimeoutError as TimedOut

from ...errors import ConfigurationError, StorageError, StorageTimeout, StorageUnavailable
from ...redis_line import FAILURES, Command, HungUp, Script
from .lines import StoreLine

_AWAY = {
    "READONLY": "it is a replica now",
    "LOADING": "it is loading its data",
    "MASTERDOWN": "its master is away",
    "UNBLOCKED": "it has just become a replica",
    "CLUSTERDOWN": "its cluster is not complete",
    "TRYAGAIN": "its cluster is moving keys",
    "NOREPLICAS": "it has fewer replicas than it wants (min-replicas-to-write)",
}
_REFUSALS = {
    "OOM": "Its memory is full: raise maxmemory in redis.conf, or store less",
    "MISCONF": "It cannot write to its disk: see its log, and stop-writes-on-bgsave-error in redis.conf",
    "NOPERM": "The user may not do that: extend its rights with ACL SETUSER",
    "WRONGTYPE": "Something else has written to the keys of the state manager: give it another prefix or database",
}
_BUSY = ("BUSY", "UNKILLABLE")
_ELSEWHERE = ("MOVED", "ASK", "CROSSSLOT")


class Link:
    """Asks Redis, and translates what goes wrong.

    :param line: to Redis.
    """

    def __init__(self, line: StoreLine) -> None:
        self.line = line
        self._scripts: dict[str, Script] = {}

    def ask(self, commands: Sequence[Command]) -> list[Any]:
        """Ask what changes nothing, in one round trip; a second time where a connection turns out to be closed.

        :param commands: each a name and arguments.
        :raises StorageError: when Redis does not answer, or refuses.
        """
        try:
            answers = self._asked(commands)
        except FAILURES as error:
            self.fail(error, reading=True)
        for answer in answers:
            if isinstance(answer, ResponseError):
                self.fail(answer)
        return answers

    def ask_all(self, command: Command, *, refused: bool = False) -> list[Any]:
        """Ask every node that takes writes what changes nothing.

        :param command: a name and arguments.
        :param refused: leave refusals among the answers, as the errors that they are.
        :raises StorageError: when one does not answer, or refuses.
        """
        try:
            try:
                answers = self.line.ask_all(command)
            except HungUp:
                answers = self.line.ask_all(command)
        except FAILURES as error:
            self.fail(error, reading=True)
        for answer in answers:
            if isinstance(answer, ResponseError) and not refused:
                self.fail(answer)
        return answers

    def look(self, name: str, calls: Sequence[Command]) -> list[Any]:
        """Run a script that changes nothing, several times in one round trip.

        :param name: the script's file, without its ending.
        :param calls: each with the number of keys, the keys, and the arguments.
        :raises StorageError: when Redis does not answer, or refuses.
        """
        script = self._script(name)
        try:
            try:
                return script.run(calls)
            except HungUp:
                return script.run(calls)
        except FAILURES as error:
            self.fail(error, reading=True)

    def run(self, name: str, call: Command) -> Any:
        """Run a script that writes, once: where no answer comes, nobody knows whether it has written.

        :param name: the script's file, without its ending.
        :param call: the number of keys, the keys, and the arguments.
        :raises StorageUnavailable: when Redis does not answer.
        :raises StorageError: when it refuses; nothing is written then.
        """
        try:
            return self._script(name).run_once(call)
        except FAILURES as error:
            self.fail(error)

    def fail(self, error: Exception, *, reading: bool = False) -> NoReturn:
        """Raise what an error of the driver means.

        :param error: the error.
        :param reading: whether nothing was to be written.
        :raises StorageError: always.
        """
        failure = translated(error, reading=reading)
        if isinstance(failure, StorageUnavailable):
            # A replica that was a master, or a name that leads elsewhere by now: connect anew next time.
            self.line.close()
        raise failure from error

    def close(self) -> None:
        """Close this process's connections."""
        self.line.close()

    def _asked(self, commands: Sequence[Command]) -> list[Any]:
        try:
            return self.line.ask(commands)
        except HungUp:
            return self.line.ask(commands)

    def _script(self, name: str) -> Script:
        script = self._scripts.get(name)
        if script is None:
            text = files(__package__).joinpath(f"{name}.lua").read_bytes()
            script = self._scripts[name] = Script(self.line, text)
        return script


def translated(error: Exception, *, reading: bool) -> StorageError | ConfigurationError:
    """Return what an error of the driver means.

    :param error: the error.
    :param reading: whether nothing was to be written.
    """
    text = " ".join(str(error).split())
    if isinstance(error, ResponseError):
        return _refused(error, text)
    if isinstance(error, AuthenticationError):
        return StorageError(f"Redis refuses ({text}). User or password is missing or wrong: mend the URL.")
    if isinstance(error, TimedOut | TimeoutError) and reading:
        return StorageTimeout(f"Redis does not answer in time ({text}): try again, and look at its load and slow log.")
    if isinstance(error, Disconnected | TimedOut | ClusterError | OSError):
        unknown = "" if reading else " Whether it was written is not known: read it again before it is repeated."
        return StorageUnavailable(f"Redis cannot be reached ({text}): check that it runs, and its URL.{unknown}")
    return StorageError(f"Redis answered with an error ({text}).")


def _refused(error: ResponseError, text: str) -> StorageError | ConfigurationError:
    """Say what a refusal means; nothing was written then.

    The driver takes some codes off the text, and tells them by the error's class, so that both are looked at.
    """
    code = _code(error, text)
    if code in _AWAY:
        return StorageUnavailable(f"Redis takes nothing at present, as {_AWAY[code]} ({text}): try again in a while.")
    if code in _BUSY:
        return StorageTimeout(f"Redis is busy with a script ({text}): try again, and look for who runs it.")
    if code in _ELSEWHERE:
        return ConfigurationError(
            f"This Redis is a node of a cluster ({text}): give its URL as redis+cluster://host:port."
        )
    if code in _REFUSALS:
        return StorageError(f"Redis refuses ({text}). {_REFUSALS[code]}.")
    return StorageError(f"Redis answered with an error ({text}).")


_CLASSES = {
    "ReadOnlyError": "READONLY",
    "OutOfMemoryError": "OOM",
    "NoPermissionError": "NOPERM",
    "ClusterDownError": "CLUSTERDOWN",
    "MasterDownError": "MASTERDOWN",
    "TryAgainError": "TRYAGAIN",
    "MovedError": "MOVED",
    "AskError": "ASK",
    "ClusterCrossSlotError": "CROSSSLOT",
}


def _code(error: ResponseError, text: str) -> str:
    known = _CLASSES.get(type(error).__name__)
    if known is not None:
        return known
    first = text.partition(" ")[0]
    if first.isupper():
        return first
    # What a script was refused is told within a sentence.
    return next((code for code in (*_AWAY, *_REFUSALS, *_BUSY) if f"{code} " in text), "")
