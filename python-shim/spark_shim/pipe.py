"""What the supervisor and the interpreter say to each other: one JSON object a line, each way, over a socket pair. What the interpreter
sends as `text` follows its line in raw bytes of UTF-8: as a JSON string its way would cost twice as much.

Both ends are of one version, so nothing is negotiated. The supervisor trusts no line: user code can write to the pipe.
"""

from __future__ import annotations

import codecs
import json
import os
import socket
import threading
from typing import Any, Dict, Iterator, List, Optional, Tuple, Union

Message = Dict[str, Any]

#: The interpreter finds the number of its end's file descriptor in this environment variable.
PIPE_VARIABLE = "LONGWICK_PIPE"

#: The interpreter's settings, a JSON object: `kind`, `name`, `sqlRowLimit`, `workDir`, `startDir`.
SETTINGS_VARIABLE = "LONGWICK_INTERPRETER"

#: The longest text of one `stream` message, in bytes of UTF-8. Whoever has more to say cuts it.
TEXT_LIMIT_BYTES = 256 * 1024

#: A longer line than this from the interpreter ends it. One display or result must fit.
LINE_LIMIT_BYTES = 128 * 1024 * 1024


def barrier_token(number: int) -> bytes:
    """The bytes that mark, on a file descriptor, the end of what a statement wrote there."""
    return b"\x1eM%d\x1f" % number


def _replacement(error: UnicodeError) -> Tuple[Union[str, bytes], int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return b"\xef\xbf\xbd" * (error.end - error.start), error.end


codecs.register_error("longwick-surrogates", _replacement)


def _plain(value: Any, depth: int = 0) -> Any:
    """The value with what JSON cannot say replaced: NaN and infinities by null, strange keys and objects by their text."""
    if depth > 200:
        return "..."
    if isinstance(value, float):
        return value if value == value and value not in (float("inf"), float("-inf")) else None
    if value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, dict):
        return {key if isinstance(key, str) else str(key): _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, depth + 1) for item in value]
    try:
        return str(value)
    except Exception:
        return "<%s>" % type(value).__name__


_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def encode(message: Any) -> bytes:
    """One line with its newline. Never raises for what user code put into it: lone surrogates become U+FFFD, NaN becomes null."""
    try:
        text = _encoder.encode(message)
    except (ValueError, TypeError, RecursionError):
        text = _encoder.encode(_plain(message))
    try:
        return text.encode("utf-8") + b"\n"
    except UnicodeEncodeError:
        return text.encode("utf-8", "longwick-surrogates") + b"\n"


class LineTooLong(Exception):
    """A line passed its limit before its end was seen."""


class LineBuffer:
    """Cuts a byte stream into lines without copying what is already complete."""

    def __init__(self, limit_bytes: int = LINE_LIMIT_BYTES) -> None:
        self.limit_bytes = limit_bytes
        self._open: List[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> List[bytes]:
        """The lines that this piece completes, without their newlines. Raises LineTooLong."""
        *complete, rest = data.split(b"\n")
        if complete:
            if self._open:
                complete[0] = b"".join(self._open) + complete[0]
                self._open, self._size = [], 0
            for line in complete:
                if len(line) > self.limit_bytes:
                    raise LineTooLong()
        if rest:
            self._open.append(rest)
            self._size += len(rest)
            if self._size > self.limit_bytes:
                raise LineTooLong()
        return complete


def pack(message: Message) -> bytes:
    """A message of the interpreter's: its line, in which the text's length stands for the text, then the text."""
    text = message.get("text")
    if not isinstance(text, str):
        return encode(message)
    raw = text.encode("utf-8", "longwick-surrogates")
    return encode({**message, "text": len(raw)}) + raw


class MessageBuffer:
    """Cuts what the interpreter sends into messages."""

    def __init__(self) -> None:
        self._held: List[bytes] = []
        self._size = 0
        self._waits_for_text: Optional[Message] = None

    def feed(self, data: bytes) -> Iterator[Message]:
        """The messages that this piece completes. Raises LineTooLong, ValueError, RecursionError."""
        at = 0
        while at < len(data):
            message = self._waits_for_text
            end = data.find(b"\n", at) if message is None else at + message["text"] - self._size
            self._size += (end if 0 <= end <= len(data) else len(data)) - at
            if self._size > LINE_LIMIT_BYTES:
                raise LineTooLong()
            if not 0 <= end <= len(data):
                self._held.append(data[at:])
                return
            whole = b"".join([*self._held, data[at:end]])
            self._held, self._size = [], 0
            if message is not None:
                at, self._waits_for_text = end, None
                yield {**message, "text": whole.decode("utf-8", "replace")}
                continue
            at = end + 1
            message = json.loads(whole)
            if not isinstance(message, dict):
                continue
            length = message.get("text")
            if isinstance(length, int) and length > 0:
                self._waits_for_text = message
            else:
                yield message


def _instead_of(message: Message, size: int) -> Message:
    """What is said in place of a message too large for a line, which would end the interpreter."""
    kind = message.get("type", message["is"])
    if kind in ("display", "result"):
        return {**message, "data": {"text/plain": "<an output of %d bytes is too large to be sent>" % size}, "metadata": {}}
    note = "A message of %d bytes (%s) is too large to be sent." % (size, kind)
    return {"is": "reply", "request": message["request"], "failure": note} if kind == "reply" else {"is": "log", "lines": [note]}


class Pipe:
    """The interpreter's end. `send` may be called from any thread and blocks while the supervisor does not read: user code slows down."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(True)
        self._end = end
        self._lock = threading.Lock()

    @classmethod
    def inherited(cls) -> Pipe:
        """The end whose number the supervisor left in the environment. It is taken out of the environment and not inherited further."""
        number = int(os.environ.pop(PIPE_VARIABLE))
        os.set_inheritable(number, False)
        return cls(socket.socket(fileno=number))

    def send(self, message: Message) -> None:
        """Raises OSError when the supervisor is gone. A message too large for a line is replaced by one that says so."""
        data = pack(message)
        if len(data) > LINE_LIMIT_BYTES:
            data = pack(_instead_of(message, len(data)))
        with self._lock:
            self._end.sendall(data)

    def close(self) -> None:
        """For a forked child: its copy of the end, so that only the interpreter holds it."""
        self._end.close()

    def messages(self) -> Iterator[Message]:
        """What the supervisor says, in order; ends when it is gone."""
        lines = LineBuffer(1 << 40)
        while True:
            try:
                data = self._end.recv(1 << 16)
            except OSError:
                return
            if not data:
                return
            for line in lines.feed(data):
                yield json.loads(line)


# ── What is said ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
#
# supervisor → interpreter
#   {"do": "gateway", "port": n, "secret": s, "attach": bool, "fresh": bool}
#       Once, first. attach: the JVM already has a SparkContext, use it. fresh (only with attach): the user asked for a restart:
#       cancel jobs, drop temp views, clear the cache.
#   {"do": "run", "statement": n, "code": s, "kind": k, "silent": bool, "stored": bool, "stdin": bool, "group": job group,
#    "cell": {} or {"expressions": {name: code}, "parent": s} or {"message": a comm's message, "parent": s}}
#   {"do": "cancelJobs", "request": r, "statement": n}                 → reply {"jobs": how many ran}
#   {"do": "complete", "request": r, "code": s, "kind": k, "cursor": n}  → reply {"matches", "start", "end", "metadata"}
#   {"do": "inspect", "request": r, "code", "kind", "cursor", "detail"} → reply {"found", "data", "metadata"}
#   {"do": "parse", "request": r, "code": s}                           → reply {"status", "indent"}
#   {"do": "comms", "request": r}                                      → reply {"comms": {id: target}}
#   {"do": "answer", "question": n, "value": s}                      `question`: as the "input" that asked says
#   {"do": "exit"}                                                     run exit handlers and leave; Spark stays
#
# interpreter → supervisor
#   {"is": "ready", "facts": {"python", "spark", "appId", "uiUrl", "sparkUser", "ipython"}}  or  {"is": "failed", "reason": s}
#   {"is": "facts", "facts": {…}}        user code has made another SparkContext
#   {"is": "stopped"}                    a statement failed, and Spark has stopped its SparkContext itself
#   {"is": "emit", "type": "stream" | "display" | "clear" | "result" | "error" | "progress" | "input" | "returned" | "comm", "statement": n,
#    …its fields}
#   {"is": "done", "statement": n, "outcome": "ok" | "error" | "cancelled", "next": number of the next in the history,
#    "barrier": k, "jvm": bool}
#       barrier_token(k) was written to fd 1 and fd 2 after fflush; with jvm also, through Py4J, to the JVM's stdout.
#   {"is": "executors", "count": n}      {"is": "log", "lines": [s]}
#   {"is": "reply", "request": r, "result": {…}}  or  {"is": "reply", "request": r, "failure": s}
