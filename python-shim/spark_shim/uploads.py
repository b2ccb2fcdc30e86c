"""Files that servers send in pieces, each in a directory of its own so that names never meet."""

from __future__ import annotations

import base64
import os
from typing import Optional

from .requests import RequestFailed


class Uploads:
    """Files of this session below a directory, which is made when the first one comes."""

    def __init__(self, directory: str) -> None:
        self._directory = directory

    def take(self, upload: str, name: str, offset: int, data: str, last: bool) -> Optional[str]:
        """
        Writes a piece; answers where the file is once the last one came. The same piece again changes nothing. Raises RequestFailed:
        `invalid` for a name that is a path, a piece that leaves a gap or no base64; `full` when the disk does not take it.
        """
        if os.path.basename(name) != name or name in (".", "..") or "\0" in name:
            raise RequestFailed("invalid", "A file's name must be no path.")
        directory = os.path.join(self._directory, upload)
        path = os.path.join(directory, name)
        try:
            piece = base64.b64decode(data.encode("ascii"), validate=True)
        except ValueError:
            raise RequestFailed("invalid", "A piece of a file must be base64.") from None
        try:
            os.makedirs(directory, mode=0o700, exist_ok=True)
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            with open(fd, "wb") as file:
                if offset > os.fstat(fd).st_size:
                    raise RequestFailed("invalid", "A piece before this one is missing.")
                file.seek(offset)
                file.write(piece)
        except OSError as error:
            raise RequestFailed("full", "The driver cannot keep the file: %s." % error.strerror) from error
        except UnicodeError:
            raise RequestFailed("invalid", "The driver's file system cannot hold this name.") from None
        return path if last else None
