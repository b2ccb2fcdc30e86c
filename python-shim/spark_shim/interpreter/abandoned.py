"""Calls to the JVM that an interrupt left behind: nobody waits for their answers any more, and the jobs they still start are cancelled."""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass, field
from typing import Any, Callable, List

from .statement import Statement

#: Between two looks at a call, and how long one is looked after: a query may be planned for long before its first job.
LOOK_SECONDS = 0.2
LIMIT_SECONDS = 60.0


@dataclass
class _Call:
    connection: Any
    statement: Statement
    began: float = field(default_factory=time.monotonic)

    def over(self) -> bool:
        """Whether the JVM has answered or is gone, or it has been long enough."""
        try:
            self.connection.socket.setblocking(False)
            answered = bool(self.connection.stream.peek(1))
        except (OSError, ValueError, AttributeError):
            answered = True
        return answered or time.monotonic() - self.began > LIMIT_SECONDS


class AbandonedCalls:
    """One thread looks after all of them."""

    def __init__(self, cancel_jobs: Callable[[Statement], object]) -> None:
        self._cancel_jobs = cancel_jobs
        self._new: queue.SimpleQueue[_Call] = queue.SimpleQueue()
        threading.Thread(target=self._look_after, name="longwick-abandoned", daemon=True).start()

    def add(self, connection: Any, statement: Statement) -> None:
        """Takes the connection of a torn call over. May be called by a signal handler."""
        self._new.put(_Call(connection, statement))

    def _look_after(self) -> None:
        calls: List[_Call] = []
        while True:
            try:
                calls.append(self._new.get(timeout=LOOK_SECONDS if calls else None))
            except queue.Empty:
                pass
            for call in [call for call in calls if call.over()]:
                calls.remove(call)
                call.connection.close()
            for statement in {call.statement for call in calls}:
                try:
                    self._cancel_jobs(statement)
                except Exception:
                    pass  # the JVM is going, and with it all that it does
