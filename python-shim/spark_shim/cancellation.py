"""The ladder that ends a running statement: its Spark jobs, SIGINT, SIGINT again, and at last a new interpreter."""

from __future__ import annotations

import time
from typing import Callable, Optional

from .loop import Loop, Timer

#: A first signal follows at once when no job was cancelled, after so long when nobody answers: one that hits a call to the JVM before its
#: jobs are cancelled tears the call's connection.
ANSWER_SECONDS = 0.75
#: A cancelled job gets so long to end the call that waits for it, before the signal.
GRACE_SECONDS = 0.5
REPEAT_SECONDS = 0.7
#: After this the signal is repeated seldom: the statement may be cleaning up, or deaf.
PATIENCE_SECONDS = 8.0
SELDOM_SECONDS = 5.0
#: A second request so long after the first is meant as one for the last rung.
SECOND_REQUEST_SECONDS = 1.0


class Cancellation:
    """One statement's way down the ladder, from the first request to its end."""

    def __init__(
        self,
        loop: Loop,
        cancel_jobs: Callable[[], None],
        signal: Callable[[], None],
        restart: Callable[[], None],
        rung_taken: Callable[[str], None],
        patience_over: Callable[[], None],
        force_ms: int,
    ) -> None:
        """`cancel_jobs` is answered by `jobs_cancelled`; `rung_taken` hears of each rung once, `patience_over` of a deaf statement once."""
        self._loop = loop
        self._cancel_jobs = cancel_jobs
        self._signal = signal
        self._restart = restart
        self._rung_taken = rung_taken
        self._patience_over: Optional[Callable[[], None]] = patience_over
        self._began = time.monotonic()
        self._timer: Optional[Timer] = None
        self._force = loop.after(force_ms / 1000, self.force) if force_ms > 0 else None
        #: The lowest rung taken so far.
        self.rung = ""
        self._take("jobs")
        cancel_jobs()
        self._timer = loop.after(ANSWER_SECONDS, self._interrupt)

    def again(self) -> None:
        """Another request for the same statement."""
        if time.monotonic() - self._began >= SECOND_REQUEST_SECONDS:
            self.force()

    def jobs_cancelled(self, count: int) -> None:
        """So many jobs ran and were cancelled: a call that waits for one returns by itself, others need the signal."""
        if self.rung == "jobs":
            self._next(GRACE_SECONDS if count else 0.0)

    def force(self) -> None:
        """The last rung."""
        if self.rung != "restart":
            self.close()
            self._take("restart")
            self._restart()

    def close(self) -> None:
        """The statement has ended. Idempotent."""
        for timer in (self._timer, self._force):
            if timer:
                timer.cancel()

    def _interrupt(self) -> None:
        if self.rung == "jobs":
            self._take("signal")
        else:
            self._cancel_jobs()
        self._signal()
        patient = time.monotonic() - self._began < PATIENCE_SECONDS
        if not patient and self._patience_over:
            self._patience_over()
            self._patience_over = None
        self._next(REPEAT_SECONDS if patient else SELDOM_SECONDS)

    def _next(self, seconds: float) -> None:
        if self._timer:
            self._timer.cancel()
        if seconds:
            self._timer = self._loop.after(seconds, self._interrupt)
        else:
            self._interrupt()

    def _take(self, rung: str) -> None:
        self.rung = rung
        self._rung_taken(rung)
