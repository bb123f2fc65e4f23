"""The commands of ``flask state``: which there are, in which order, and where each is found.

A face brings a module and a line here. Nothing is imported before it is asked for, so that neither the application nor
``flask --help`` pays for what it does not use.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct


class Section(Struct, frozen=True):
    """Commands that belong together, as ``--help`` shows them.

    :param title: the heading.
    :param commands: for each name its place, ``module:attribute`` below :mod:`flask_statemanager.cli`.
    """

    title: str
    commands: Mapping[str, str]


COMMANDS = (
    Section(
        "Look at states",
        {
            "types": "reading:types",
            "list": "reading:list_states",
            "search": "reading:search",
            "count": "counting:count",
            "show": "reading:show",
            "history": "history:history",
            "changes": "history:changes",
            "audit": "audit:audit",
            "diff": "history:diff",
            "allowed": "allowed:allowed",
            "diagram": "reading:diagram",
            "watch": "watch:watch",
        },
    ),
    Section(
        "Change states",
        {
            "register": "writing:register",
            "transition": "writing:transition",
            "rollback": "restoring:rollback",
            "restore": "restoring:restore",
            "undelete": "restoring:undelete",
            "delete": "writing:delete",
            "bulk": "bulk_commands:bulk",
        },
    ),
    Section(
        "Effects and timers",
        {
            "worker": "worker:worker",
            "effects": "effects:effects",
            "timers": "timers:timers",
        },
    ),
    Section(
        "Keys, conversations, stores",
        {
            "kv": "kv:kv",
            "buckets": "buckets:buckets",
            "flows": "flows:flows",
            "stores": "stores:stores",
            "tracking": "tracking:tracking",
        },
    ),
    Section(
        "Operate",
        {
            "init": "setup:init",
            "check": "check:check",
            "health": "health:health",
            "metrics": "health:metrics",
            "refusals": "refusals:refusals",
            "config": "configuration:config",
            "db": "database:db",
            "index": "index:index",
            "prune": "prune:prune",
            "snapshot": "snapshot:snapshot",
            "export": "transfer:export_lines",
            "import": "transfer:import_lines",
            "token": "token:token",
            "tokens": "token:tokens",
            "shell": "shell:shell",
            "completion": "completion:completion",
        },
    ),
)
"""All commands."""
