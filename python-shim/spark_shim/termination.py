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
