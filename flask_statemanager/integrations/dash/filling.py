"""The parameters of a callback that stores fill."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any

from dash import set_props

from ...stores.handing import AS_IT_IS, held_by_browser
from ...stores.rollout import percentage
from ...stores.sentinels import CLIENT_MANAGED
from .binding import Binding
from .running import ABSENT, ids_sent, number_sent, sent, store_id_of
from .stores import StoreId, get_state_manager


class StoreParameters:
    """Fills the parameters of one callback.

    :param stores: the store of each parameter.
    :param binding: the callback's parameters.
    """

    def __init__(self, stores: Mapping[str, StoreId], binding: Binding) -> None:
        self._stores = dict(stores)
        self._binding = binding

    def names(self) -> dict[str, str]:
        """Return the store of each parameter, but for those of patterns."""
        return {name: store for name, store in self._stores.items() if isinstance(store, str)}

    def fill(self, values: dict[str, Any], number: int) -> None:
        """Put the values of stores in the place of what the browser sent.

        :param values: the arguments by parameter.
        :param number: how many of them were passed by place.
        :raises StateManagerError: when a value cannot be read.
        """
        wanted = {name: self._ids(name, store, values, number) for name, store in self._stores.items()}
        found = _values(list(chain.from_iterable(map(_listed, wanted.values()))))
        for name, which in wanted.items():
            had = values.get(name)
            if isinstance(which, list):
                several = had if isinstance(had, list) else [None] * len(which)
                values[name] = [_chosen(found[each], own) for each, own in zip(which, several, strict=True)]
            elif found[which] is not CLIENT_MANAGED or name in values or self._binding.needs(name):
                values[name] = _chosen(found[which], had)

    def _ids(self, name: str, store: StoreId, values: Mapping[str, Any], number: int) -> str | list[str]:
        if isinstance(store, str):
            return store
        found = ids_sent(name, store)
        passed = number_sent()
        if found is None and passed is not None and name in values:
            # Dash puts the function that tells the progress in front of its own arguments.
            found = ids_sent(list(values).index(name) - (number - passed), store)
        return store_id_of(store) if found is None else found


def _listed(which: str | list[str]) -> list[str]:
    return [which] if isinstance(which, str) else which


def _chosen(found: Any, had: Any) -> Any:
    return held_by_browser(had) if found is CLIENT_MANAGED else found


def _values(ids: list[str]) -> dict[str, Any]:
    manager = get_state_manager()
    rollout = manager.config.rollout if ids else {}
    found: dict[str, Any] = {}
    for store_id in dict.fromkeys(ids):
        held = sent(store_id)
        if held is ABSENT or percentage(rollout, store_id) is None:
            continue
        settled = manager.settle_store_data(store_id, held)
        found[store_id] = settled.value
        if settled.browser is not AS_IT_IS:
            set_props(store_id, {"data": settled.browser})
    others = [store_id for store_id in ids if store_id not in found]
    return found | (manager.batch_get_stores(others) if others else {})
