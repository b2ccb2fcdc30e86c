"""One connection of a server's: the proof, the codec, what waits to be sent and how far it has read."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import socket
import ssl
import traceback
from collections import deque
from typing import Callable, Deque, Dict, List, Optional, Tuple

from .loop import Loop
from .pipe import LineBuffer, LineTooLong, Message, encode
from .protocol import FRAME_LIMIT_BYTES, PIECE_BYTES, PROTOCOL_VERSIONS
from .record_log import RecordLog
from .requests import RequestFailed, problem_of

HANDSHAKE_SECONDS = 10.0
HANDSHAKE_LINE_BYTES = 4096
#: A piece's text may grow sixfold by JSON's escapes.
LINE_BYTES = 8 * PIECE_BYTES
OPEN_FRAME_LIMIT = 32

_READ_BYTES = 256 * 1024
NOT_NOW = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
#: Sends a connection may do before others have their turn.
_SENDS_A_ROUND = 4
#: A piece of so many code points is at most PIECE_BYTES of UTF-8.
_PIECE_POINTS = PIECE_BYTES // 4


class Driver:
    """What a link needs of the supervisor."""

    session: str
    key: bytes
    log: RecordLog

    def handle(self, link: Link, name: str, frame: Message) -> Optional[Message]:
        """Answers a checked request; None: the answer comes later through the link. Raises RequestFailed."""
        raise NotImplementedError

    def links_changed(self, proven: int) -> None:
        """A link was proven or has gone; so many are left."""
        raise NotImplementedError


class LinkOwner:
    """Whoever made a link and is told what becomes of it."""

    def proven(self, link: Link) -> None:
        """A link's handshake is done."""
        raise NotImplementedError

    def gone(self, link: Link) -> None:
        """A link was closed, or its socket is another's."""
        raise NotImplementedError


def proof_of(key: bytes, role: str, version: int, session: str, driver_nonce: str, server_nonce: str) -> str:
    """`proofText` of src/protocol/frames.ts under the session's key, base64url without padding."""
    versions = ",".join(map(str, PROTOCOL_VERSIONS))
    text = "\n".join(["longwick-link", role, versions, str(version), session, driver_nonce, server_nonce])
    return _base64url(hmac.new(key, text.encode("utf-8", "replace"), hashlib.sha256).digest())


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def cut(line: bytes, number: int) -> List[bytes]:
    """A frame's line, with its newline, as `part` frames."""
    text = line[:-1].decode("utf-8")
    starts = range(0, len(text), _PIECE_POINTS)
    return [
        encode({"frame": "part", "of": number, "text": text[at : at + _PIECE_POINTS], "last": at + _PIECE_POINTS >= len(text)})
        for at in starts
    ]


class Link:
    """
    One connection. Records are not queued for it: it pulls them from the log at its own pace, out of memory or, when it is slow, from
    disk. Control goes before bulk, and one round of the loop sends a bounded amount.
    """

    def __init__(self, loop: Loop, end: socket.socket, owner: LinkOwner, driver: Driver) -> None:
        """A TLS socket shakes hands first: until then nothing is written."""
        end.setblocking(False)
        self._loop = loop
        self._end = end
        self._fd = end.fileno()
        self._owner = owner
        self._driver = driver
        self._lines = LineBuffer(HANDSHAKE_LINE_BYTES)
        self._open_frames: Dict[int, List[str]] = {}
        self._open_size = 0
        self._control: Deque[bytes] = deque()
        self._pieces: Deque[bytes] = deque()
        self._rest = memoryview(b"")
        self._cut_count = 0
        self._cursor: Optional[int] = None
        self._closing = False
        self._heir: Optional[Tuple[Callable[[socket.socket], None], Callable[[], None]]] = None
        self._waits_for_room = False
        self.proven = False
        self.closed = False
        self._nonce = _base64url(os.urandom(32))
        self._deadline = loop.after(HANDSHAKE_SECONDS, self.close)
        self._write({"frame": "challenge", "versions": list(PROTOCOL_VERSIONS), "nonce": self._nonce})
        if isinstance(end, ssl.SSLSocket):
            self._waits_for_room = True
            loop.watch(self._fd, lambda: self._shake_hands(end))
        else:
            loop.watch(self._fd, self._readable)

    # ── What the supervisor does with it ──

    def reply(self, request: int, result: Message) -> None:
        """The good answer."""
        self._write({"frame": "reply", "request": request, "result": result})

    def fail(self, request: int, code: str, message: str) -> None:
        """The bad answer."""
        self._write({"frame": "failure", "request": request, "code": code, "message": message})

    def follow(self, seq: int) -> None:
        """Records after this one are sent from now on."""
        self._cursor = seq

    @property
    def following(self) -> bool:
        """Whether records are sent on it."""
        return self._cursor is not None

    def hand_over(self, heir: Callable[[socket.socket], None], gone: Callable[[], None]) -> None:
        """
        The socket is the heir's once all that was written to it has been sent; no frame is taken from it any more. `gone` is called in the
        heir's place when the link is closed before.
        """
        if self.closed:
            gone()
            return
        self._heir = (heir, gone)

    @property
    def drained(self) -> bool:
        """Whether everything it waits for has been handed to the kernel."""
        return self.closed or not (self._control or self._pieces or self._rest or self._behind)

    def close(self) -> None:
        """Idempotent."""
        if self.closed:
            return
        self._leave()
        self._end.close()
        if self._heir:
            self._heir[1]()

    def _leave(self) -> None:
        self.closed = True
        self._deadline.cancel()
        self._loop.watch(self._fd, None)
        self._owner.gone(self)

    def flush(self) -> None:
        """Sends what can be sent now."""
        if self.closed or self._waits_for_room or self.drained:
            return
        for _ in range(_SENDS_A_ROUND):
            if not self._rest:
                self._rest = memoryview(self._next_bytes())
            if not self._rest:
                break
            try:
                self._rest = self._rest[self._end.send(self._rest) :]
            except NOT_NOW:
                break
            except OSError:
                self.close()
                return
        if self._heir and self.drained:
            self._leave()
            self._heir[0](self._end)
        elif self._closing and self.drained:
            self.close()
        elif not self.drained:
            self._waits_for_room = True
            self._loop.watch(self._fd, self._readable, self._writable)

    # ── Sending ──

    @property
    def _behind(self) -> bool:
        return self._cursor is not None and self._cursor < self._driver.log.last_seq

    def _write(self, frame: Message) -> None:
        line = encode(frame)
        if len(line) > PIECE_BYTES:
            self._pieces.extend(self._cut(line))
        else:
            self._control.append(line)

    def _cut(self, line: bytes) -> List[bytes]:
        self._cut_count += 1
        return cut(line, self._cut_count)

    def _next_bytes(self) -> bytes:
        """What goes out next: all control, then one piece or some records."""
        control = b"".join(self._control)
        self._control.clear()
        return control + self._next_bulk()

    def _next_bulk(self) -> bytes:
        if self._pieces:
            return self._pieces.popleft()
        if not self._behind or self._cursor is None:
            return b""
        if self._cursor < self._driver.log.first_seq - 1:
            # The log let go of what this link has not read: the server attaches anew and gets a snapshot.
            self.close()
            return b""
        chunk: List[bytes] = []
        for seq, line in self._driver.log.after(self._cursor, PIECE_BYTES):
            if len(line) >= PIECE_BYTES:
                if chunk:
                    break
                self._cursor = seq
                self._pieces.extend(self._cut(line + b"\n"))
                return self._pieces.popleft()
            chunk.append(line)
            self._cursor = seq
        chunk.append(b"")
        return b"\n".join(chunk)

    def _writable(self) -> None:
        self._waits_for_room = False
        self._loop.watch(self._fd, self._readable)
        self.flush()

    # ── Receiving ──

    def _shake_hands(self, end: ssl.SSLSocket) -> None:
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            return
        except ssl.SSLWantWriteError:
            self._loop.watch(self._fd, lambda: self._shake_hands(end), lambda: self._shake_hands(end))
        except OSError:
            self.close()
        else:
            self._writable()

    def _readable(self) -> None:
        try:
            # Of TLS one record at most, never part of one: what else there is keeps the descriptor readable.
            data = self._end.recv(_READ_BYTES)
        except NOT_NOW:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        try:
            for line in self._lines.feed(data):
                if not (self.closed or self._closing or self._heir):
                    self._take(line)
        except (LineTooLong, ValueError, RecursionError):
            self.close()

    def _take(self, line: bytes) -> None:
        """Raises ValueError when the other end does not speak the protocol."""
        frame = json.loads(line)
        if not isinstance(frame, dict):
            raise ValueError("a frame is a JSON object")
        if not self.proven:
            self._prove(frame)
        elif frame.get("frame") == "part":
            whole = self._join(frame)
            if whole is not None:
                self._take_request(whole)
        else:
            self._take_request(frame)

    def _join(self, part: Message) -> Optional[Message]:
        number, text, last = part.get("of"), part.get("text"), part.get("last")
        if not (isinstance(number, int) and isinstance(text, str) and isinstance(last, bool)):
            raise ValueError("a part that is not one")
        pieces = self._open_frames.setdefault(number, [])
        pieces.append(text)
        self._open_size += len(text)
        if self._open_size > FRAME_LIMIT_BYTES or len(self._open_frames) > OPEN_FRAME_LIMIT:
            raise ValueError("too much")
        if not last:
            return None
        del self._open_frames[number]
        self._open_size -= sum(map(len, pieces))
        whole = json.loads("".join(pieces))
        if not isinstance(whole, dict):
            raise ValueError("a frame is a JSON object")
        return whole

    def _take_request(self, frame: Message) -> None:
        request = frame.get("request")
        if not isinstance(request, int) or isinstance(request, bool):
            return
        problem = problem_of(frame)
        if problem is not None:
            self.fail(request, "invalid", problem)
            return
        try:
            result = self._driver.handle(self, frame["frame"], frame)
        except RequestFailed as failed:
            self.fail(request, failed.code, str(failed))
        except Exception as error:
            # A bug of ours: what came with this request is still to be read.
            self.fail(request, "internal", "%s: %s" % (type(error).__name__, error))
            self._loop.report(traceback.format_exc())
        else:
            if result is not None:
                self.reply(request, result)

    def _prove(self, frame: Message) -> None:
        session, nonce, version, proof = (frame.get(name) for name in ("session", "nonce", "version", "proof"))
        driver = self._driver
        if frame.get("frame") != "prove" or not (isinstance(nonce, str) and isinstance(proof, str) and isinstance(version, int)):
            raise ValueError("not a proof")
        if version not in PROTOCOL_VERSIONS:
            self._refuse("version", "This driver speaks the protocol's versions %s." % ", ".join(map(str, PROTOCOL_VERSIONS)))
            return
        expected = proof_of(driver.key, "server", version, driver.session, self._nonce, nonce)
        if session != driver.session or not hmac.compare_digest(expected, proof.encode("ascii", "replace").decode("ascii")):
            self._refuse("proof", "The proof does not fit this driver's session and key.")
            return
        self._deadline.cancel()
        self.proven = True
        self._lines.limit_bytes = LINE_BYTES
        self._write(
            {
                "frame": "hello",
                "version": version,
                "session": driver.session,
                "epoch": driver.log.epoch,
                "firstSeq": driver.log.first_seq,
                "lastSeq": driver.log.last_seq,
                "proof": proof_of(driver.key, "driver", version, driver.session, self._nonce, nonce),
            }
        )
        self._owner.proven(self)

    def _refuse(self, code: str, message: str) -> None:
        self._write({"frame": "refused", "code": code, "message": message})
        self._closing = True
