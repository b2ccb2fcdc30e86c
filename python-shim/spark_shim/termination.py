"""The file that says how a driver ended, for whoever looks after it has gone."""

from __future__ import annotations

import json
import os
from typing import List, Optional


def write_termination(path: str, state: str, reason: str, log_tail: List[str], app_id: Optional[str]) -> None:
    """Atomically. Raises OSError."""
    temporary = path + ".new"
    with open(temporary, "w", encoding="utf-8", errors="replace") as file:
        json.dump({"state": state, "reason": reason, "logTail": log_tail, "appId": app_id}, file)
    os.replace(temporary, path)


#: What Kubernetes keeps of a container's termination message.
MESSAGE_LIMIT_BYTES = 4096


def write_termination_message(path: str, state: str, reason: str, log_tail: List[str], app_id: Optional[str]) -> None:
    """The same in place, with as many of the last lines as fit. Raises OSError."""
    told = {"state": state, "reason": reason[:1024], "logTail": [line[:512] for line in log_tail], "appId": app_id}
    message = json.dumps(told)
    while len(message) > MESSAGE_LIMIT_BYTES and told["logTail"]:
        told["logTail"] = told["logTail"][max(1, len(told["logTail"]) // 8) :]
        message = json.dumps(told)
    with open(path, "w", encoding="ascii") as file:
        file.write(message)
