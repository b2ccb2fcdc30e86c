"""When a driver ends by itself. Kept here, so that no orphan outlives its rules even if no server ever comes back."""

from __future__ import annotations

import time
from typing import Callable, List, Optional, Tuple

from .config import DriverConfig
from .loop import Loop, Timer


class Timeouts:
    """
    Idle: since the last statement or other work, never while one waits or runs. ttl: since the session was created. Heartbeat: since the
    last touch, from the first touch or readiness on. Orphan: since the last server left.
    """

    def __init__(self, loop: Loop, config: DriverConfig, busy: Callable[[], bool], expire: Callable[[str], None]) -> None:
        """`expire` gets the reason, once."""
        self._loop = loop
        self._config = config
        self._busy = busy
        self._expire = expire
        self._timer: Optional[Timer] = None
        now = time.monotonic()
        self._active = now
        self._touched: Optional[float] = None
        self._orphaned: Optional[float] = now
        age = max(0.0, time.time() - config.created_ms / 1000) if config.created_ms else 0.0
        self._born = now - age
        self._arm()

    def active(self) -> None:
        """A statement was queued or ended, or somebody asked for a completion."""
        self._active = time.monotonic()

    def touched(self) -> None:
        """Somebody looked."""
        first = self._touched is None
        self._touched = time.monotonic()
        if first:
            self._arm()

    def ready(self) -> None:
        """Code can run: from now on somebody has to look now and then."""
        if self._touched is None:
            self.touched()
        self.active()

    def links(self, count: int) -> None:
        """So many servers are attached."""
        if count == 0 and self._orphaned is None:
            self._orphaned = time.monotonic()
            self._arm()
        elif count > 0:
            self._orphaned = None

    def close(self) -> None:
        """No rule holds any more. Idempotent."""
        if self._timer:
            self._timer.cancel()
        self._expire = lambda reason: None

    def _deadlines(self) -> List[Tuple[float, str]]:
        config = self._config
        found = []
        if config.ttl_ms:
            found.append((self._born + config.ttl_ms / 1000, "its time to live of %s was over" % _words(config.ttl_ms)))
        if config.idle_timeout_ms:
            since = time.monotonic() if self._busy() else self._active
            found.append((since + config.idle_timeout_ms / 1000, "it was idle for %s" % _words(config.idle_timeout_ms)))
        if config.heartbeat_timeout_ms and self._touched is not None:
            limit = config.heartbeat_timeout_ms
            found.append((self._touched + limit / 1000, "there was no heartbeat for %s" % _words(limit)))
        if config.orphan_timeout_ms and self._orphaned is not None:
            limit = config.orphan_timeout_ms
            found.append((self._orphaned + limit / 1000, "no server was attached for %s" % _words(limit)))
        return found

    def _arm(self) -> None:
        """Deadlines mostly move later: the timer fires at the earliest one known and looks again."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        deadlines = self._deadlines()
        if not deadlines:
            return
        when, reason = min(deadlines)
        left = when - time.monotonic()
        if left <= 0:
            self._expire("The session ended because %s." % reason)
        else:
            self._timer = self._loop.after(left, self._arm)


def _words(ms: int) -> str:
    seconds = ms / 1000
    return "%g s" % seconds if seconds < 120 else "%g min" % (seconds / 60)
