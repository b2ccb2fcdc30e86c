"""The driver's log: numbered lines from 0 over all epochs; the newest in memory, older ones on disk, both bounded."""

from __future__ import annotations

import os
from collections import deque
from typing import Callable, Deque, Dict, List

from .loop import Loop
from .segments import Segments

LINE_LIMIT = 8 * 1024
MEMORY_LINES = 1000
MEMORY_BYTES = 512 * 1024
DISK_BYTES = 16 << 20
BATCH_SECONDS = 0.1
BATCH_BYTES = 128 * 1024
#: The longest answer to a request for lines, in bytes.
READ_BYTES = 4 << 20


class LogBook:
    """What is written becomes a `log` record at most every 100 ms; of a flood only the newest lines do, and the numbers show the gap."""

    def __init__(
        self,
        loop: Loop,
        directory: str,
        publish: Callable[[int, List[str]], None],
        hide: Callable[[str], str],
        echo: bool = False,
    ) -> None:
        """
        `publish(line, lines)`: the number of the first of these lines, and the lines. `hide` answers a line as it may be kept. `echo`: each
        line goes to standard output too, as far as whoever reads that keeps up.
        """
        self._echo = echo
        if echo:
            os.set_blocking(1, False)
        self._loop = loop
        self._publish = publish
        self._hide = hide
        self._segments = Segments(directory, DISK_BYTES)
        self._tail: Deque[str] = deque()
        self._tail_bytes = 0
        self._partial: Dict[str, str] = {}
        self._published = 0
        self._timer_runs = False
        self._disk_full = False
        #: Lines so far, of all epochs.
        self.total = 0

    def load(self) -> None:
        """Goes on where an earlier life stopped. Raises OSError."""
        for number, line in self._segments.load(lambda line: True):
            self._remember(line.decode("utf-8", "replace"))
            self.total = number
        self._published = self.total

    def say(self, text: str) -> None:
        """Whole lines of the supervisor's own."""
        self._add(text.rstrip("\n").split("\n"))

    def write(self, source: str, text: str) -> None:
        """A piece of what a process wrote; its last line may go on in the next piece of the same source."""
        *lines, rest = (self._partial.pop(source, "") + text).split("\n")
        if len(rest) > LINE_LIMIT:
            lines.append(rest)
        elif rest:
            self._partial[source] = rest
        self._add(lines)

    def complete(self) -> None:
        """Lines that were begun are taken as they are."""
        rests = list(self._partial.values())
        self._partial.clear()
        self._add(rests)

    def tail(self, lines: int) -> List[str]:
        """The newest lines."""
        return list(self._tail)[-lines:] if lines else []

    def read(self, first: int, lines: int) -> Dict[str, object]:
        """As the `log` request answers; begins later than asked for when older lines are gone."""
        lines = max(0, min(lines, self.total - first))
        in_memory = self.total - len(self._tail)
        if first >= in_memory:
            start = max(first, 0) - in_memory
            found = list(self._tail)[start : start + lines]
            return {"fromLine": max(0, min(first, self.total)), "total": self.total, "lines": found}
        self._flush()
        try:
            pairs = self._segments.read(first, READ_BYTES)[:lines]
        except OSError:
            pairs = []
        # Where the disk was full a number is missing: what is answered ends there.
        pairs = [pair for index, pair in enumerate(pairs) if pair[0] == pairs[0][0] + index]
        at = pairs[0][0] - 1 if pairs else in_memory
        return {"fromLine": at, "total": self.total, "lines": [line.decode("utf-8", "replace") for _, line in pairs]}

    def close(self) -> None:
        """Publishes and writes what is left. Idempotent."""
        self.complete()
        self._publish_new()
        self._segments.close()

    def _add(self, lines: List[str]) -> None:
        for line in lines:
            line = self._hide(line.rstrip("\r"))
            if len(line) > LINE_LIMIT:
                line = line[:LINE_LIMIT] + "…"
            self.total += 1
            self._remember(line)
            if self._echo:
                _write_if_taken(line)
            # On disk numbers begin with 1.
            self._segments.append(self.total, line.encode("utf-8", "replace"))
        if self._segments.pending_bytes > 1 << 20:
            self._flush()
        if lines and not self._timer_runs:
            self._timer_runs = True
            self._loop.after(BATCH_SECONDS, self._publish_new)

    def _remember(self, line: str) -> None:
        self._tail.append(line)
        self._tail_bytes += len(line)
        while len(self._tail) > MEMORY_LINES or self._tail_bytes > MEMORY_BYTES:
            self._tail_bytes -= len(self._tail.popleft())

    def _publish_new(self) -> None:
        self._timer_runs = False
        self._flush()
        fresh = list(self._tail)[-(self.total - self._published) :] if self.total > self._published else []
        size, count = 0, 0
        while count < len(fresh) and size < BATCH_BYTES:
            count += 1
            size += len(fresh[-count])
        if count:
            self._published = self.total
            self._publish(self.total - count, fresh[-count:])

    def _flush(self) -> None:
        if not self._segments.pending_bytes:
            return
        try:
            self._segments.flush()
            self._disk_full = False
        except OSError as error:
            if not self._disk_full:
                self._disk_full = True
                self.say("The log cannot be written to disk (%s): only its newest lines are kept." % error.strerror)


def _write_if_taken(line: str) -> None:
    try:
        os.write(1, (line + "\n").encode("utf-8", "replace"))
    except OSError:
        pass
