"""Preconditions: ``If-Match`` and ``If-None-Match`` (RFC 9110 section 13), where an entity tag is a version."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TypeVar

from msgspec import Struct

from ..errors import StateConflict, StateExists
from .problems import MALFORMED, PRECONDITION_FAILED, PRECONDITION_REQUIRED, Problem

Result = TypeVar("Result")

_TAG = re.compile(r'(?P<weak>W/)?"(?P<tag>[\x21\x23-\x7e\x80-\xff]*)"')
_TAGS = re.compile(r'(?:(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"(?:[ \t]*,[ \t]*(?!$)|$))+')
_VERSION = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_LONGEST = 4096
_ATTEMPTS = 10


class Tags(Struct, frozen=True):
    """What one of the headers names.

    :param any: whether it is ``*``.
    :param versions: the versions that are named otherwise. What is no version is left out: it never matches.
    """

    any: bool
    versions: frozenset[int]

    def match(self, version: int | None) -> bool:
        """Tell whether a version is among them.

        :param version: the version that there is, or None.
        """
        return version is not None and (self.any or version in self.versions)


class Preconditions(Struct, frozen=True):
    """The conditions under which a request wants to be carried out.

    :param match: ``If-Match``, or None.
    :param none_match: ``If-None-Match``, or None.
    """

    match: Tags | None = None
    none_match: Tags | None = None

    def __bool__(self) -> bool:
        return self.match is not None or self.none_match is not None

    @property
    def expect(self) -> int | None:
        """The one version that must be there, where the conditions are just that; else None."""
        if self.match is None or self.none_match is not None or self.match.any or len(self.match.versions) != 1:
            return None
        return next(iter(self.match.versions))

    def told(self) -> list[list[int] | str | None]:
        """Return the conditions as JSON, the same for the same conditions."""
        return [
            None if tags is None else "*" if tags.any else sorted(tags.versions)
            for tags in (self.match, self.none_match)
        ]

    def require(self) -> None:
        """Refuse a request without conditions.

        :raises Problem: when there are none.
        """
        if not self:
            raise Problem(
                PRECONDITION_REQUIRED,
                'Say what you expect: If-Match: "<version>" to change what is there, or If-None-Match: * to create.',
            )

    def check(self, version: int | None) -> None:
        """Refuse unless the conditions of a write hold.

        :param version: the version that there is, or None.
        :raises Problem: when one does not.
        """
        failed = self.match is not None and not self.match.match(version)
        if failed or (self.none_match is not None and self.none_match.match(version)):
            raise Problem(
                PRECONDITION_FAILED,
                "There is nothing stored." if version is None else f"Stored is version {version}.",
                members={"actual": version},
            )

    def unchanged(self, version: int) -> bool:
        """Tell whether a reader has this version already.

        :param version: the version that there is.
        :raises Problem: when ``If-Match`` does not hold.
        """
        Preconditions(self.match).check(version)
        return self.none_match is not None and self.none_match.match(version)

    def guard(self, present: Callable[[], int | None], write: Callable[[int | None], Result]) -> Result:
        """Carry out a write under these conditions, whatever they are.

        :param present: returns the version that is stored, or None.
        :param write: writes if this version is stored (``expect=``); for None, if there is nothing.
        :returns: what the write returned.
        :raises Problem: when the conditions do not hold.
        :raises StateConflict: when racers won every attempt.
        """
        if self.expect is not None:
            return self._expecting(self.expect, write)
        for _ in range(_ATTEMPTS - 1):
            version = present()
            self.check(version)
            with suppress(StateConflict, StateExists):
                return write(version)
        version = present()
        self.check(version)
        return write(version)

    def _expecting(self, version: int, write: Callable[[int | None], Result]) -> Result:
        """Write without looking first, which is one step less."""
        try:
            return write(version)
        except StateConflict as conflict:
            if conflict.expected is None:  # racers won every attempt
                raise
            self.check(conflict.actual)
            raise


NONE = Preconditions()


def preconditions(environ: Mapping[str, object]) -> Preconditions:
    """Read the conditions of a request.

    :param environ: its WSGI environment.
    :raises Problem: when they cannot be read.
    """
    match, none_match = environ.get("HTTP_IF_MATCH"), environ.get("HTTP_IF_NONE_MATCH")
    if match is None and none_match is None:
        return NONE
    # A weak tag never counts as the same for If-Match (strong comparison), always for If-None-Match (weak).
    return Preconditions(_tags("If-Match", match, weak=False), _tags("If-None-Match", none_match, weak=True))


def _tags(header: str, text: object, *, weak: bool) -> Tags | None:
    if text is None:
        return None
    written = str(text).strip()
    if written == "*":
        return Tags(True, frozenset())
    if len(written) > _LONGEST or not _TAGS.fullmatch(written):
        raise Problem(MALFORMED, f'{header} must be * or entity tags as they were sent, for example "5".')
    named = (each["tag"] for each in _TAG.finditer(written) if weak or each["weak"] is None)
    numbers = (int(tag) for tag in named if _VERSION.fullmatch(tag))
    return Tags(False, frozenset(number for number in numbers if number < 2**63))
