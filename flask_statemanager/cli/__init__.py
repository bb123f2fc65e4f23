"""``flask state``: states, types and tables from the command line.

Reading commands print a table, or with ``--json`` one JSON document. A refusal is one sentence on standard error and
exit code 1; a command line that cannot be understood is exit code 2.
"""

from .effects import effects
from .flows import flows
from .group import StateGroup
from .index import index
from .prune import prune
from .reading import diagram, history, list_states, search, show, types
from .snapshot import snapshot
from .timers import timers
from .token import token
from .transfer import export_lines, import_lines
from .worker import worker
from .writing import delete, register, rollback, transition

state = StateGroup("state", help="Look at states, change them, and migrate their tables.")
"""The group that the entry point ``flask.commands`` names."""

for _command in (
    types,
    list_states,
    show,
    register,
    transition,
    history,
    rollback,
    delete,
    search,
    diagram,
    prune,
    index,
    worker,
    effects,
    timers,
    flows,
    snapshot,
    export_lines,
    import_lines,
    token,
):
    state.add_command(_command)
