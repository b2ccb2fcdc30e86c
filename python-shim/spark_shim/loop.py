"""One thread, one selector: file descriptors, timers and what must be written before the thread sleeps.

Not asyncio: importing it costs 5 MB and a hop through it 50 µs, and nothing here needs a coroutine.
"""

from __future__ import annotations

import heapq
import selectors
import time
import traceback
from typing import Callable, List, Optional, Tuple

Callback = Callable[[], None]


class Timer:
    """A call in the future, unless it is cancelled before."""

    __slots__ = ("callback",)

    def __init__(self, callback: Optional[Callback]) -> None:
        self.callback = callback

    def cancel(self) -> None:
        """Idempotent."""
        self.callback = None


class Loop:
    """Calls back what is ready. A callback that raises is a bug: it is reported, and the rest goes on."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self.report = report
        self._selector = selectors.DefaultSelector()
        self._timers: List[Tuple[float, int, Timer]] = []
        self._timer_count = 0
        self._flushers: List[Callback] = []
        self._running = True

    def watch(self, fd: int, read: Optional[Callback], write: Optional[Callback] = None) -> None:
        """From now on these are called while the descriptor can be read or written; replaces what was said before. Both None: forget it."""
        events = (selectors.EVENT_READ if read else 0) | (selectors.EVENT_WRITE if write else 0)
        known = self._selector.get_map().get(fd)
        if not events:
            if known is not None:
                self._selector.unregister(fd)
        elif known is None:
            self._selector.register(fd, events, (read, write))
        else:
            self._selector.modify(fd, events, (read, write))

    def after(self, seconds: float, callback: Callback) -> Timer:
        """Calls once, so many seconds from now."""
        timer = Timer(callback)
        self._timer_count += 1
        heapq.heappush(self._timers, (time.monotonic() + seconds, self._timer_count, timer))
        return timer

    def before_sleep(self, callback: Callback) -> None:
        """Calls each time before the thread waits: what many events wrote goes out in one piece. In order of registration."""
        self._flushers.append(callback)

    def stop(self) -> None:
        """`run` returns after the current round."""
        self._running = False

    def run(self) -> None:
        """Until `stop`."""
        while self._running:
            for flush in self._flushers:
                self._call(flush)
            for key, events in self._selector.select(self._pause()):
                # An earlier callback of this round may have closed the descriptor, and another may have taken its number.
                if self._selector.get_map().get(key.fd) is not key:
                    continue
                read, write = key.data
                if events & selectors.EVENT_READ and read:
                    self._call(read)
                if events & selectors.EVENT_WRITE and write and self._selector.get_map().get(key.fd) is key:
                    self._call(write)
            now = time.monotonic()
            while self._timers and self._timers[0][0] <= now:
                timer = heapq.heappop(self._timers)[2]
                callback, timer.callback = timer.callback, None
                if callback:
                    self._call(callback)

    def close(self) -> None:
        """Forgets everything."""
        self._selector.close()

    def _pause(self) -> Optional[float]:
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
        return max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None

    def _call(self, callback: Callback) -> None:
        try:
            callback()
        except Exception:
            self.report(traceback.format_exc())
