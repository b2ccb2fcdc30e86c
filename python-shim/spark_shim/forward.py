"""Connections of the server's joined to a port of this driver: Spark's UI listens on loopback alone, and the link is the way in."""

from __future__ import annotations

import errno
import functools
import os
import socket
from typing import Callable, Dict, Set
from urllib.parse import urlsplit

from .link import NOT_NOW, Link
from .loop import Loop
from .requests import RequestFailed

FORWARD_LIMIT = 32
CONNECT_SECONDS = 10.0
_PIECE_BYTES = 64 * 1024
_LOOPBACK = "127.0.0.1"


def ui_port(url: object) -> int:
    """The port of what an interpreter says is its UI. Raises RequestFailed."""
    try:
        port = urlsplit(url).port if isinstance(url, str) else None
    except ValueError:
        port = None
    if not port:
        raise RequestFailed("unavailable", "Spark has no UI now.")
    return port


def ui_host(env: Dict[str, str]) -> str:
    """The address that Spark's UI listens on: that of SPARK_LOCAL_IP, else every one. Another name is not looked up: it would take time."""
    given = env.get("SPARK_LOCAL_IP", "").strip("[]")
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            if any(socket.inet_pton(family, given)):
                return given
        except OSError:
            pass
    return _LOOPBACK


class Forwards:
    """Every joined connection of one driver."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._open: Set[Forward] = set()
        self._coming = 0

    def join(self, link: Link, request: int, host: str, port: int) -> None:
        """Answers the request once there is a connection to the port; from then on the link is one with it. Raises RequestFailed."""
        if len(self._open) + self._coming >= FORWARD_LIMIT:
            raise RequestFailed("full", "%d connections to Spark's UI are open already." % FORWARD_LIMIT)
        end = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        end.setblocking(False)
        fd = end.fileno()
        self._coming += 1

        def settled() -> None:
            self._coming -= 1
            deadline.cancel()
            self._loop.watch(fd, None)

        def refuse(why: str) -> None:
            settled()
            end.close()
            link.fail(request, "unavailable", "Spark's UI does not take connections: %s." % why)

        def connected() -> None:
            code = end.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                refuse(os.strerror(code))
                return
            settled()
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link.reply(request, {})
            link.hand_over(lambda server: self._join(server, end), end.close)

        deadline = self._loop.after(CONNECT_SECONDS, lambda: refuse("no answer for %g s" % CONNECT_SECONDS))
        code = end.connect_ex((host, port))
        if code in (0, errno.EINPROGRESS):
            self._loop.watch(fd, None, connected)
        else:
            refuse(os.strerror(code))

    def close(self) -> None:
        """Ends them all. Idempotent."""
        for forward in list(self._open):
            forward.close()

    def _join(self, server: socket.socket, place: socket.socket) -> None:
        self._open.add(Forward(self._loop, server, place, self._open.discard))


class _Way:
    """From one socket to the other, a piece at a time: who does not read holds up who writes."""

    def __init__(self, source: socket.socket, target: socket.socket) -> None:
        self.source, self.target = source, target
        self.rest = memoryview(b"")
        self.ended = False

    def take(self) -> None:
        """Raises OSError."""
        try:
            # Of TLS one record at most, never part of one: what else there is keeps the descriptor readable.
            data = self.source.recv(_PIECE_BYTES)
        except NOT_NOW:
            return
        self.rest, self.ended = memoryview(data), not data

    def give(self) -> None:
        """Raises OSError."""
        try:
            self.rest = self.rest[self.target.send(self.rest) :]
        except NOT_NOW:
            pass


class Forward:
    """Two sockets joined until one of them ends; what it said last still arrives."""

    def __init__(self, loop: Loop, server: socket.socket, place: socket.socket, on_end: Callable[[Forward], None]) -> None:
        self._loop = loop
        self._on_end = on_end
        self._ends = (server, place)
        self._ways = (_Way(server, place), _Way(place, server))
        self._watch()

    def close(self) -> None:
        """Idempotent."""
        if self._ends[0].fileno() < 0:
            return
        for end in self._ends:
            self._loop.watch(end.fileno(), None)
            end.close()
        self._on_end(self)

    def _move(self, step: Callable[[], None]) -> None:
        try:
            step()
        except OSError:
            self.close()
            return
        if any(way.ended and not way.rest for way in self._ways):
            self.close()
        else:
            self._watch()

    def _watch(self) -> None:
        there, back = self._ways
        for way, other in ((there, back), (back, there)):
            take = None if way.rest or way.ended else functools.partial(self._move, way.take)
            give = functools.partial(self._move, other.give) if other.rest else None
            self._loop.watch(way.source.fileno(), take, give)
