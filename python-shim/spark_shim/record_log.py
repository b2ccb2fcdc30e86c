"""The driver's numbered records: the newest in memory, as many as the bound allows on disk, readable from any number on."""

from __future__ import annotations

import json
import os
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

from .pipe import encode
from .segments import NumberedLine, Segments

Record = Dict[str, Any]

#: Records that only say how things stand now. They are numbered and sent, but not written to disk: a replay may lack them.
TRANSIENT_TYPES = frozenset({"progress", "log"})

_FLUSH_BYTES = 1 << 20
_RETRY_SECONDS = 5.0


def parse_record(line: bytes) -> Optional[Record]:
    """The record a line holds; None when it is damaged."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and isinstance(record.get("seq"), int) and isinstance(record.get("type"), str) else None


class RecordLog:
    """
    Numbers grow by one over all epochs; where a transient record was, a replay has a gap. When the disk is full the log goes on in
    memory and tries again every few seconds; what neither memory nor disk could hold is gone, and `first_seq` says so.
    """

    def __init__(
        self, directory: str, limit_bytes: int, memory_bytes: int, report: Callable[[str], None], on_drop: Callable[[int, int], None]
    ) -> None:
        """`on_drop(first, last)` is called before records are forgotten for good."""
        self.epoch = os.urandom(16).hex()
        self.last_seq = 0
        self._report = report
        self._memory_bytes = memory_bytes
        self._segments = Segments(directory, limit_bytes, on_drop)
        self._lines: List[bytes] = []
        self._start = 0
        self._held_bytes = 0
        self._failed_at: Optional[float] = None
        self._base = 1

    def load(self, fold: Callable[[Record, int], None]) -> None:
        """Hands over what an earlier life left, oldest first, each record with its size. Raises OSError."""

        def valid(line: bytes) -> bool:
            record = parse_record(line)
            if record is None:
                return False
            try:
                fold(record, len(line))
            except (KeyError, TypeError, AttributeError):
                return False
            return True

        for number, _ in self._segments.load(valid):
            self.last_seq = number
        self._base = self.last_seq + 1

    @property
    def first_seq(self) -> int:
        """The oldest record still kept."""
        return min(self._base, self._segments.first or self._base)

    def append(self, kind: str, fields: Dict[str, Any]) -> Tuple[Record, int]:
        """Numbers and keeps a record; also says how many bytes it takes."""
        self.last_seq += 1
        record: Record = {"frame": "record", "seq": self.last_seq, "atMs": int(time.time() * 1000), "type": kind}
        record.update(fields)
        line = encode(record)[:-1]
        self._lines.append(line)
        self._held_bytes += len(line)
        if kind not in TRANSIENT_TYPES and self._failed_at is None:
            self._segments.append(self.last_seq, line)
        if self._segments.pending_bytes > _FLUSH_BYTES:
            self.flush()
        elif self._held_bytes > self._memory_bytes and not self._segments.pending_bytes:
            self._evict()
        return record, len(line)

    def flush(self) -> None:
        """Writes to disk what is not there yet. Never raises."""
        if not self._segments.pending_bytes and self._failed_at is None:
            return
        try:
            if self._failed_at is None:
                self._segments.flush()
            elif time.monotonic() - self._failed_at >= _RETRY_SECONDS:
                self._catch_up()
        except OSError as error:
            if self._failed_at is None:
                self._report("The journal cannot be written (%s): going on from memory." % error.strerror)
            self._failed_at = time.monotonic()
        if self._held_bytes > self._memory_bytes:
            self._evict()

    def after(self, seq: int, limit_bytes: int) -> List[NumberedLine]:
        """
        The records after a number not below `first_seq - 1`: at least one if there is any, else what about fits the limit. None when it
        turns out that there is a later `first_seq` now.
        """
        if seq + 1 < self._base:
            first = self._segments.first
            lines = self._segments.read(seq, limit_bytes)
            if self._segments.first != first:
                return []
            if lines:
                return [pair for pair in lines if pair[0] < self._base] or self._from_memory(self._base, limit_bytes)
        return self._from_memory(max(seq + 1, self._base), limit_bytes)

    def close(self) -> None:
        """Writes what is left. Idempotent."""
        self.flush()
        self._segments.close()

    def _from_memory(self, seq: int, limit_bytes: int) -> List[NumberedLine]:
        lines: List[NumberedLine] = []
        for index in range(self._start + seq - self._base, len(self._lines)):
            line = self._lines[index]
            lines.append((seq, line))
            seq += 1
            limit_bytes -= len(line)
            if limit_bytes <= 0:
                break
        return lines

    def _evict(self) -> None:
        """Lets go of the oldest records in memory until it is within its bound."""
        while self._held_bytes > self._memory_bytes and self._start < len(self._lines):
            line = self._lines[self._start]
            self._lines[self._start] = b""
            self._start += 1
            self._held_bytes -= len(line)
            self._base += 1
        if self._start > 1024 and self._start * 2 > len(self._lines):
            del self._lines[: self._start]
            self._start = 0
        if self._failed_at is not None and self._segments.last < self._base - 1:
            # A hole between disk and memory: what is before it can no longer be replayed, and its room may help the disk.
            self._segments.clear()

    def _catch_up(self) -> None:
        """The disk failed before: write again what memory still holds and the disk does not."""
        seq = max(self._segments.last + 1, self._base)
        for number, line in self._from_memory(seq, 1 << 60):
            if not _is_transient(line):
                self._segments.append(number, line)
        self._segments.flush()
        self._failed_at = None
        self._report("The journal can be written again.")


def _is_transient(line: bytes) -> bool:
    record = parse_record(line)
    return record is not None and record["type"] in TRANSIENT_TYPES
