"""For the tests of applications and of third-party backends: a settable clock, a recorder, the contract suite.

``pytest`` finds the fixtures of ``plugin`` by itself; a backend is tested by a class on top of
:class:`flask_statemanager.testing.contract.BackendContract`, which needs pytest.
"""

from .capture import Captured, captured
from .clock import FakeClock

__all__ = ["Captured", "FakeClock", "captured"]
