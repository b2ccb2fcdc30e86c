"""Files that users uploaded to a server and named for this driver: where they are, or waited for until a server has sent them."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import urllib.parse
from typing import Any, Dict, Iterable, List, Tuple

from .requests import RequestFailed

_URI = re.compile(r"upload:/([0-9a-f-]{36})/([^/?#]+)(#.*)?\Z", re.DOTALL)


def placed(uri: str, directory: str) -> str:
    """The URI as Spark in this driver is told of it: an upload's becomes that of a file below the directory."""
    match = _URI.match(uri)
    if match is None:
        return uri
    return "file://" + urllib.parse.quote(_place(directory, *_named(match))) + (match.group(3) or "")


def _named(match: Any) -> Tuple[str, str]:
    return match.group(1), urllib.parse.unquote(match.group(2))


def _place(directory: str, upload: str, name: str) -> str:
    return os.path.join(directory, "uploads", upload, name)


class _Coming:
    """A file of which a part is there."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._part = path + ".part"
        self._fd = -1
        self._hash = hashlib.sha256()
        self.bytes = 0

    def add(self, piece: bytes) -> None:
        """Raises OSError."""
        if self._fd < 0:
            os.makedirs(os.path.dirname(self._path), mode=0o700, exist_ok=True)
            self._fd = os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        rest = memoryview(piece)
        while rest:
            rest = rest[os.write(self._fd, rest) :]
        self._hash.update(piece)
        self.bytes += len(piece)

    def finish(self, sha256: str) -> bool:
        """Whether it is whole; then it is where it belongs. Raises OSError."""
        if self._hash.hexdigest() != sha256:
            return False
        os.fsync(self._fd)
        os.replace(self._part, self._path)
        self.close()
        return True

    def close(self) -> None:
        """Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Awaited:
    """The uploads among some URIs. What an earlier life of the supervisor got in part is begun anew."""

    def __init__(self, directory: str, uris: Iterable[str]) -> None:
        self._directory = directory
        self._coming: Dict[Tuple[str, str], _Coming] = {}
        self._all = {_named(match) for match in map(_URI.match, uris) if match}
        for upload, name in sorted(self._all):
            path = _place(directory, upload, name)
            if not os.path.isfile(path):
                self._coming[(upload, name)] = _Coming(path)

    @property
    def missing(self) -> List[Dict[str, Any]]:
        """What the protocol's `awaited` answers."""
        return [{"upload": upload, "name": name, "offset": file.bytes} for (upload, name), file in self._coming.items()]

    def supply(self, upload: str, name: str, offset: int, data: str, last: bool, sha256: str) -> int:
        """
        Takes a piece; answers how much of the file is there. What is there already changes nothing. Raises RequestFailed: `invalid` for a
        file that nobody waits for, a gap, no base64, or a whole that is not what it should be; `full` when the disk does not take it.
        """
        coming = self._coming.get((upload, name))
        if coming is None:
            if (upload, name) in self._all:
                return os.path.getsize(_place(self._directory, upload, name))
            raise RequestFailed("invalid", "The driver does not wait for this file.")
        try:
            piece = base64.b64decode(data.encode("ascii"), validate=True)
        except ValueError:
            raise RequestFailed("invalid", "A piece of a file must be base64.") from None
        if offset > coming.bytes:
            raise RequestFailed("invalid", "A piece before this one is missing.")
        try:
            coming.add(piece[coming.bytes - offset :])
            if last and offset + len(piece) == coming.bytes and not coming.finish(sha256):
                self._begin_anew(upload, name)
                raise RequestFailed("invalid", "%s did not arrive as it was stored." % name)
        except OSError as error:
            self._begin_anew(upload, name)
            raise RequestFailed("full", "The driver cannot keep %s: %s." % (name, error.strerror)) from error
        if last and offset + len(piece) == coming.bytes:
            del self._coming[(upload, name)]
        return coming.bytes

    def _begin_anew(self, upload: str, name: str) -> None:
        self._coming[(upload, name)].close()
        self._coming[(upload, name)] = _Coming(_place(self._directory, upload, name))
