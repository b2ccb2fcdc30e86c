"""Exceptions as records: name, text, and a traceback that begins where the user's code begins."""

from __future__ import annotations

import os
import re
import traceback
from typing import Any, Dict, Iterator, List

#: Cells are compiled under file names that begin so.
CELL = "<cell "

#: Frames of one exception kept in a traceback, from the innermost; and the size of all its text, and of an exception's own.
FRAME_LIMIT = 100
TEXT_LIMIT = 256 * 1024

#: Files whose frames say nothing of the user's code: ours, and how IPython gets to the code and shows its value.
_OURS = os.path.dirname(os.path.abspath(__file__)) + os.sep
_IPYTHON = tuple(
    os.path.join("IPython", "core", name + ".py")
    for name in ("displayhook", "formatters", "interactiveshell", "async_helpers", "compilerop", "inputtransformer2")
)


class PlainError(Exception):
    """An error whose traceback would only show our own code: `ename` and the message say it all."""

    def __init__(self, ename: str, message: str) -> None:
        super().__init__(message)
        self.ename = ename


def is_a(error: BaseException, kind: type) -> bool:
    """isinstance() that the object itself has no say in: it may lie about its class, or raise when asked."""
    return issubclass(type(error), kind)


def describe(error: BaseException) -> Dict[str, Any]:
    """The fields of an error record. Never raises, whatever the exception's own methods do."""
    ename = _name_of(error)
    evalue = _text_of(error)
    try:
        lines = _lines(["%s: %s\n" % (ename, evalue)]) if is_a(error, PlainError) else _traceback(error)
    except Exception as failure:
        lines = _lines(["%s: %s\n" % (ename, evalue), "(its traceback cannot be shown: %s)\n" % _name_of(failure)])
    return {"ename": ename, "evalue": evalue, "traceback": lines}


def root_cause(error: BaseException) -> str:
    """One line that says what went wrong: of an error of the JVM's the outermost message and the innermost cause."""
    text = _text_of(error)
    causes = [match.groups() for match in _JAVA_ERROR.finditer(text)]
    if not causes:
        return "%s: %s" % (_name_of(error), text.strip().split("\n")[0])
    told = [": ".join(filter(None, (name.rpartition(".")[2], _SERVER_DUMP.sub("", message or "")))) for name, message in causes]
    return told[0] if len(told) == 1 else "%s. Caused by %s" % (told[0].rstrip("."), told[-1])


#: How a Java exception begins in the text of a Py4JJavaError, and how its causes do.
_JAVA_ERROR = re.compile(r"^(?:: |Caused by: )([\w$.]+)(?:: (.*))?$", re.MULTILINE)
#: What Spark's Kubernetes client adds to the API server's own words.
_SERVER_DUMP = re.compile(r"\.? Received status: Status\(.*$")


def stumbled(error: BaseException) -> bool:
    """Whether library code raised this while a KeyboardInterrupt was on its way out of it. What a cell itself raises then is meant."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    by_library = bool(frames) and not frames[-1].f_code.co_filename.startswith(CELL)
    return by_library and any(is_a(context, KeyboardInterrupt) for context in contexts(error))


def describe_as_interrupt(error: BaseException) -> Dict[str, Any]:
    """The fields of a KeyboardInterrupt's record in place of the error's: where it was raised, and nothing of itself."""
    frames = traceback.extract_tb(error.__traceback__, limit=-FRAME_LIMIT)
    _trim(frames)
    lines = ["Traceback (most recent call last):\n", *frames.format(), "KeyboardInterrupt\n"]
    return {"ename": "KeyboardInterrupt", "evalue": "", "traceback": _bounded(_lines(lines))}


def cut_middle(text: str, limit: int = TEXT_LIMIT) -> str:
    """The text within the limit, its middle replaced by a note when it is longer."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return "%s\n[... %d characters are not shown ...]\n%s" % (text[:half], len(text) - 2 * half, text[-half:])


def _name_of(error: BaseException) -> str:
    if is_a(error, PlainError):
        return str(vars(error)["ename"])
    # Not `type(error).__name__`: a metaclass may have its own.
    return str(type.__dict__["__name__"].__get__(type(error)))


def _text_of(error: BaseException) -> str:
    try:
        return cut_middle(str(error))
    except Exception:
        return "<exception str() failed>"


def _traceback(error: BaseException) -> List[str]:
    story = traceback.TracebackException(type(error), error, error.__traceback__, limit=-FRAME_LIMIT)
    for part in _parts(story):
        _trim(part.stack)
    if is_a(error, SyntaxError) and not story.stack and not (story.__cause__ or story.__context__):
        # The code itself could not be compiled: nothing was called, so there is no call to tell of.
        pieces = list(story.format_exception_only())
    else:
        pieces = list(story.format())
    return _bounded(_lines(pieces))


def _lines(pieces: List[str]) -> List[str]:
    """Single lines, each with its newline: clients join them with nothing in between."""
    return [line + "\n" for piece in pieces for line in piece.split("\n")[: -1 if piece.endswith("\n") else None]]


def contexts(error: BaseException) -> Iterator[BaseException]:
    """What was being handled when the error was raised, and when that was."""
    context, seen = error.__context__, {id(error)}
    while context is not None and id(context) not in seen:
        yield context
        seen.add(id(context))
        context = context.__context__


def _parts(story: traceback.TracebackException) -> Iterator[traceback.TracebackException]:
    """The exception, its causes and contexts, and the members of groups."""
    todo, seen = [story], set()
    while todo:
        part = todo.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        yield part
        todo += [other for other in (part.__cause__, part.__context__, *(getattr(part, "exceptions", None) or ())) if other is not None]


def _trim(stack: traceback.StackSummary) -> None:
    """Takes out the frames that led to the user's code, and all of ours."""
    first = next((index for index, frame in enumerate(stack) if frame.filename.startswith(CELL)), 0)
    stack[:] = [frame for frame in stack[first:] if not frame.filename.startswith(_OURS) and not frame.filename.endswith(_IPYTHON)]


def _bounded(lines: List[str]) -> List[str]:
    if sum(map(len, lines)) <= TEXT_LIMIT:
        return lines
    lines = [cut_middle(line, TEXT_LIMIT // 4) for line in lines]
    head: List[str] = []
    tail: List[str] = []
    left, right, size = 0, len(lines), 0
    while left < right:
        line = lines[left] if len(head) <= len(tail) else lines[right - 1]
        size += len(line)
        if size > TEXT_LIMIT:
            break
        if line is lines[left] and len(head) <= len(tail):
            head.append(line)
            left += 1
        else:
            tail.append(line)
            right -= 1
    return [*head, "[... %d lines are not shown ...]\n" % (right - left), *reversed(tail)]
