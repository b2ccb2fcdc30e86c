"""Child processes: started so that they die with the supervisor, reaped when they exit, found again when they hide."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import subprocess
import sys
from typing import Callable, Dict, List, Optional, Sequence, Tuple

from .loop import Loop
from .memory import MemoryWatch
from .output_pipe import OutputPipe

#: Every process of a driver has its session's uid here, so that stragglers can be found.
SESSION_VARIABLE = "LONGWICK_SESSION"
#: What a program adds to a signal's number when it exits because of it, or passes on that a child did.
SIGNAL_BASE = 128

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LINUX = sys.platform == "linux"
_libc = ctypes.CDLL(None) if _LINUX else None


def was_killed(status: int) -> bool:
    """Whether SIGKILL ended a process, or one of its own whose end it passes on. `status` is what was handed to `on_exit`."""
    return status in (-signal.SIGKILL, SIGNAL_BASE + signal.SIGKILL)


class Children:
    """The supervisor is the reaper of all its descendants: what a dead child leaves behind becomes its child."""

    def __init__(self, loop: Loop, session: str) -> None:
        self._session = session
        self._on_exit: Dict[int, Callable[[int], None]] = {}
        self._supervisor = os.getpid()
        self._memory = MemoryWatch()
        if _libc:
            _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._wakeup, tell = os.pipe()
        for fd in (self._wakeup, tell):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._on_signal: Dict[int, Callable[[], None]] = {}
        loop.watch(self._wakeup, self._woken)

    def on_signal(self, number: int, callback: Callable[[], None]) -> None:
        """Calls back in the loop when the supervisor gets this signal."""
        self._on_signal[number] = callback
        signal.signal(number, lambda *_: None)

    def spawn(
        self,
        command: Sequence[str],
        env: Dict[str, str],
        directory: str,
        on_exit: Callable[[int], None],
        stdin: int,
        outputs: Tuple[OutputPipe, OutputPipe],
        keep: Sequence[int] = (),
    ) -> int:
        """
        Starts a process in a group of its own and answers its id, which is also the group's. `on_exit` gets the exit code, or minus the
        signal's number. What it is to write to, stdout and stderr, is handed over to it. Raises OSError, and closes those.
        """
        try:
            process = subprocess.Popen(
                command,
                env={**env, SESSION_VARIABLE: self._session},
                cwd=directory,
                stdin=stdin,
                stdout=outputs[0].writing_end,
                stderr=outputs[1].writing_end,
                pass_fds=keep,
                start_new_session=True,
                preexec_fn=self._bind_to_supervisor if _libc else None,
            )
        except (OSError, ValueError) as error:
            for output in outputs:
                output.close()
            if isinstance(error, OSError):
                raise
            # JSON can carry what no command and no environment can: NUL, a lone surrogate.
            raise OSError(errno.EINVAL, "%s cannot be started: %s" % (command[0], error)) from None
        for output in outputs:
            output.handed_over()
        process.returncode = 0  # it is reaped here, not by Popen
        self._on_exit[process.pid] = on_exit
        return process.pid

    def describe_exit(self, status: int) -> str:
        """In words, from what was handed to `on_exit`."""
        why = self._memory.explain_kill() if was_killed(status) else ""
        why = " (%s)" % why if why else ""
        if status >= 0:
            return "exited with code %d%s" % (status, why)
        try:
            name = signal.Signals(-status).name
        except ValueError:
            name = "signal %d" % -status
        return "was killed by %s%s" % (name, why)

    def kill_group(self, group: int, number: int = signal.SIGKILL) -> None:
        """Signals a process group; one that is gone is no error."""
        try:
            os.killpg(group, number)
        except (ProcessLookupError, PermissionError):
            pass

    def sweep(self, spare: Sequence[int] = ()) -> None:
        """Kills every other process of this session that can be found, but the spared ones and their descendants."""
        for _ in range(20):
            found = [pid for pid in self._of_session() if pid not in self._spared(spare)]
            if not found:
                return
            for pid in found:
                try:
                    os.kill(pid, signal.SIGKILL)
                except OSError:
                    pass
            self._reap()

    def _bind_to_supervisor(self) -> None:
        if _libc:
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != self._supervisor:
                os._exit(1)

    def _woken(self) -> None:
        try:
            numbers = set(os.read(self._wakeup, 4096))
        except BlockingIOError:
            return
        if signal.SIGCHLD in numbers:
            self._reap()
        for number in numbers:
            callback = self._on_signal.get(number)
            if callback:
                callback()

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            callback = self._on_exit.pop(pid, None)
            if callback:
                callback(-os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))

    def _of_session(self) -> List[int]:
        """Processes with this session in their environment, and descendants of the supervisor, but itself. Zombies are not told of."""
        if not _LINUX:
            return []
        mark = ("%s=%s" % (SESSION_VARIABLE, self._session)).encode()
        parents = _parents()
        # Whoever started the supervisor may carry the mark too.
        spared = {self._supervisor, *_ancestors(self._supervisor, parents)}
        found = []
        for pid in parents:
            if pid in spared:
                continue
            try:
                with open("/proc/%d/environ" % pid, "rb") as file:
                    marked = mark in file.read().split(b"\0")
            except OSError:
                marked = False
            if marked or self._supervisor in _ancestors(pid, parents):
                found.append(pid)
        return found

    def _spared(self, spare: Sequence[int]) -> List[int]:
        parents = _parents()
        return [pid for pid in parents if pid in spare or any(ancestor in spare for ancestor in _ancestors(pid, parents))]


def _parents() -> Dict[int, int]:
    """Each living process and its parent."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            fields = _stat(int(name))
            if fields and fields[0] != "Z":
                parents[int(name)] = int(fields[1])
    return parents


def _stat(pid: int) -> Optional[List[str]]:
    """State, parent and what follows in /proc/<pid>/stat."""
    try:
        with open("/proc/%d/stat" % pid) as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return None


def _ancestors(pid: int, parents: Dict[int, int]) -> List[int]:
    found: List[int] = []
    while pid in parents and parents[pid] not in found:
        pid = parents[pid]
        found.append(pid)
    return found
