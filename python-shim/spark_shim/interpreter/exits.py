"""Ends of the process on which Python runs nothing more: what was written before them is sent first."""

from __future__ import annotations

import _thread
import functools
import os
from typing import Any, Callable

from .streams import Outputs

#: A process that is to end ends after so long, sent or not: the supervisor may not read, and any thread may hold the stream.
FLUSH_SECONDS = 1.0


def flush_before_exits(outputs: Outputs) -> None:
    """From here on `os._exit`, `os.abort` and a signal that the process sends to itself by `os.kill` find nothing written that waits to be
    sent. They do what they did, from any thread and signal handler, and are the same as ever in forked children."""

    def after_flush(end: Callable[..., Any], is_end: Callable[..., bool]) -> Callable[..., None]:
        @functools.wraps(end)
        def ended(*args: Any, **named: Any) -> None:
            try:
                if not outputs.forked and is_end(*args):
                    _flush(outputs)
            finally:
                end(*args, **named)

        # Where it is found, by those who pickle it too: on a worker that name is Python's own.
        ended.__module__ = os.__name__
        return ended

    for name in ("_exit", "abort"):
        setattr(os, name, after_flush(getattr(os, name), lambda *_: True))
    os.kill = after_flush(os.kill, lambda pid, _: pid == os.getpid())


def _flush(outputs: Outputs) -> None:
    """In a thread of its own, made without any lock of Python code's: this one may hold what is needed, in the middle of something."""
    flushed = _thread.allocate_lock()
    flushed.acquire()

    def flush() -> None:
        try:
            outputs.flush()
        finally:
            flushed.release()

    try:
        _thread.start_new_thread(flush, ())
    except RuntimeError:
        return  # there can be no more threads
    flushed.acquire(timeout=FLUSH_SECONDS)
