"""Finds out which Spark an application has begun: its UI says so, whatever the application is written in."""

from __future__ import annotations

import errno
import json
import socket
from typing import Callable, Optional
from urllib.parse import quote

from .loop import Loop, Timer
from .pipe import Message

#: Spark's own `spark.port.maxRetries`: so many ports after the first one are tried by its UI when those before are taken.
_PORTS = 17
_LOOK_SECONDS = 0.25
_KNOWN_LOOK_SECONDS = 2.0
_ANSWER_SECONDS = 10.0
_ANSWER_BYTES = 8 << 20
_APPLICATIONS = "/api/v1/applications"

#: In the conf of an application: which driver's it is.
MARK_KEY = "spark.longwick.session"


def free_port(host: str) -> int:
    """A port of this address that nobody has now. Raises OSError."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as end:
        end.bind((host, 0))
        port: int = end.getsockname()[1]
        return port


class _Ask:
    """One connection to a port; with a path what it answers to a GET of that is read."""

    def __init__(self, loop: Loop, host: str, port: int, path: str, answered: Callable[[Optional[bytes]], None]) -> None:
        """`answered` gets the body that came, None when nobody listens there or nothing came in time."""
        self._loop = loop
        self._request = ("GET %s HTTP/1.0\r\nHost: localhost\r\nAccept-Encoding: identity\r\n\r\n" % path).encode() if path else b""
        self._answered = answered
        self._data = bytearray()
        self._end = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        self._end.setblocking(False)
        self._deadline = loop.after(_ANSWER_SECONDS, lambda: self._finish(None))
        code = self._end.connect_ex((host, port))
        if code in (0, errno.EINPROGRESS):
            loop.watch(self._end.fileno(), None, self._connected)
        else:
            # Whoever asks is told later, as with every other answer.
            loop.after(0, lambda: self._finish(None))

    def close(self) -> None:
        """Nobody wants the answer any more. Idempotent."""
        if self._end.fileno() >= 0:
            self._deadline.cancel()
            self._loop.watch(self._end.fileno(), None)
            self._end.close()

    def _finish(self, answer: Optional[bytes]) -> None:
        if self._end.fileno() >= 0:
            self.close()
            self._answered(answer)

    def _connected(self) -> None:
        if self._end.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._finish(None)
        elif not self._request:
            self._finish(b"")
        else:
            self._loop.watch(self._end.fileno(), self._readable)
            try:
                # A socket that is new takes a hundred bytes at once.
                self._end.send(self._request)
            except OSError:
                self._finish(None)

    def _readable(self) -> None:
        try:
            data = self._end.recv(256 * 1024)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._finish(None)
            return
        self._data += data
        if not data or len(self._data) > _ANSWER_BYTES:
            self._finish(bytes(self._data).partition(b"\r\n\r\n")[2])


class UiProbe:
    """Looks for the UI of one driver's Spark, and whether it is still there; an application may begin one Spark after the other."""

    def __init__(self, loop: Loop, host: str, port: int, mark: str, on_facts: Callable[[Message], None]) -> None:
        """`mark`: MARK_KEY's value in the conf. `on_facts`: what an `interpreter` record tells of Spark, whenever that changes."""
        self._loop = loop
        self._host = host
        self._first = port
        self._mark = mark.encode()
        self._on_facts = on_facts
        self._port = port
        self._facts: Optional[Message] = None
        self._ask: Optional[_Ask] = None
        self._timer: Optional[Timer] = None
        self._look()

    def close(self) -> None:
        """Idempotent."""
        if self._timer:
            self._timer.cancel()
        if self._ask:
            self._ask.close()
        self._on_facts = lambda facts: None

    @property
    def _found(self) -> bool:
        return self._facts is not None and self._facts["uiUrl"] is not None

    def _look(self) -> None:
        self._get("" if self._found else _APPLICATIONS, self._seen if self._found else self._listed)

    def _get(self, path: str, answered: Callable[[Optional[bytes]], None]) -> None:
        self._ask = _Ask(self._loop, self._host, self._port, path, answered)

    def _seen(self, answer: Optional[bytes]) -> None:
        if answer is None:
            self._tell({**(self._facts or {}), "uiUrl": None})
        self._timer = self._loop.after(_KNOWN_LOOK_SECONDS, self._look)

    def _listed(self, answer: Optional[bytes]) -> None:
        facts = self._facts_of(answer or b"")
        if facts is None:
            self._look_further()
        else:
            path = "%s/%s/environment" % (_APPLICATIONS, quote(facts["appId"]))
            self._get(path, lambda environment: self._identified(facts, environment or b""))

    def _identified(self, facts: Message, environment: bytes) -> None:
        if self._mark in environment:
            self._tell(facts)
            self._timer = self._loop.after(_KNOWN_LOOK_SECONDS, self._look)
        else:
            self._look_further()

    def _look_further(self) -> None:
        last = self._port - self._first + 1 >= _PORTS or self._port >= 65535
        self._port = self._first if last else self._port + 1
        self._timer = self._loop.after(_LOOK_SECONDS if last else 0, self._look)

    def _facts_of(self, listed: bytes) -> Optional[Message]:
        try:
            application = json.loads(listed.decode("utf-8", "replace"))[0]
            attempt = application["attempts"][0]
            facts = {"spark": str(attempt.get("appSparkVersion", "")), "appId": str(application["id"])}
            user = attempt.get("sparkUser")
        except (ValueError, LookupError, TypeError, AttributeError):
            return None
        address = "[%s]" % self._host if ":" in self._host else self._host
        user = user if isinstance(user, str) else None
        return {"python": "", **facts, "uiUrl": "http://%s:%d" % (address, self._port), "sparkUser": user, "ipython": None}

    def _tell(self, facts: Message) -> None:
        self._facts = facts
        self._on_facts(facts)
