"""Outputs on their way to the log: small texts joined, large ones cut, and what is beyond a statement's bound dropped with a mark."""

from __future__ import annotations

import time
from collections import deque
from typing import Any, Callable, Deque, Dict, List, Optional, Tuple

from .loop import Loop
from .statements import Statements

#: Text is held back this long when records follow each other faster.
JOIN_SECONDS = 0.02
#: A stream record's text, in code points: at most 256 KiB of UTF-8.
TEXT_POINTS = 64 * 1024
#: Of a statement that passed its bound so much of the end is kept.
TAIL_BYTES = 64 * 1024
#: Errors and small results are kept beyond the bound.
ALWAYS_BYTES = 64 * 1024

StreamKey = Tuple[int, str, str]
Append = Callable[[str, Dict[str, Any]], None]


class _Overflow:
    """What a statement wrote beyond its bound."""

    def __init__(self) -> None:
        self.unmarked_bytes = 0
        self.tail: Deque[Tuple[StreamKey, str]] = deque()
        self.tail_bytes = 0


class Outputs:
    """Everything a statement puts out goes through here, in order."""

    def __init__(self, loop: Loop, statements: Statements, append: Append, limit_bytes: int) -> None:
        self._loop = loop
        self._statements = statements
        self._append = append
        self._limit_bytes = limit_bytes
        self._key: Optional[StreamKey] = None
        self._texts: List[str] = []
        self._points = 0
        self._flushed_at = 0.0
        self._timer_runs = False
        self._overflows: Dict[int, _Overflow] = {}
        loop.before_sleep(self._settle)

    def stream(self, key: StreamKey, text: str) -> None:
        """Text of (statement, name, via)."""
        if key != self._key:
            self.flush()
            self._key = key
        self._texts.append(text)
        self._points += len(text)
        if self._points >= TEXT_POINTS:
            self.flush()

    def rich(self, kind: str, id: int, fields: Dict[str, Any], size: int) -> None:
        """A display, result, error, clear, progress or input; `size` in bytes."""
        self.flush()
        if size > ALWAYS_BYTES and kind in ("display", "result") and self._room(id) < size:
            self._drop(id, size)
            return
        if kind == "error" and size > 4 * ALWAYS_BYTES:
            fields = _cut_error(fields)
        elif kind == "clear":
            self._overflows.pop(id, None)
        self._append(kind, {"statement": id, **fields})

    def finish(self, id: int) -> None:
        """The statement's outputs are complete: what was held back is said."""
        self.flush()
        overflow = self._overflows.pop(id, None)
        if overflow is None:
            return
        if overflow.unmarked_bytes:
            self._append("dropped", {"statement": id, "bytes": overflow.unmarked_bytes})
        for key, text in overflow.tail:
            self._emit(key, text)

    def flush(self) -> None:
        """What was joined so far becomes records."""
        if not self._texts or self._key is None:
            return
        text = "".join(self._texts)
        self._texts.clear()
        self._points = 0
        self._flushed_at = time.monotonic()
        for at in range(0, len(text), TEXT_POINTS):
            self._bounded(self._key, text[at : at + TEXT_POINTS])

    def _settle(self) -> None:
        """Before the loop sleeps: at once when there was a pause, else after a while, with what comes until then."""
        if not self._texts or self._timer_runs:
            return
        wait = self._flushed_at + JOIN_SECONDS - time.monotonic()
        if wait <= 0:
            self.flush()
        else:
            self._timer_runs = True
            self._loop.after(wait, self._joined)

    def _joined(self) -> None:
        self._timer_runs = False
        self.flush()

    def _room(self, id: int) -> int:
        statement = self._statements.get(id)
        return self._limit_bytes - statement.output_bytes if statement else 0

    def _bounded(self, key: StreamKey, text: str) -> None:
        id = key[0]
        overflow = self._overflows.get(id)
        size = len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
        if overflow is None:
            if size <= self._room(id):
                self._emit(key, text)
                return
            self._drop(id, 0)
            overflow = self._overflows[id]
        overflow.tail.append((key, text))
        overflow.tail_bytes += size
        while overflow.tail_bytes > TAIL_BYTES:
            old_key, old = overflow.tail.popleft()
            excess = overflow.tail_bytes - TAIL_BYTES
            cut = old[:excess]
            overflow.tail_bytes -= len(cut.encode("utf-8", "replace"))
            self._drop(id, len(cut.encode("utf-8", "replace")))
            if len(old) > len(cut):
                overflow.tail.appendleft((old_key, old[len(cut) :]))

    def _drop(self, id: int, size: int) -> None:
        """The first mark stands where the gap begins, the second, with the rest, at the statement's end."""
        overflow = self._overflows.get(id)
        if overflow is None:
            overflow = self._overflows[id] = _Overflow()
            self._append("dropped", {"statement": id, "bytes": size})
        else:
            overflow.unmarked_bytes += size

    def _emit(self, key: StreamKey, text: str) -> None:
        self._append("stream", {"statement": key[0], "name": key[1], "via": key[2], "text": text})


def _cut_error(fields: Dict[str, Any]) -> Dict[str, Any]:
    """An error whose text is out of all proportion: the beginning of its message and the end of its traceback."""
    evalue, traceback = fields["evalue"], fields["traceback"]
    if len(evalue) > TAIL_BYTES:
        evalue = evalue[:TAIL_BYTES] + "…"
    kept: Deque[str] = deque()
    room = TAIL_BYTES
    for line in reversed(traceback):
        if len(line) > room:
            kept.appendleft(line[:room] + "…\n")
            break
        room -= len(line)
        kept.appendleft(line)
    return {"ename": fields["ename"], "evalue": evalue, "traceback": list(kept)}
