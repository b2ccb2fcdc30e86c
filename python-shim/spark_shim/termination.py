"""The file that says how a driver ended, for whoever looks after it has gone."""

from __future__ import annotations

import json
import os
from typing import Any, Dict, List, NamedTuple, Optional


class Ending(NamedTuple):
    """How a driver ended. `exit_code` and `cause` are an application's: the code it exited with, and whose fault the end is."""

    state: str
    reason: str
    app_id: Optional[str] = None
    exit_code: Optional[int] = None
    #: "non-zero-exit", "driver-lost" or "submission-refused"; None: it ended as it should, or as somebody wished.
    cause: Optional[str] = None


def _told(ending: Ending, log_tail: List[str]) -> Dict[str, Any]:
    told: Dict[str, Any] = {"state": ending.state, "reason": ending.reason, "logTail": log_tail, "appId": ending.app_id}
    if ending.exit_code is not None:
        told["exitCode"] = ending.exit_code
    if ending.cause is not None:
        told["cause"] = ending.cause
    return told


def write_termination(path: str, ending: Ending, log_tail: List[str]) -> None:
    """Atomically. Raises OSError."""
    temporary = path + ".new"
    with open(temporary, "w", encoding="utf-8", errors="replace") as file:
        json.dump(_told(ending, log_tail), file)
    os.replace(temporary, path)


#: What Kubernetes keeps of a container's termination message, and how much of that the reason may take.
MESSAGE_LIMIT_BYTES = 4096
_REASON_LIMIT_BYTES = 2048


def write_termination_message(path: str, ending: Ending, log_tail: List[str]) -> None:
    """The same in place, with as many of the last lines as fit. Raises OSError."""
    reason = ending.reason[:1024]
    while len(json.dumps(reason)) > _REASON_LIMIT_BYTES:
        reason = reason[: len(reason) * 7 // 8]
    told = _told(ending._replace(reason=reason), [line[:512] for line in log_tail])
    message = json.dumps(told)
    while len(message) > MESSAGE_LIMIT_BYTES and told["logTail"]:
        told["logTail"] = told["logTail"][max(1, len(told["logTail"]) // 8) :]
        message = json.dumps(told)
    with open(path, "w", encoding="ascii") as file:
        file.write(message)
