"""A stock of states, written by set-based SQL and indexed after that, with the first version of each."""

from __future__ import annotations

from sqlalchemy import MetaData
from sqlalchemy.engine import Engine

from flask_statemanager.backends.sql.tables import declare

FIELDS = {"user": ["data.plan", "data.city", "data.email", "data.amount:number"]}
"""What is worth an index: a plan in ten is ``pro``, of the cities there are a hundred, of the amounts a thousand."""

FIRST = "s2654435761"
"""The id of the first state."""

_COUNTING = {
    "sqlite": "(WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < {number}) SELECT n FROM c)",
    "postgresql": "generate_series(CAST(1 AS bigint), {number}) n",
}
_WORDS = {
    "sqlite": {
        "document": "json_object",
        "moment": "strftime('%Y-%m-%d %H:%M:%S', 1767225600 + n, 'unixepoch') || '.000000'",
        "empty": "'{}'",
    },
    "postgresql": {
        "document": "jsonb_build_object",
        "moment": "to_timestamp(1767225600 + n)",
        "empty": "CAST('{}' AS jsonb)",
    },
}
_HASTE = {
    "sqlite": "PRAGMA cache_size = -400000",
    "postgresql": "SET LOCAL maintenance_work_mem = '256MB'",
}
"""What helps who fills: names come in no order, and a page that does not fit into the cache is written many times."""

_NAME = "'s' || (n * 2654435761 % 10000000000)"
_STATES = (
    "INSERT INTO statemanager_state (bucket, name, label, type, status, owner, version, revision, schema_version, "
    "data, metadata, created_at, updated_at) SELECT 'state', {name}, {name}, "
    "CASE WHEN n % 5 = 0 THEN 'payment' ELSE 'user' END, CASE WHEN n % 3 = 0 THEN 'active' ELSE 'created' END, "
    "'tenant_' || (n * 7919 % 1000), 1, n, 1, {document}("
    "'email', 'user_' || n || '@example.com', "
    "'plan', CASE WHEN (n / 1000 + n / 5) % 10 = 0 THEN 'pro' ELSE 'free' END, "
    "'city', 'city_' || (n * 104729 % 100), 'amount', n * 15485863 % 1000, 'notes', '{notes}'), "
    "{empty}, {moment}, {moment} FROM {counting}"
)
_HISTORY = (
    "INSERT INTO statemanager_history (bucket, name, version, event, to_status, label, type, owner, schema_version, "
    "data, metadata, record_created_at, actor, created_at) SELECT bucket, name, version, 'create', status, label, "
    "type, owner, schema_version, data, metadata, created_at, 'system', created_at "
    "FROM statemanager_state ORDER BY revision"
)


def fill(engine: Engine, number: int, *, history: bool = True) -> None:
    """Write states into empty tables.

    :param engine: the database.
    :param number: how many.
    :param history: whether the first version of each goes into the history.
    """
    kind = engine.dialect.name
    counting = _COUNTING[kind].format(number=number)
    words = {**_WORDS[kind], "name": _NAME, "notes": "x" * 200, "counting": counting}
    beside = declare(MetaData()).state.indexes
    with engine.begin() as connection:
        cursor = connection.connection.cursor()
        [usual] = cursor.execute("PRAGMA cache_size").fetchone() if kind == "sqlite" else [None]
        cursor.execute(_HASTE[kind])
        for index in beside:
            index.drop(connection)
        cursor.execute(_STATES.format(**words))
        if history:
            cursor.execute(_HISTORY)
        for index in beside:
            index.create(connection)
        cursor.execute(f"PRAGMA cache_size = {usual}" if kind == "sqlite" else "ANALYZE")
        cursor.close()
