"""The registry of commands: nothing of the public verbs is missing, and every help reads well."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest

from flask_statemanager import StateManager
from flask_statemanager.cli import state
from flask_statemanager.cli.exits import EXITS
from flask_statemanager.cli.progress import Rate
from flask_statemanager.cli.registry import COMMANDS
from flask_statemanager.flows.face import Flows
from flask_statemanager.flows.session import FlowSession
from flask_statemanager.kv.lease import Lease
from flask_statemanager.kv.store import KeyValueStore
from flask_statemanager.snapshots.archive import Archive
from flask_statemanager.stores import StateManager as Stores
from flask_statemanager.tracking.face import Tracking

DECLARES = "declares something, where the application is put together"
CODE = "takes or makes code, which a command line has none of"
OPENS = "opens a face, whose verbs have commands"
JOINS = "spans several calls of one program"
ITSELF = "belongs to the object, and does nothing to what is stored"

VERBS: dict[type, dict[str, str]] = {
    StateManager: {
        "allowed_transitions": "allowed",
        "can": "allowed",
        "cancel_scheduled": "timers cancel",
        "delete_state": "delete",
        "discard_effect": "effects discard",
        "explain": "allowed",
        "explain_transitions": "allowed",
        "get_changes_by_transition": "changes",
        "get_effect": "effects show",
        "get_health_status": "health",
        "get_machine": "diagram",
        "get_recent_changes": "changes",
        "get_state": "show",
        "get_state_history": "history",
        "get_states": "show",
        "get_states_by_type": "list",
        "get_timer": "timers show",
        "list_effects": "effects list",
        "list_timers": "timers list",
        "register_many": "bulk register",
        "register_state": "register",
        "retry_effect": "effects retry",
        "rollback_state": "rollback",
        "run_worker": "worker",
        "schedule_transition": "timers schedule",
        "search_states": "search",
        "transition_many": "bulk transition",
        "types": "types",
        "update_state": "transition",
    },
    KeyValueStore: {
        "compare_and_swap": "kv cas",
        "count": "kv count",
        "create": "kv create",
        "document": "kv patch",
        "exists": "kv exists",
        "get": "kv get",
        "get_entry": "kv show",
        "get_many": "kv get",
        "get_metadata": "kv metadata",
        "get_stats": "kv stats",
        "increment": "kv increment",
        "keys": "kv keys",
        "lease": "kv lease acquire",
        "remove": "kv remove",
        "remove_prefix": "kv remove-prefix",
        "set": "kv set",
        "set_many": "kv set-many",
        "set_metadata": "kv metadata",
        "stats": "kv stats",
        "watch": "kv watch",
    },
    Lease: {"acquire": "kv lease acquire", "release": "kv lease release", "renew": "kv lease renew"},
    Stores: {
        "batch_get_stores": "stores get",
        "batch_set_stores": "stores set",
        "clear_user_data": "stores clear-user",
        "config": "config",
        "delete_store_data": "stores delete",
        "get_backend_stats": "stores stats",
        "get_store_changes": "stores changes",
        "get_store_data": "stores get",
        "get_store_entry": "stores show",
        "get_store_history": "stores history",
        "is_client_managed": "config",
        "migrate_to_server_backend": "stores migrate",
        "set_store_data": "stores set",
        "store_exists": "stores exists",
        "undo": "stores undo",
        "update_store_data": "stores patch",
    },
    Tracking: {"enabled": "config", "end_session": "tracking end-session"},
    Archive: {
        "create_snapshot": "snapshot create",
        "foresee_restore": "snapshot restore",
        "delete_snapshot": "snapshot delete",
        "get_snapshot": "snapshot show",
        "list_snapshots": "snapshot list",
        "restore_snapshot": "snapshot restore",
        "verify_snapshot": "snapshot verify",
    },
    Flows: {
        "audit": "flows audit",
        "diagram": "flows diagram",
        "open": "flows show",
        "receive": "flows receive",
        "registry": "flows list",
    },
    FlowSession: {
        "clear_all_state": "flows clear",
        "clear_flow_data": "flows clear",
        "end_authentication": "flows logout",
        "get_state": "flows show",
        "recover": "flows recover",
        "rollback": "flows back",
        "update_state": "flows update",
    },
}
"""For each public verb of each face the command that does it."""

EXCEPTIONS: dict[type, dict[str, str]] = {
    StateManager: {
        **dict.fromkeys(("actor_loader", "define", "define_bucket", "effect", "identity_loader", "init_app"), DECLARES),
        **dict.fromkeys(("propagation_rule", "register_callback", "register_schema", "register_validator"), DECLARES),
        "use_clock": DECLARES,
        **dict.fromkeys(("bucket", "flows", "kv", "snapshots", "tracking"), OPENS),
        **dict.fromkeys(("retry_conflicts", "transaction"), JOINS),
        **dict.fromkeys(("get_instance", "reset_instance"), ITSELF),
        "get_state_or_404": "ends a request; 'show' has exit code 1",
        "log_state_operation": "writes to the application's log, which a command is none of",
    },
    KeyValueStore: {
        **dict.fromkeys(("subscribe", "update"), CODE),
        "apply": "is one transaction of conditions and writes, which a program puts together; 'kv cas' and 'set-many'",
        "counter": "is a limit that the code has which it protects; 'kv show' shows where it stands",
    },
    Lease: {
        **dict.fromkeys(("apply", "set", "condition"), JOINS),
    },
    Stores: {
        **dict.fromkeys(("close", "set_user_context"), ITSELF),
        "settle_store_data": "is for pages that keep what they have shown; 'stores set --expect' compares versions",
    },
    Tracking: {
        **dict.fromkeys(("close", "flush"), ITSELF),
        "correlation_id": "is that of a request",
        "counts": "counts in each process that serves, and a command serves nothing",
        "heartbeat": "says that a user is there, which an operator cannot know",
        "name_user": "belongs to a request",
    },
    Archive: {},
    Flows: {
        **dict.fromkeys(("configure", "define", "register_schema", "use_messaging"), DECLARES),
        "atomic": "keeps values of components; 'kv' has no way to what belongs to a conversation",
    },
}
"""Public verbs without a command, each with the reason."""


def public(face: type) -> set[str]:
    """Return the names of a class that do not begin with an underscore."""
    return {name for name, _value in inspect.getmembers(face) if not name.startswith("_")}


@pytest.mark.parametrize("face", EXCEPTIONS, ids=lambda face: f"{face.__module__}.{face.__name__}")
def test_every_public_verb_has_a_command_or_a_reason_for_none(face: type) -> None:
    done, excepted = VERBS[face], EXCEPTIONS[face]
    assert set(done) & set(excepted) == set()
    assert public(face) == set(done) | set(excepted)
    assert all(len(reason) > 10 for reason in excepted.values())


@pytest.mark.parametrize("path", sorted({path for verbs in VERBS.values() for path in verbs.values()}))
def test_the_commands_that_verbs_name_are_there(path: str) -> None:
    assert path in {" ".join(words) for words, _command in walked()}


def test_a_verb_that_is_named_is_there() -> None:
    assert set(VERBS[FlowSession]) <= public(FlowSession)


def walked(group: click.Group = state, before: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield every command with its words."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield (*before, name), command
        if isinstance(command, click.Group):
            yield from walked(command, (*before, name))


def test_every_help_reads_well_in_80_columns() -> None:
    for words, command in walked():
        context = click.Context(command, info_name=" ".join(("flask", "state", *words)), terminal_width=78)
        told = command.get_help(context)
        assert max(map(len, told.splitlines())) <= 80, told
        assert ":raises" not in told, words
        assert ":param" not in told, words
        assert command.help, words
        if isinstance(command, click.Group):
            assert "..." not in re.sub(r"\]\.\.\.", "", told), told
        assert command.help.split("\n\n")[0].strip().endswith((".", ":")), words
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, (words, parameter.name)


def test_options_of_one_name_mean_the_same_everywhere() -> None:
    flags = {"--yes", "--json", "--wide", "--dry-run", "--reveal"}
    for words, command in walked():
        for parameter in command.params:
            for name in set(parameter.opts) & flags:
                assert getattr(parameter, "is_flag", False), (words, name)
            if "--limit" in parameter.opts:
                assert isinstance(parameter.type, click.IntRange), words


def test_what_destroys_asks_first() -> None:
    destroying = {"delete", "discard", "remove", "remove-prefix", "clear", "clear-user", "cancel", "drop", "downgrade"}
    found = [(words, command) for words, command in walked() if words[-1] in destroying]
    assert len(found) > 8
    for words, command in found:
        assert any("--yes" in parameter.opts for parameter in command.params), words


def test_each_command_stands_in_one_section() -> None:
    names = [name for section in COMMANDS for name in section.commands]
    assert len(names) == len(set(names))


def test_exit_codes_are_told_once_each() -> None:
    assert [code for code, _meaning in EXITS] == [0, 1, 2, 70, 130]
    context = click.Context(state, info_name="flask state", terminal_width=78)
    told = " ".join(state.get_help(context).split())
    assert all(f"{code} {meaning}" in told for code, meaning in EXITS)


def test_nothing_is_imported_before_it_is_asked_for() -> None:
    program = (
        "import sys, flask_statemanager.cli as cli; names = [n for n in sys.modules if n.startswith(cli.__name__)];"
        "print(*sorted(name.rpartition('.')[2] for name in names));"
        "print('alembic' in sys.modules, 'orjson' in sys.modules and 'flask_statemanager.web' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert ended.stdout.splitlines() == ["cli exits group registry tables", "False False"]


def test_a_rate_is_told_as_soon_as_there_is_one() -> None:
    moments = iter([100.0, 100.1, 102.0, 104.0])
    rate = Rate(lambda: next(moments))
    assert [rate.told(50), rate.told(0), rate.told(6000)] == [None, None, "1,500/s"]
