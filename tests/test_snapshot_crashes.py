"""Kill -9 in the middle of a restore: what is found afterwards is wholly old or wholly new."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import MetaData, create_engine

from flask_statemanager.backends.sql.backend import SqlBackend
from flask_statemanager.backends.sql.tables import declare
from flask_statemanager.core.query import ChangeQuery
from flask_statemanager.snapshots.directory import DirectoryStorage
from tests.archives import Kept, fill
from tests.processes.child import KILLED, Child
from tests.processes.traps import COMMITTED, COMMITTING

NUMBER = 1200

pytestmark = pytest.mark.slow


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgres_url"))
    return f"sqlite:///{tmp_path / 'store.db'}"


@pytest.fixture
def shop(url: str, tmp_path: Path) -> Iterator[Kept]:
    backend = SqlBackend(create_engine(url), declare(MetaData()), owned=True)
    backend.create_tables()
    yield Kept(backend, DirectoryStorage(tmp_path / "snapshots"))
    backend.close()


@pytest.mark.parametrize("point", [NUMBER + 1, NUMBER + NUMBER // 2, 2 * NUMBER, COMMITTING, COMMITTED], ids=str)
def test_a_killed_restore_leaves_everything_or_nothing(shop, url, point):
    names = [f"n{number:04}" for number in range(NUMBER)]
    fill(shop, dict.fromkeys(names, "old"))
    made = shop.archive.create_snapshot()
    fill(shop, dict.fromkeys([*names[::2], "added"], "new"))
    before = shop.values()
    order = {"url": url, "folder": shop.storage.location, "id": made.id, "point": point}
    with Child("restorer", order) as child:
        assert child.ended() == KILLED
    after = shop.values()
    if point == COMMITTED:
        assert after == dict.fromkeys(names, "old")
    else:
        assert after == before
        with shop.backend.reading() as unit:
            assert shop.backend.changes(unit, ChangeQuery("kv", event="restore")) == []
    assert shop.archive.restore_snapshot(made).removed == (0 if point == COMMITTED else 1)
    assert shop.values() == dict.fromkeys(names, "old")
    assert shop.archive.create_snapshot(incremental=True).kind == "full"
