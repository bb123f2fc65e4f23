"""A process that works on the messages of conversations: it reads deliveries, and says what was answered to each."""

from __future__ import annotations

import json
import sys
import threading
import warnings
from typing import Any

from flask_statemanager.flows import ValidationResult
from tests.flow_application import OfferApiCall, define
from tests.processes.application import opened
from tests.processes.voice import say

TRAPPED = "trapped"


def _set_trap() -> None:
    """Have the next call of a flow to another system never end."""
    forever = threading.Event()

    def validate(self: OfferApiCall, value: Any) -> ValidationResult:
        say(TRAPPED)
        forever.wait()
        return ValidationResult.success(value)

    OfferApiCall.validate = validate  # type: ignore[method-assign]


def main() -> None:
    """Work on what is delivered until the input ends."""
    warnings.simplefilter("error")
    order = json.loads(sys.argv[1])
    with opened(order["url"], redis_url=order["redis_url"]) as shared:
        define(shared.states)
        say("ready")
        for line in sys.stdin:
            delivery = json.loads(line)
            if delivery == TRAPPED:
                _set_trap()
                continue
            answer = shared.states.flows.receive("web", delivery["who"], delivery["message"], message_id=delivery["id"])
            say({"id": delivery["id"], "who": delivery["who"], "messages": answer.messages})


if __name__ == "__main__":
    main()
