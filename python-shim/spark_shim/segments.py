"""Numbered lines on disk: appended to segment files, read back by number, the oldest files deleted at a bound."""

from __future__ import annotations

import os
import re
from array import array
from bisect import bisect_right
from typing import Callable, Iterator, List, Optional, Tuple

NumberedLine = Tuple[int, bytes]

_NAME = re.compile(r"\d{16}\.seg")
_MARK_BYTES = 64 * 1024
_READ_BYTES = 256 * 1024


class _Segment:
    """One file, and where about in it which number stands."""

    __slots__ = ("first", "last", "numbers", "offsets", "path", "size")

    def __init__(self, directory: str, first: int) -> None:
        self.path = os.path.join(directory, "%016d.seg" % first)
        self.first = first
        self.last = first - 1
        self.size = 0
        self.numbers = array("q")
        self.offsets = array("q")

    def note(self, number: int, length: int) -> None:
        """A line was added at the end."""
        if not self.offsets or self.size - self.offsets[-1] >= _MARK_BYTES:
            self.numbers.append(number)
            self.offsets.append(self.size)
        self.last = number
        self.size += length

    def offset_before(self, number: int) -> int:
        """A place in the file that is not behind the line with this number."""
        index = bisect_right(self.numbers, number) - 1
        return self.offsets[index] if index >= 0 else 0


def _replace(path: str, lines: List[bytes]) -> None:
    temporary = path + ".new"
    with open(temporary, "wb") as file:
        file.writelines(lines)
    os.replace(temporary, path)


def append_whole(fd: int, size: int, data: bytes) -> None:
    """Adds to a file that is `size` bytes long: all of it, or nothing. Raises OSError when the disk does not take it."""
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(fd, view) :]
    except OSError:
        os.ftruncate(fd, size)
        raise


class Segments:
    """
    Lines are `<number> <bytes>`, numbers grow and may leave gaps. What is appended reaches the disk with `flush`, in one write; nothing
    is synced: the files outlive this process, not the machine.
    """

    def __init__(self, directory: str, limit_bytes: int, on_drop: Optional[Callable[[int, int], None]] = None) -> None:
        """`on_drop(first, last)` is called before the file that holds these numbers is deleted."""
        self._directory = directory
        self._limit_bytes = limit_bytes
        self._segment_bytes = max(64 * 1024, min(8 << 20, limit_bytes // 8))
        self._on_drop = on_drop
        self._segments: List[_Segment] = []
        self._fd = -1
        self._pending: List[NumberedLine] = []
        self._pending_bytes = 0

    @property
    def first(self) -> Optional[int]:
        """The oldest number whose line may still be there; None when nothing is."""
        return self._segments[0].first if self._segments else None

    @property
    def last(self) -> int:
        """The newest number on disk; 0 when there is none."""
        return self._segments[-1].last if self._segments else 0

    @property
    def pending_bytes(self) -> int:
        """What `flush` would write."""
        return self._pending_bytes

    def load(self, valid: Callable[[bytes], bool]) -> Iterator[NumberedLine]:
        """
        Reads what an earlier life left, oldest first, before anything is appended. Lines that are torn or that `valid` refuses are taken
        out of the files.
        """
        os.makedirs(self._directory, mode=0o700, exist_ok=True)
        for name in sorted(filter(_NAME.fullmatch, os.listdir(self._directory))):
            segment = _Segment(self._directory, int(name[:16]))
            previous = max(segment.first - 1, self.last)
            damaged_at: Optional[int] = None
            kept: List[bytes] = []
            with open(segment.path, "rb") as file:
                for line in file:
                    number, _, body = line.partition(b" ")
                    if not (body.endswith(b"\n") and number.isdigit() and int(number) > previous and valid(body[:-1])):
                        damaged_at = segment.size if damaged_at is None else damaged_at
                        continue
                    previous = int(number)
                    segment.note(previous, len(line))
                    kept.append(line)
            if damaged_at == segment.size:
                # A torn end, as a disk that is full makes them: needs no room to mend.
                os.truncate(segment.path, segment.size)
            elif damaged_at is not None:
                _replace(segment.path, kept)
            if segment.size == 0:
                os.unlink(segment.path)
                continue
            self._segments.append(segment)
            for line in kept:
                number, _, body = line.partition(b" ")
                yield int(number), body[:-1]

    def append(self, number: int, line: bytes) -> None:
        """The line must hold no newline."""
        self._pending.append((number, line))
        self._pending_bytes += len(line)

    def flush(self) -> None:
        """
        Writes what was appended. Raises OSError when the disk does not take it: what was not written is forgotten (`last` says how far it
        came), and no half line stays behind.
        """
        pending, self._pending, self._pending_bytes = self._pending, [], 0
        start = 0
        while start < len(pending):
            segment = self._writable(pending[start][0])
            chunk: List[bytes] = []
            room = self._segment_bytes - segment.size
            end = start
            while end < len(pending) and (end == start or room > 0):
                chunk.append(b"%d %s\n" % pending[end])
                room -= len(chunk[-1])
                end += 1
            self._write(segment, b"".join(chunk))
            for (number, _), line in zip(pending[start:end], chunk):
                segment.note(number, len(line))
            start = end

    def read(self, after: int, limit_bytes: int) -> List[NumberedLine]:
        """
        The lines that follow a number, at least one if there is any, else as many as fit the limit about. A file that somebody else has
        deleted is forgotten like one that was deleted here. Raises OSError.
        """
        lines: List[NumberedLine] = []
        for segment in list(self._segments):
            if segment.last <= after:
                continue
            try:
                for number, line in self._scan(segment, after):
                    lines.append((number, line))
                    limit_bytes -= len(line)
                    if limit_bytes <= 0:
                        return lines
            except FileNotFoundError:
                self._drop(self._segments.index(segment))
        return lines

    def clear(self) -> None:
        """Deletes every file but forgets nothing that waits for `flush`."""
        while self._segments:
            self._drop(0)

    def close(self) -> None:
        """Idempotent; what was not flushed is lost."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _scan(self, segment: _Segment, after: int) -> Iterator[NumberedLine]:
        position = segment.offset_before(after + 1)
        with open(segment.path, "rb", buffering=_READ_BYTES) as file:
            file.seek(position)
            for line in file:
                position += len(line)
                if position > segment.size:
                    return
                number, _, body = line.partition(b" ")
                if int(number) > after:
                    yield int(number), body[:-1]

    def _writable(self, number: int) -> _Segment:
        """The segment that takes the next line: the newest one, or a new one when that is full."""
        newest = self._segments[-1] if self._segments else None
        if newest is None or newest.size >= self._segment_bytes:
            fresh = _Segment(self._directory, number)
            fd = self._open(fresh)
            self.close()
            self._fd, newest = fd, fresh
            self._segments.append(newest)
            while len(self._segments) > 1 and sum(segment.size for segment in self._segments) + self._segment_bytes > self._limit_bytes:
                self._drop(0)
        if self._fd < 0:
            self._fd = self._open(newest)
        return newest

    def _open(self, segment: _Segment) -> int:
        os.makedirs(self._directory, mode=0o700, exist_ok=True)
        return os.open(segment.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def _write(self, segment: _Segment, data: bytes) -> None:
        try:
            append_whole(self._fd, segment.size, data)
        except OSError:
            if segment.size == 0:
                self._drop(len(self._segments) - 1)
            raise

    def _drop(self, index: int) -> None:
        segment = self._segments[index]
        if self._on_drop and segment.size:
            self._on_drop(segment.first, segment.last)
        if index == len(self._segments) - 1:
            self.close()
        del self._segments[index]
        try:
            os.unlink(segment.path)
        except OSError:
            pass
