"""``flask state``: everything that the faces can do, from the command line.

Reading commands print a table, or with ``--json`` one JSON document. A refusal is one sentence on standard error and
exit code 1; a command line that cannot be understood is exit code 2. Which commands there are stands in
:mod:`~flask_statemanager.cli.registry`, what they exit with in :mod:`~flask_statemanager.cli.exits`.
"""

from .group import StateGroup
from .registry import COMMANDS

state = StateGroup("state", COMMANDS, help="Look at states, change them, and see that all is well.")
"""The group that the entry point ``flask.commands`` names."""
