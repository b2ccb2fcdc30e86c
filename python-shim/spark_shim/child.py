"""The interpreter as the supervisor sees it: a process, the pipe to it, and what it writes to its file descriptors."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import traceback
from collections import deque
from typing import Callable, Deque, Dict, List, Optional, Sequence

from .loop import Loop, Timer
from .output_pipe import OutputPipe
from .pipe import PIPE_VARIABLE, SETTINGS_VARIABLE, LineTooLong, Message, MessageBuffer, encode
from .processes import Children

#: How long the end of a statement waits for the marks on the file descriptors.
BARRIER_SECONDS = 1.0
#: An interpreter whose pipe has ended gets so long to exit by itself.
EXIT_SECONDS = 2.0

_READ_BYTES = 256 * 1024
Failed = Callable[[str], None]


class Barrier:
    """Waits until every pipe has shown a statement's mark. A pipe that did not show one in time is not waited for until it does again."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._number = 0
        self._awaited: List[OutputPipe] = []
        self._seen: Dict[OutputPipe, int] = {}
        self._mute: List[OutputPipe] = []
        self._then: Optional[Callable[[], None]] = None
        self._timer: Optional[Timer] = None

    def mark(self, pipe: OutputPipe, number: int) -> None:
        """A pipe showed a mark."""
        self._seen[pipe] = number
        if pipe in self._mute:
            self._mute.remove(pipe)
        self._check()

    def wait(self, number: int, pipes: Sequence[OutputPipe], then: Callable[[], None]) -> None:
        """Calls `then` once: at once, when the marks are there, or after a second."""
        self._number, self._then = number, then
        self._awaited = list(pipes)
        for pipe in pipes:
            pipe.drain()
        self._check()
        if self._then is not None:
            self._timer = self._loop.after(BARRIER_SECONDS, self._give_up)

    def cancel(self) -> None:
        """Nobody waits any more."""
        self._then = None
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _check(self) -> None:
        then = self._then
        if then is not None and not self._missing():
            self.cancel()
            then()

    def _missing(self) -> List[OutputPipe]:
        return [pipe for pipe in self._awaited if not pipe.ended and pipe not in self._mute and self._seen.get(pipe) != self._number]

    def _give_up(self) -> None:
        self._mute.extend(self._missing())
        self._check()


class Interpreter:
    """One life of an interpreter. After `on_exit` nothing more is called."""

    def __init__(
        self,
        loop: Loop,
        children: Children,
        command: Sequence[str],
        env: Dict[str, str],
        directory: str,
        settings: Message,
        on_message: Callable[[Message], None],
        on_text: Callable[[str, str], None],
        on_exit: Callable[[int], None],
    ) -> None:
        """`on_text(name, text)`: bytes on fd 1 ("stdout") or 2 ("stderr"). Raises OSError when the command cannot be started."""
        self._loop = loop
        self._children = children
        self._on_message = on_message
        self._on_exit = on_exit
        self._messages = MessageBuffer()
        #: Why the supervisor had to kill it, when it had to.
        self.fault: Optional[str] = None
        self._deaf = False
        self._unsent: Deque[memoryview] = deque()
        self.barrier = Barrier(loop)
        self.stdout = OutputPipe(loop, lambda text: on_text("stdout", text), lambda number: self.barrier.mark(self.stdout, number))
        self.stderr = OutputPipe(loop, lambda text: on_text("stderr", text), lambda number: self.barrier.mark(self.stderr, number))
        self._end, theirs = socket.socketpair()
        self._end.setblocking(False)
        try:
            self.pid = children.spawn(
                command,
                {**env, PIPE_VARIABLE: str(theirs.fileno()), SETTINGS_VARIABLE: json.dumps(settings)},
                directory,
                self._exited,
                subprocess.DEVNULL,
                (self.stdout, self.stderr),
                (theirs.fileno(),),
            )
        except OSError:
            self._end.close()
            raise
        finally:
            theirs.close()
        loop.watch(self._end.fileno(), self._readable)

    def send(self, message: Message) -> None:
        """Never blocks; what an interpreter that is gone does not read is forgotten."""
        if self._deaf or self._end.fileno() < 0:
            return
        self._unsent.append(memoryview(encode(message)))
        if len(self._unsent) == 1:
            self._writable()

    def signal(self) -> None:
        """SIGINT to the interpreter and what it runs in the foreground, as a terminal would."""
        self._children.kill_group(self.pid, signal.SIGINT)

    def kill(self) -> None:
        """SIGKILL to it and its group; `on_exit` follows."""
        self._children.kill_group(self.pid)

    def _writable(self) -> None:
        try:
            while self._unsent:
                sent = self._end.send(self._unsent[0])
                if sent < len(self._unsent[0]):
                    self._unsent[0] = self._unsent[0][sent:]
                    continue
                self._unsent.popleft()
        except (BlockingIOError, InterruptedError):
            self._loop.watch(self._end.fileno(), self._readable, self._writable)
            return
        except OSError:
            self._unsent.clear()
        self._loop.watch(self._end.fileno(), self._readable)

    def _readable(self) -> None:
        if not self._read():
            # It is about to exit, or user code closed the pipe or wrote to it: an interpreter that cannot be spoken to is of no use.
            self._deaf = True
            self._loop.watch(self._end.fileno(), None)
            self._loop.after(EXIT_SECONDS, self._kill_deaf)

    def _kill_deaf(self) -> None:
        if self._end.fileno() >= 0:
            self.fault = "lost its connection to the supervisor"
            self.kill()

    def _read(self) -> bool:
        try:
            data = self._end.recv(_READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False
        return bool(data) and self._take(data)

    def _take(self, data: bytes) -> bool:
        """Whether what came is understood. A bug of ours in handling one message does not cost the next."""
        try:
            for message in self._messages.feed(data):
                self._deliver(message)
        except (LineTooLong, ValueError, RecursionError):
            return False
        return True

    def _deliver(self, message: Message) -> None:
        try:
            self._on_message(message)
        except Exception:
            self._loop.report(traceback.format_exc())

    def _exited(self, status: int) -> None:
        self._children.kill_group(self.pid)
        while self._end.fileno() >= 0:
            try:
                data = self._end.recv(_READ_BYTES)
            except OSError:
                break
            if not (data and self._take(data)):
                break
        self.barrier.cancel()
        self._loop.watch(self._end.fileno(), None)
        self._end.close()
        self.stdout.close()
        self.stderr.close()
        self._on_exit(status)
