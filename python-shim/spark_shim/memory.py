"""What the kernel tells of the memory that a driver's processes share, and of those it killed for want of it."""

from __future__ import annotations

import os
from typing import Tuple

#: A limit above this is none.
_UNLIMITED_BYTES = 1 << 60
#: Files of a control group with the count of kills and with the limit, in cgroup v2 and v1.
_V2 = ("memory.events", "memory.max")
_V1 = ("memory.oom_control", "memory.limit_in_bytes")


class MemoryWatch:
    """Knows of out-of-memory kills in the own control group, which is a container's or a login's."""

    def __init__(self, root: str = "/sys/fs/cgroup", own: str = "/proc/self/cgroup") -> None:
        self._kills_file, self._limit_file = _files(root, own)
        self._kills = self._count()

    def explain_kill(self) -> str:
        """Why a process was killed, as far as it is known: that there was no memory is told once for each time. Else empty."""
        if not self._kills_file:
            return "out of memory, or killed by hand"
        before, self._kills = self._kills, self._count()
        if self._kills <= before:
            return ""
        limit = _read(self._limit_file).strip()
        if not limit.isdigit() or int(limit) >= _UNLIMITED_BYTES:
            return "out of memory"
        return "out of memory: all processes of the driver together may use %d MiB" % (int(limit) >> 20)

    def _count(self) -> int:
        for line in _read(self._kills_file).splitlines():
            name, _, value = line.partition(" ")
            if name == "oom_kill" and value.isdigit():
                return int(value)
        return 0


def _files(root: str, own: str) -> Tuple[str, str]:
    """Empty names where there are none. A container may see its own group as the root while it is told the path on its host."""
    for line in _read(own).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "":
            base, (kills, limit) = root, _V2
        elif "memory" in controllers.split(","):
            base, (kills, limit) = root + "/memory", _V1
        else:
            continue
        for directory in (base + path.rstrip("/"), base):
            if os.path.isfile(os.path.join(directory, kills)):
                return os.path.join(directory, kills), os.path.join(directory, limit)
    return "", ""


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
