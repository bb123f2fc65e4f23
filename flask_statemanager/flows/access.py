"""From the manager to its flows."""

from __future__ import annotations

from abc import ABC, abstractmethod

from .definitions import FlowDefinitions
from .face import Flows
from .parts import FlowParts
from .turns import Conduct


class FlowAccess(ABC):
    """The way from the manager to conversations."""

    @abstractmethod
    def _flow_parts(self) -> FlowParts:
        """Return what flows stand on, in the present app."""

    @abstractmethod
    def _flow_conduct(self) -> Conduct:
        """Return what turns stand on, in the present app."""

    @abstractmethod
    def _declaring_flows(self) -> FlowDefinitions:
        """Return the declarations of flows, for something to be added."""

    @property
    def flows(self) -> Flows:
        """The conversations."""
        return Flows(self._flow_parts, self._declaring_flows, self._flow_conduct)
