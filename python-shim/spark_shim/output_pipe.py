"""A pipe that carries what a process writes to a file descriptor: text as it comes, and the marks that say where a statement's ends."""

from __future__ import annotations

import codecs
import fcntl
import os
import re
import sys
from typing import Callable

from .loop import Loop

_READ_BYTES = 256 * 1024
_F_SETPIPE_SZ = 1031
_PIPE_BYTES = 1 << 20
#: Reads at a statement's end before other work has its turn.
_DRAIN_READS = 8

_MARK = re.compile(rb"\x1eM(\d{1,15})\x1f")
_MARK_BEGUN = re.compile(rb"\x1e(M\d{0,15})?\Z")


class OutputPipe:
    """The reading end. The writing end is given to a child and then closed here, so that its death is seen."""

    def __init__(self, loop: Loop, on_text: Callable[[str], None], on_mark: Callable[[int], None]) -> None:
        """`on_mark` gets the number of each barrier token, after the text before it."""
        self._loop = loop
        self._on_text = on_text
        self._on_mark = on_mark
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = b""
        self._fd, self.writing_end = os.pipe()
        os.set_blocking(self._fd, False)
        if sys.platform == "linux":
            try:
                fcntl.fcntl(self._fd, _F_SETPIPE_SZ, _PIPE_BYTES)
            except OSError:
                pass
        loop.watch(self._fd, self._readable)

    @property
    def ended(self) -> bool:
        """Whether nothing can come any more."""
        return self._fd < 0

    def handed_over(self) -> None:
        """The child has the writing end: this process lets go of it. Idempotent."""
        if self.writing_end >= 0:
            os.close(self.writing_end)
            self.writing_end = -1

    def drain(self) -> None:
        """Reads what is there now, up to a bound."""
        for _ in range(_DRAIN_READS):
            if self.ended or not self._read():
                return

    def close(self) -> None:
        """Reads what is there now and ends. Idempotent."""
        self.handed_over()
        self.drain()
        self._end()

    def _readable(self) -> None:
        self._read()

    def _read(self) -> bool:
        """Whether there was anything."""
        try:
            data = os.read(self._fd, _READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            data = b""
        if not data:
            self._end()
            return False
        data = self._held + data
        self._held = b""
        position = 0
        if b"\x1e" in data:
            for mark in _MARK.finditer(data):
                self._text(data[position : mark.start()], final=True)
                position = mark.end()
                self._on_mark(int(mark.group(1)))
            begun = _MARK_BEGUN.search(data, position)
            if begun:
                self._held = begun.group()
                data = data[: begun.start()]
        self._text(data[position:])
        return True

    def _text(self, data: bytes, final: bool = False) -> None:
        text = self._decoder.decode(data, final)
        if text:
            self._on_text(text)

    def _end(self) -> None:
        if self.ended:
            return
        self._text(self._held, final=True)
        self._held = b""
        self._loop.watch(self._fd, None)
        os.close(self._fd)
        self._fd = -1
