"""`input()`, `getpass()` and `sys.stdin` ask whoever sent the statement."""

from __future__ import annotations

import builtins
import getpass
import io
import queue
import sys
import threading
from typing import Any, Optional, Tuple

from .statement import CURRENT, Statement
from .streams import Outputs, is_open


class StdinNotImplementedError(NotImplementedError):
    """A notebook's cell asks, and its front end said that nobody can answer."""


class Stdin(io.TextIOBase):
    """One question at a time; the wait for its answer can be interrupted. Cannot be closed."""

    encoding = "utf-8"
    errors = "replace"
    name = "<stdin>"
    mode = "r"
    closed = False

    def __init__(self, outputs: Outputs) -> None:
        self._outputs = outputs
        # Not queue.Queue: an interrupt inside of its Python code may leave its lock taken.
        self._answers: queue.SimpleQueue[Tuple[int, str]] = queue.SimpleQueue()
        self._asking = threading.Lock()
        self._questions = 0

    def start(self) -> None:
        self.restore()
        builtins.input = self.input
        getpass.getpass = self.getpass

    def restore(self) -> None:
        stream = getattr(sys, "stdin", None)
        if stream is getattr(sys, "__stdin__", None) or not is_open(stream):
            sys.stdin = self

    def answer(self, question: int, value: str) -> None:
        """Any thread: what was typed."""
        self._answers.put((question, value))

    def end(self, statement: Statement) -> None:
        """Nobody answers for a statement that is over: a thread of its that asks does not keep later ones from asking."""
        statement.over = True
        if self._asking.locked():
            self._answers.put((0, ""))

    def ask(self, prompt: str, password: bool) -> str:
        """Raises EOFError or StdinNotImplementedError when nobody can answer."""
        statement = CURRENT.get() or self._outputs.latest
        if statement is not None and statement.parent is not None and not statement.stdin:
            raise StdinNotImplementedError("input() was called, but this front end does not support input requests.")
        if statement is None or not statement.stdin or self._outputs.forked:
            raise EOFError("EOF when reading a line: nobody can answer input() here")
        with self._asking:
            self._questions += 1
            question = self._questions
            if not statement.over:
                self._outputs.emit("input", prompt=prompt, password=password, question=question)
            while not statement.over:
                # One to a question before, whose wait was interrupted, may have been on its way.
                answered, value = self._answers.get()
                if answered == question:
                    return value
        raise EOFError("EOF when reading a line: the statement that asks has ended")

    def input(self, prompt: Any = "", /) -> str:
        """Reads a line from whoever sent the statement."""
        return self.ask(str(prompt), False)

    def getpass(self, prompt: str = "Password: ", stream: Any = None, **_: Any) -> str:
        """Reads a password from whoever sent the statement."""
        return self.ask(str(prompt), True)

    def readline(self, size: Optional[int] = -1, /) -> str:  # type: ignore[override]
        try:
            line = self.ask("", False) + "\n"
        except EOFError:
            return ""
        return line if size is None or size < 0 else line[:size]

    def read(self, size: Optional[int] = -1, /) -> str:
        return self.readline(size)

    def readable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        return 0

    def close(self) -> None:
        pass
