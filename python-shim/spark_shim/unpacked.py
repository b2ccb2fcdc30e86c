"""Unpacks an archive where it is started, as Spark does for executors, and becomes another program: large ones take a while."""

from __future__ import annotations

import os
import sys
import tarfile
import zipfile
from typing import List


def unpack(archive: str, directory: str) -> None:
    """A tar file, compressed or not, or a zip file. Raises OSError, tarfile.TarError, zipfile.BadZipFile."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            for member in packed.infolist():
                path = packed.extract(member, directory)
                mode = member.external_attr >> 16 & 0o777
                if mode and not member.is_dir():
                    os.chmod(path, mode)
        return
    with tarfile.open(archive) as tar:
        # An environment links to the Python that it was made of. Whoever packed it says what runs here anyway.
        if hasattr(tarfile, "fully_trusted_filter"):
            tar.extractall(directory, filter="fully_trusted")
        else:
            tar.extractall(directory)


def main(argv: List[str]) -> None:
    """`ARCHIVE DIRECTORY -- PROGRAM ARGUMENT…`"""
    archive, directory, _, *command = argv
    try:
        unpack(archive, directory)
    except (OSError, tarfile.TarError, zipfile.BadZipFile) as error:
        sys.exit("Error: archive %s cannot be unpacked: %s" % (archive, error))
    os.execv(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
