"""Why Spark has stopped its own SparkContext: only its log says so."""

from __future__ import annotations

import re
from typing import Sequence

#: What Spark 3.5 to 4.3 write before they do: Kubernetes' executor allocator, threads that Spark cannot do without, its scheduler's event
#: loop, the client of a standalone master.
_REASON = re.compile(
    r"Max number of executor failures \(\d+\) reached.*"
    r"|uncaught error in thread .*, stopping SparkContext"
    r"|\w+ failed; shutting down SparkContext"
    r"|Application has been killed\. Reason: .*"
)
#: The exception in the line after it.
_EXCEPTION = re.compile(r"(?:[\w$]+\.)+[\w$]+(?:: .*)?$")
_LIMIT = 1000


def stop_reason(lines: Sequence[str]) -> str:
    """What the last of the log's lines that gives a reason says; "" when none does."""
    for number in range(len(lines) - 1, -1, -1):
        found = _REASON.search(lines[number])
        if found:
            after = lines[number + 1] if number + 1 < len(lines) else ""
            cause = ": " + after if _EXCEPTION.match(after) else ""
            return (found.group() + cause)[:_LIMIT].rstrip(".")
    return ""
