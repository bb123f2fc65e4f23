"""The contract of a backend, as tests. It ships so that third-party backends can hold themselves to it.

Subclass :class:`BackendContract` together with the class of each power that the backend declares, and give it the
backend::

    from flask_statemanager.testing.contract import BackendContract, HistoryContract, SearchContract

    class TestMyBackend(HistoryContract, SearchContract, BackendContract):
        powers = {"KeepsHistory", "Searches"}

        @pytest.fixture
        def backend(self, tmp_path):
            backend = MyBackend(tmp_path)
            yield backend
            backend.close()

Each test gets a fresh, empty backend. A power that is declared and has no class here, or the other way round, fails.
"""

import pytest

for _module in (
    "store",
    "base",
    "writing",
    "altering",
    "fidelity",
    "history",
    "searching",
    "counting",
    "expiring",
    "joining",
    "many",
    "jobs",
    "leasing",
    "enqueueing",
    "idempotent",
    "listing",
    "purging",
    "watching",
    "snapshotting",
    "looking_back",
    "telling",
    "auditing",
):
    pytest.register_assert_rewrite(f"{__name__}.{_module}")

from .auditing import AuditContract  # noqa: E402 - after the registration, else asserts say nothing
from .base import BackendContract  # noqa: E402
from .counting import CountContract  # noqa: E402
from .enqueueing import EnqueueContract  # noqa: E402
from .expiring import ExpiryContract  # noqa: E402
from .history import HistoryContract  # noqa: E402
from .idempotent import IdempotencyContract  # noqa: E402
from .joining import JoinContract  # noqa: E402
from .listing import ListContract  # noqa: E402
from .looking_back import LookBackContract  # noqa: E402
from .many import MultiKeyContract  # noqa: E402
from .purging import PurgeContract  # noqa: E402
from .searching import SearchContract  # noqa: E402
from .snapshotting import SnapshotContract  # noqa: E402
from .store import Store  # noqa: E402
from .telling import TellContract  # noqa: E402
from .watching import WatchContract  # noqa: E402

__all__ = [
    "AuditContract",
    "BackendContract",
    "CountContract",
    "EnqueueContract",
    "ExpiryContract",
    "HistoryContract",
    "IdempotencyContract",
    "JoinContract",
    "ListContract",
    "LookBackContract",
    "MultiKeyContract",
    "PurgeContract",
    "SearchContract",
    "SnapshotContract",
    "Store",
    "TellContract",
    "WatchContract",
]
