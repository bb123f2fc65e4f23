"""What a callback returns: parts of it are kept in stores, and the browser is told what is left."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from dash import no_update

from ...errors import ConfigurationError, StateValidationError, shown
from ...stores.handing import STANDS_FOR, is_token
from ...stores.sentinels import NO_UPDATE
from .running import ids_asked, is_output, outputs_asked, store_id_of
from .stores import StoreId, get_state_manager

Outputs = StoreId | Mapping[int | str, StoreId] | Sequence[StoreId | None] | None

_Stores = Mapping[int | str | None, StoreId]

WHOLE = None
"""The place of an answer that is not one of several."""


class OutputStores:
    """Knows which part of an answer is which store.

    :param outputs: the store of the answer; or of its parts, by number or name, or in a list.
    :param announce: whether the browser is told that there is a new value.
    :raises ConfigurationError: when it is unusable.
    """

    def __init__(self, outputs: Outputs, announce: bool) -> None:
        self._outputs = outputs
        self._stores = _by_place(outputs)
        self._announce = announce

    def kept(self, answer: Any) -> Any:
        """Keep what is a store's, and return what the browser is to be answered.

        :param answer: what the callback has returned.
        :raises ConfigurationError: when ``outputs=`` names what the callback does not have or return.
        :raises StateManagerError: when a value cannot be kept.
        """
        asked = outputs_asked()
        left = self._left(answer, self._stores if asked is None else self._checked(asked))
        # A callback without an output has to return nothing.
        return None if asked == 0 and _is_kept(left) else left

    def _left(self, answer: Any, stores: _Stores) -> Any:
        if _is_nothing(answer):
            return no_update
        if WHOLE in stores:
            return self._kept({WHOLE: answer}, stores)[WHOLE]
        if not stores and not _has_nothing(answer):
            return answer
        if isinstance(answer, dict):
            return self._kept(answer, stores)
        if isinstance(answer, list | tuple):
            return list(self._kept(dict(enumerate(answer)), stores).values())
        if answer is not None:
            raise ConfigurationError(f"outputs={shown(self._outputs)} names parts, and the callback returned only one.")
        return None

    def _checked(self, asked: int) -> _Stores:
        """Return the stores, held against the outputs that the callback has in Dash."""
        stores = self._stores
        if asked == 1 and WHOLE not in stores and isinstance(self._outputs, dict) and is_output(self._outputs):
            return {WHOLE: self._outputs}
        if stores and asked != 0 and (asked == 1) != (WHOLE in stores):
            raise ConfigurationError(
                f"outputs={shown(self._outputs)} does not fit the callback: where it has one output, pass the store "
                "alone; where it has several, a list with None for those that are none, or a dict."
            )
        return stores

    def _kept(self, parts: Mapping[Any, Any], stores: _Stores) -> dict[Any, Any]:
        taken: dict[Any, str | list[str]] = {}
        values: dict[str, Any] = {}
        for place, store in stores.items():
            if place not in parts:
                raise ConfigurationError(
                    f"outputs={shown(self._outputs)} names the part {place!r}, which the callback has not returned."
                )
            if _is_nothing(parts[place]):
                continue
            taken[place] = _ids(store, place, parts[place])
            values |= _flat(taken[place], parts[place])
        answers = get_state_manager().batch_set_stores(values) if values else {}
        found = {place: no_update if _is_nothing(each) else each for place, each in parts.items()}
        for place, ids in taken.items():
            if isinstance(ids, str):
                found[place] = self._told(answers[ids])
            else:
                found[place] = [self._told(answers.get(each, no_update)) for each in ids]
        return found

    def _told(self, answer: Any) -> Any:
        # Never twice the same, so that the browser takes each for a change.
        return {STANDS_FOR: secrets.token_hex(8)} if self._announce and answer is no_update else answer


def _by_place(outputs: Any) -> dict[int | str | None, StoreId]:
    if isinstance(outputs, str) or _is_component(outputs):
        return {WHOLE: outputs}
    found: dict[Any, Any] = {}
    if isinstance(outputs, Mapping):
        found = {**outputs}
    elif isinstance(outputs, Sequence):
        found = {place: store for place, store in enumerate(outputs) if store is not None}
    elif outputs is not None:
        raise _unusable(outputs)
    for place, store in found.items():
        if not isinstance(store, str | dict) or not isinstance(place, str | int):
            raise _unusable(outputs)
    return found


def _unusable(outputs: object) -> ConfigurationError:
    return ConfigurationError(
        f"outputs={shown(outputs)} is unusable: name the store of what the callback returns, or those of its parts."
    )


def _is_component(found: Any) -> bool:
    """Tell whether it is the id of a component of a pattern, and not stores by name."""
    return isinstance(found, dict) and any(not isinstance(value, str | dict) for value in found.values())


def _ids(store: StoreId, place: int | str | None, value: Any) -> str | list[str]:
    if isinstance(store, str):
        return store
    found = ids_asked(place, store)
    if isinstance(found, list) and (not isinstance(value, list | tuple) or len(value) != len(found)):
        raise StateValidationError(
            {"outputs": [f"The callback returns {shown(value)} for {len(found)} components: return a list of as many."]}
        )
    return store_id_of(store) if found is None else found


def _flat(ids: str | list[str], value: Any) -> dict[str, Any]:
    if isinstance(ids, str):
        return {ids: value}
    return {each: one for each, one in zip(ids, value, strict=True) if not _is_nothing(one)}


def _is_nothing(part: Any) -> bool:
    return part is NO_UPDATE or isinstance(part, type(no_update))


def _is_kept(left: Any) -> bool:
    """Tell whether nothing is left for the browser, or but signs of new values."""
    if isinstance(left, dict) and not is_token(left):
        return all(map(_is_kept, left.values()))
    return all(map(_is_kept, left)) if isinstance(left, list) else _is_nothing(left) or is_token(left)


def _has_nothing(answer: Any) -> bool:
    """Tell whether a part of an answer is nothing in the words of the stores, which Dash does not know."""
    parts = answer.values() if isinstance(answer, dict) else answer if isinstance(answer, list | tuple) else ()
    return any(part is NO_UPDATE for part in parts)
