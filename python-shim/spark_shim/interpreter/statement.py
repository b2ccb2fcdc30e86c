"""The statement that runs, and which statement a thread works for."""

from __future__ import annotations

import contextvars
import functools
import threading
from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, Set

from ..pipe import Message


@dataclass(eq=False)
class Statement:
    """One piece of code. `groups` are the Spark job groups its jobs are in: ours, and those the user sets."""

    id: int
    code: str
    kind: str
    silent: bool
    stdin: bool
    group: str
    #: False: no place and no number in the history.
    stored: bool = True
    #: A front end's request: its name there, and what it wants evaluated at the end. None for other statements.
    parent: Optional[str] = None
    expressions: Dict[str, str] = field(default_factory=dict)
    #: In place of code: a front end's message to an object.
    message: Optional[Message] = None
    #: What the front end gets besides outputs.
    payload: List[Dict[str, Any]] = field(default_factory=list)
    groups: Set[str] = field(default_factory=set)
    used_jvm: bool = False
    #: Its code has ended; threads that it started may go on.
    over: bool = False

    @classmethod
    def from_message(cls, message: Message) -> Statement:
        group = str(message["group"])
        # Line ends as Python's own reader makes them: code from Windows keeps working in strings over several lines.
        code = str(message["code"]).replace("\r\n", "\n")
        cell = message.get("cell") or {}
        return cls(
            id=int(message["statement"]),
            code=code,
            kind=str(message["kind"]),
            silent=bool(message["silent"]),
            stdin=bool(message["stdin"]),
            group=group,
            stored=bool(message["stored"]),
            parent=cell.get("parent"),
            expressions=cell.get("expressions") or {},
            message=cell.get("message"),
            groups={group},
        )


#: The statement the current context works for. A thread inherits it from whoever starts it, so late output keeps its statement.
CURRENT: contextvars.ContextVar[Optional[Statement]] = contextvars.ContextVar("longwick_statement", default=None)


def follow_threads() -> None:
    """From now on a thread runs in a copy of the context of whoever starts it, once there is a statement."""
    start = threading.Thread.start

    def start_in_context(self: threading.Thread, *args: Any, **kwargs: Any) -> None:
        if CURRENT.get() is not None:
            # Nothing of ours shows in the thread's tracebacks: both callables are C's.
            self.run = functools.partial(contextvars.copy_context().run, self.run)  # type: ignore[method-assign]  # of this one thread
        start(self, *args, **kwargs)

    threading.Thread.start = start_in_context  # type: ignore[method-assign]  # there is no hook for it
