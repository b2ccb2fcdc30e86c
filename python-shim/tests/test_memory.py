"""Control groups as kernels show them, in files of a temporary directory."""

from __future__ import annotations

from pathlib import Path
from typing import Dict

import pytest

from spark_shim.memory import MemoryWatch

V1 = {"kills": "memory.oom_control", "limit": "memory.limit_in_bytes", "words": "oom_kill_disable 0\nunder_oom 0\noom_kill %d\n"}
V2 = {"kills": "memory.events", "limit": "memory.max", "words": "low 0\nmax 12\noom 3\noom_kill %d\noom_group_kill 0\n"}


@pytest.mark.parametrize(
    "files, membership, group",
    [
        (V2, "0::/\n", "."),
        (V2, "0::/user.slice/session-1.scope\n", "user.slice/session-1.scope"),
        (V1, "9:name=systemd:/\n4:memory:/kubepods/pod1/c1\n0::/\n", "memory"),
        (V1, "4:cpu,memory:/batch\n", "memory/batch"),
    ],
    ids=["a container, v2", "a login, v2", "a container, v1", "a login, v1"],
)
def test_a_kill_for_want_of_memory_is_told_once_with_the_limit(tmp_path: Path, files: Dict[str, str], membership: str, group: str) -> None:
    own = tmp_path / "own"
    own.write_text(membership)
    directory = tmp_path / "cgroup" / group
    directory.mkdir(parents=True)
    (directory / files["kills"]).write_text(files["words"] % 2)
    (directory / files["limit"]).write_text("1073741824\n")
    watch = MemoryWatch(str(tmp_path / "cgroup"), str(own))
    assert watch.explain_kill() == ""
    (directory / files["kills"]).write_text(files["words"] % 3)
    assert watch.explain_kill() == "out of memory: all processes of the driver together may use 1024 MiB"
    assert watch.explain_kill() == ""
    (directory / files["kills"]).write_text(files["words"] % 4)
    (directory / files["limit"]).write_text("max\n" if files is V2 else "9223372036854771712\n")
    assert watch.explain_kill() == "out of memory"


def test_where_nothing_is_told_nothing_is_known(tmp_path: Path) -> None:
    assert MemoryWatch(str(tmp_path), str(tmp_path / "own")).explain_kill() == "out of memory, or killed by hand"
    (tmp_path / "own").write_text("0::/\n")
    assert MemoryWatch(str(tmp_path), str(tmp_path / "own")).explain_kill() == "out of memory, or killed by hand"
