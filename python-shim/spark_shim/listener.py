"""Where servers connect: a unix socket or a TCP address, and the links that have come of it."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from typing import Any, Optional, Set, Tuple, Union

from .link import Driver, Link, LinkOwner
from .loop import Loop

CONNECTION_LIMIT = 64


class Listener(LinkOwner):
    """Accepts connections on a unix socket that only this user may open, or on a TCP address."""

    def __init__(self, loop: Loop, where: Union[str, Tuple[str, int]], driver: Driver, tls: Optional[Tuple[str, str]] = None) -> None:
        """`tls`: files of a certificate and its key; whoever connects must speak TLS 1.3 then. Raises OSError."""
        self._tls = _tls_context(*tls) if tls else None
        self._loop = loop
        self._driver = driver
        self._where = where
        self._links: Set[Link] = set()
        self._socket = _listen(where)
        loop.watch(self._socket.fileno(), self._accept)
        loop.before_sleep(self.flush)

    @property
    def address(self) -> Any:
        """Where it listens; with port 0, the port it was given."""
        return self._socket.getsockname()

    @property
    def drained(self) -> bool:
        """Whether no proven link waits for anything."""
        return all(link.drained for link in self._links if link.proven)

    def flush(self) -> None:
        """Sends on every link what can be sent now."""
        for link in list(self._links):
            link.flush()

    def proven(self, link: Link) -> None:
        self._tell()

    def gone(self, link: Link) -> None:
        self._links.discard(link)
        if link.proven:
            self._tell()

    def close(self) -> None:
        """Closes every link too. Idempotent."""
        for link in list(self._links):
            link.close()
        if self._socket.fileno() >= 0:
            self._loop.watch(self._socket.fileno(), None)
            self._socket.close()
            if isinstance(self._where, str):
                try:
                    os.unlink(self._where)
                except OSError:
                    pass

    def _tell(self) -> None:
        self._driver.links_changed(sum(link.proven for link in self._links))

    def _accept(self) -> None:
        try:
            end, _ = self._socket.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                # Out of descriptors: rest a moment instead of spinning.
                fd = self._socket.fileno()
                self._loop.watch(fd, None)
                self._loop.after(1.0, lambda: self._loop.watch(fd, self._accept))
            return
        if len(self._links) >= CONNECTION_LIMIT:
            end.close()
            return
        if end.family != socket.AF_UNIX:
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, seconds in (("TCP_KEEPIDLE", 20), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 4)):
                if hasattr(socket, name):
                    end.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), seconds)
        if self._tls:
            end.setblocking(False)
            try:
                end = self._tls.wrap_socket(end, server_side=True, do_handshake_on_connect=False)
            except OSError:
                end.close()
                return
        self._links.add(Link(self._loop, end, self, self._driver))


def _tls_context(certificate: str, key: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(certificate, key)
    # Nobody resumes: a link that was lost proves itself anew.
    context.num_tickets = 0
    return context


def _listen(where: Union[str, Tuple[str, int]]) -> socket.socket:
    if not isinstance(where, str):
        listener = _listen_on_tcp(*where)
    else:
        try:
            os.unlink(where)
        except FileNotFoundError:
            pass
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            listener.bind(where)
        finally:
            os.umask(before)
    listener.setblocking(False)
    listener.listen(32)
    return listener


def _listen_on_tcp(host: str, port: int) -> socket.socket:
    """`::` is every address of either kind, where the machine has both."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind((host, port))
    except OSError as error:
        if host != "::" or error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
            raise
        return _listen_on_tcp("0.0.0.0", port)
    return listener
