"""What a callback returns: parts of it are kept in stores, and the browser is told what is left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dash import no_update

from ...errors import ConfigurationError, shown
from ...stores.sentinels import NO_UPDATE
from .stores import get_state_manager

StoreId = str | dict[str, Any]
Outputs = StoreId | Mapping[int | str, StoreId] | Sequence[str | None] | None


class OutputStores:
    """Knows which part of an answer is which store.

    :param outputs: as :func:`state_managed_callback` takes it.
    :raises ConfigurationError: when it is unusable.
    """

    def __init__(self, outputs: Outputs) -> None:
        self._whole: str | None = None
        self._parts: dict[int | str, str] = {}
        if isinstance(outputs, str):
            self._whole = outputs
        elif isinstance(outputs, Mapping):
            self._parts = dict(outputs)  # type: ignore[arg-type]
        elif isinstance(outputs, Sequence):
            self._parts = {place: store for place, store in enumerate(outputs) if store is not None}
        elif outputs is not None:
            raise ConfigurationError(f"outputs={shown(outputs)} is unusable: pass a store, a list or a dict of them.")

    def kept(self, answer: Any) -> Any:
        """Keep what is a store's, and return what the browser is to be answered.

        :param answer: what the callback has returned.
        :raises StateManagerError: when a value cannot be kept.
        """
        if answer is NO_UPDATE or answer is no_update:
            return no_update
        if self._whole is not None:
            return get_state_manager().set_store_data(self._whole, answer)
        if isinstance(answer, dict):
            return self._kept(dict(answer))
        if isinstance(answer, list | tuple):
            found = self._kept(dict(enumerate(answer)))
            return type(answer)(found.values()) if type(answer) in (list, tuple) else list(found.values())
        return answer

    def _kept(self, parts: dict[Any, Any]) -> dict[Any, Any]:
        values = {
            store: parts[place]
            for place, store in self._parts.items()
            if place in parts and parts[place] is not no_update and parts[place] is not NO_UPDATE
        }
        answers = get_state_manager().batch_set_stores(values) if values else {}
        for place, store in self._parts.items():
            if store in answers and place in parts:
                parts[place] = answers[store]
        return {place: no_update if each is NO_UPDATE else each for place, each in parts.items()}
