"""How a program speaks to the test that has started it: in lines of JSON."""

from __future__ import annotations

import json
import sys
import threading
from typing import Any

_voice = threading.Lock()


def say(told: Any) -> None:
    """Say a line; threads do not speak at once.

    :param told: what JSON can hold.
    """
    with _voice:
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()
