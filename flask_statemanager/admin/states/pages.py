"""What there is to look at and to do about states."""

from __future__ import annotations

from ...lifecycle.types import DELETE
from ..page import Pages
from .acts import TIMER, cancel, remove, reveal, schedule, transition
from .editor import create, save, show_editor, show_new
from .listing import export_csv, export_json, list_states
from .rollback import roll_back, show_rollback
from .state import download, show_state

pages = Pages("states", "States", order=20)

pages.show("/states", "states")(list_states)
pages.show("/states.csv", "states_csv")(export_csv)
pages.show("/states.json", "states_json")(export_json)

# An id can end like any path, so that what there is of a state beside its page has the id at the end too.
pages.show("/states/<path:state_id>", "state")(show_state)
pages.show("/state-file/<path:state_id>", "state_file")(download)
pages.act("/states/<path:state_id>/transition", "transition")(transition)
pages.act("/states/<path:state_id>/delete", "delete_state", destructive="Delete the state {state_id}?")(remove)
pages.act(
    "/states/<path:state_id>/schedule",
    "schedule_timer",
    destructive="Delete the state {state_id} when the timer is due?",
    when=(f"{TIMER}transition", DELETE),
)(schedule)
pages.act("/states/<path:state_id>/cancel", "cancel_timer_of")(cancel)
pages.act("/states/<path:state_id>/reveal", "reveal_state", reveals="the state {state_id}")(reveal)

pages.show("/state-editor/<path:state_id>", "edit_state")(show_editor)
pages.act("/state-editor/<path:state_id>", "save_state", page="edit_state")(save)
pages.show("/new-state", "new_state")(show_new)
pages.act("/new-state", "create_state", page="new_state")(create)

pages.show("/state-rollback/<path:state_id>", "state_rollback")(show_rollback)
pages.act("/state-rollback/<path:state_id>", "rollback_state", page="state_rollback")(roll_back)
