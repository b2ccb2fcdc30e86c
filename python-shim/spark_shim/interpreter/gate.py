"""When SIGINT may become KeyboardInterrupt: inside the statement it is meant for, and never inside our own code."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Callable, Optional, Type, TypeVar

#: An interrupt that was lost comes once more after so long.
AGAIN_SECONDS = 0.01

Answer = TypeVar("Answer")


class _Torn(BaseException):
    """An interrupt on its way out of a call that makes more of KeyboardInterrupt than to pass it on."""


class Gate:
    """Made in the main thread. A cancel has two halves, a wish (`want`, from the reader thread) and a signal (from the supervisor), which
    come in any order; KeyboardInterrupt is raised when both are there and the wanted statement runs, once for each wish. So a late signal
    hits neither the next statement nor what this one does after its interrupt. `with gate:` marks code of ours that must not be torn: an
    interrupt waits until it is left."""

    def __init__(self) -> None:
        self._main = threading.get_ident()
        self._running: Optional[int] = None
        self._wanted: Optional[int] = None
        self._granted = False
        self._signalled = False
        self._seen = False
        self._shields = 0
        self._let_go: Optional[Callable[[], None]] = None
        self._handler = self._handle

    def install(self) -> None:
        """Takes SIGINT, also back from whoever took it meanwhile (SparkContext does, and cancels everybody's jobs)."""
        if signal.getsignal(signal.SIGINT) is not self._handler:
            signal.signal(signal.SIGINT, self._handler)

    def want(self, statement: int) -> None:
        """Any thread: this statement is to be cancelled."""
        self._wanted = statement
        self._seen = False
        self._granted = True
        if self._signalled:
            signal.pthread_kill(self._main, signal.SIGINT)

    def nudge(self, statement: int) -> None:
        """Any thread, some time after the signal was due: once more, if Python has not seen it. One that comes while the main thread
        hands over Python's lock on its way into a blocking call is noticed only after that call."""
        if self._running == self._wanted == statement and not self._seen:
            signal.pthread_kill(self._main, signal.SIGINT)

    def swallowed(self, kind: Type[BaseException]) -> bool:
        """Python ignored an exception, as it does in finalizers. Whether it was an interrupt, which comes once more then."""
        statement = self._running
        if not issubclass(kind, (KeyboardInterrupt, _Torn)) or statement is None or statement != self._wanted:
            return False
        self._seen = False
        self._granted = True
        again = threading.Timer(AGAIN_SECONDS, self.nudge, (statement,))
        again.daemon = True
        again.start()
        return True

    def wanted(self, statement: int) -> bool:
        return self._wanted == statement

    def open(self, statement: int) -> None:
        """From here KeyboardInterrupt may be raised, here too when the statement was cancelled before it began."""
        if self._wanted != statement:
            self._signalled = False
        self._running = statement
        self._strike()

    def close(self) -> None:
        self._running = None

    def call(self, function: Callable[[], Answer], let_go: Callable[[], None]) -> Answer:
        """Calls library code that may be interrupted but must not see KeyboardInterrupt, which is raised once it has been left. Whatever
        the code then leaves half done must be of no more use to anybody: `let_go` sees to that, at once and before the code is left."""
        if threading.get_ident() != self._main:
            return function()
        outer = self._let_go
        try:
            try:
                self._let_go = let_go
                return function()
            finally:
                self._let_go = outer
        except _Torn:
            if outer is not None:
                raise
            raise KeyboardInterrupt from None

    def __enter__(self) -> None:
        if threading.get_ident() == self._main:
            self._shields += 1

    def __exit__(self, *_: object) -> None:
        if threading.get_ident() == self._main:
            self._shields -= 1
            if self._signalled:
                self._strike()

    def _handle(self, _number: int, _frame: Optional[FrameType]) -> None:
        self._signalled = self._seen = True
        self._strike()

    def _strike(self) -> None:
        due = self._signalled and self._granted and not self._shields
        if due and self._running is not None and self._running == self._wanted:
            self._signalled = self._granted = False
            if self._let_go is None:
                raise KeyboardInterrupt
            self._let_go()
            self._let_go = None
            raise _Torn
