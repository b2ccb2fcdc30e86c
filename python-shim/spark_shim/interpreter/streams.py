"""What statements write and show, on its way to the supervisor: in order, attributed, in few pieces, torn by no interrupt."""

from __future__ import annotations

import codecs
import ctypes
import io
import os
import sys
import threading
import time
from typing import Any, Callable, Dict, List, Optional

from ..pipe import TEXT_LIMIT_BYTES, Message, barrier_token
from .gate import Gate
from .statement import CURRENT, Statement

#: Written text is sent on when so many characters wait, or so many seconds after what was sent before.
FLUSH_CHARACTERS = 64 * 1024
FLUSH_SECONDS = 0.05
#: A line that nobody has ended yet is waited for that long when nothing was sent for a while: `print` writes in pieces.
LINE_SECONDS = 0.01


def is_open(stream: object) -> bool:
    """Whether what user code left as a stream can still be one."""
    try:
        return stream is not None and not getattr(stream, "closed", False)
    except Exception:
        return False  # one that was detached raises


class Outputs:
    """The one door for everything a statement shows. Any thread may use it; it blocks while the supervisor does not read."""

    def __init__(self, send: Callable[[Message], None], gate: Gate) -> None:
        self._send = send
        self._gate = gate
        # Reentrant: a finalizer may print while this thread is in here.
        self._lock = threading.RLock()
        self._owner: Optional[Statement] = None
        self._name = ""
        self._parts: List[str] = []
        self._size = 0
        self._flushed = 0.0
        self._due = 0.0
        self._pending = threading.Event()
        self._forked = False
        self._fds: Dict[int, int] = {}
        #: Whose output it is when the context does not say (threads made by C code): the newest statement.
        self.latest: Optional[Statement] = None
        self.stdout = TextStream(self, "stdout", 1)
        self.stderr = TextStream(self, "stderr", 2)

    def start(self) -> None:
        """Takes over sys.stdout and sys.stderr and starts the thread that flushes."""
        self._fds = {number: os.dup(number) for number in (1, 2)}
        self.restore()
        os.register_at_fork(after_in_child=self._after_fork)
        threading.Thread(target=self._flush_slowly, name="longwick-flush", daemon=True).start()

    @property
    def forked(self) -> bool:
        """Whether this is a forked child, not the interpreter."""
        return self._forked

    def restore(self) -> None:
        """Before each statement: what a statement before closed is open again. Streams the user put in place stay."""
        for name, own in (("stdout", self.stdout), ("stderr", self.stderr)):
            stream = getattr(sys, name, None)
            if stream is not own and (stream is getattr(sys, "__%s__" % name, None) or not is_open(stream)):
                setattr(sys, name, own)
        for number, spare in self._fds.items():
            try:
                os.fstat(number)
            except OSError:
                os.dup2(spare, number)

    def write(self, name: str, text: str, fd: int) -> None:
        if not text:
            return
        if self._forked:
            os.write(fd, text.encode("utf-8", "replace"))
            return
        owner = CURRENT.get() or self.latest
        with self._gate, self._lock:
            if owner is not self._owner or name != self._name:
                self._flush()
                self._owner, self._name = owner, name
            now = time.monotonic()
            whole = self._flushed + FLUSH_SECONDS
            if not self._parts:
                self._due = max(whole, now + LINE_SECONDS)
            self._parts.append(text)
            self._size += len(text)
            # Here too: the thread that flushes may get no turn while this one writes without pause.
            if self._size >= FLUSH_CHARACTERS or now > (whole if text[-1] == "\n" else self._due):
                self._flush()
            elif not self._pending.is_set():
                self._pending.set()

    def emit(self, type: str, statement: Optional[Statement] = None, **fields: Any) -> None:
        """Sends one record of a statement, after all that was written before it."""
        owner = statement or CURRENT.get() or self.latest
        if owner is None or self._forked:
            return
        with self._gate, self._lock:
            self._flush()
            self._send({"is": "emit", "type": type, "statement": owner.id, **fields})

    def send(self, message: Message) -> None:
        """Sends what is not a statement's output."""
        if not self._forked:
            with self._gate:
                self._send(message)

    def log(self, text: str) -> None:
        """Lines for the driver's log."""
        self.send({"is": "log", "lines": text.splitlines()})

    def flush(self) -> None:
        with self._gate, self._lock:
            self._flush()

    def barrier(self, number: int) -> None:
        """Marks on both file descriptors the end of what was written there, C's own buffers included. The marks go through copies of the
        descriptors: user code may have closed 1 and 2, or made them something else."""
        self.flush()
        for name in ("__stdout__", "__stderr__"):
            try:
                getattr(sys, name).flush()
            except Exception:
                pass  # closed, or whatever user code has put in its place
        _flush_c()
        for fd in self._fds.values():
            try:
                os.write(fd, barrier_token(number))
            except OSError:
                pass

    def _flush(self) -> None:
        if not self._parts:
            return
        text = "".join(self._parts)
        self._parts, self._size = [], 0
        self._flushed = time.monotonic()
        if self._owner is None:
            self._send({"is": "log", "lines": text.splitlines()})
            return
        step = TEXT_LIMIT_BYTES if text.isascii() else TEXT_LIMIT_BYTES // 4
        for start in range(0, len(text), step):
            piece = text if len(text) <= step else text[start : start + step]
            record = {"type": "stream", "statement": self._owner.id, "name": self._name, "via": "python", "text": piece}
            self._send({"is": "emit", **record})

    def _flush_slowly(self) -> None:
        while True:
            self._pending.wait()
            time.sleep(max(0.0, self._due - time.monotonic()))
            with self._lock:
                if self._parts and time.monotonic() < self._due:
                    continue
                self._pending.clear()
                self._flush()

    def _after_fork(self) -> None:
        """A forked child is not the interpreter: what it prints goes to its file descriptors, like any child's."""
        self._forked = True
        self._lock = threading.RLock()
        self._parts, self._size = [], 0


class TextStream(io.TextIOBase):
    """Stands in for sys.stdout or sys.stderr. Cannot be closed."""

    def __init__(self, outputs: Outputs, name: str, fd: int) -> None:
        self._outputs = outputs
        self._fd = fd
        self._channel = name
        self.name = "<%s>" % name
        self.mode = "w"
        self.buffer = ByteStream(self)

    encoding = "utf-8"
    errors = "replace"
    line_buffering = False
    closed = False

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError("write() argument must be str, not %s" % type(text).__name__)
        self._outputs.write(self._channel, text, self._fd)
        return len(text)

    def flush(self) -> None:
        self._outputs.flush()

    def close(self) -> None:
        self.flush()

    def fileno(self) -> int:
        return self._fd

    def isatty(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def reconfigure(self, **_: Any) -> None:
        """Nothing to configure: text goes out as it is."""


class ByteStream(io.BufferedIOBase):
    """`sys.stdout.buffer`: bytes of UTF-8 that join the text."""

    closed = False

    def __init__(self, text: TextStream) -> None:
        self._text = text
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def write(self, data: Any) -> int:
        with memoryview(data) as view:
            self._text.write(self._decoder.decode(bytes(view)))
            return view.nbytes

    def flush(self) -> None:
        self._text.flush()

    def close(self) -> None:
        self.flush()

    def fileno(self) -> int:
        return self._text.fileno()

    def writable(self) -> bool:
        return True


def _c_flush() -> Callable[[], None]:
    try:
        fflush = ctypes.CDLL(None).fflush
    except (OSError, AttributeError):
        return lambda: None
    return lambda: fflush(None)


_flush_c = _c_flush()
