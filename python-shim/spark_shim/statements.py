"""What the driver knows of its statements: a fold of the records, the same while it runs and when it reads its journal again."""

from __future__ import annotations

import json
import os
from collections import deque
from typing import Any, Callable, Deque, Dict, List, Optional

from .pipe import encode
from .record_log import Record
from .segments import append_whole

#: How much of a statement's code its summary keeps, in characters.
CODE_LIMIT = 4096

#: How many finished statements whose records are gone a snapshot still tells of. The keys of all others are remembered as well.
FORGOTTEN_LIMIT = 10_000

_SUMMARY_FIELDS = ("key", "kind", "origin", "silent", "state", "outcome", "ename", "evalue")


class Statement:
    """One submitted piece of code and how far it came. Times in Unix milliseconds, 0: not yet."""

    __slots__ = (
        "cell", "client", "code", "code_bytes", "ename", "evalue", "finished_ms", "first_seq", "id", "key", "kind", "last_seq", "origin",
        "outcome", "output_bytes", "queued_ms", "silent", "started_ms", "state", "stdin", "stop_on_error",
    )  # fmt: skip

    def __init__(self, id: int) -> None:
        self.id = id
        self.key = ""
        self.code = ""
        self.code_bytes = 0
        self.kind = "pyspark"
        self.origin: Any = None
        self.client: Any = None
        self.silent = False
        self.stop_on_error = False
        self.stdin = False
        #: What the interpreter must know of a front end's request besides its code.
        self.cell: Dict[str, Any] = {}
        self.state = "waiting"
        self.queued_ms = 0
        self.started_ms = 0
        self.finished_ms = 0
        self.outcome: Optional[str] = None
        self.ename: Optional[str] = None
        self.evalue: Optional[str] = None
        self.first_seq = 0
        self.last_seq = 0
        self.output_bytes = 0

    @property
    def stored(self) -> bool:
        """Whether it has a place and a number in the interpreter's history."""
        return self.kind == "pyspark" and not self.silent and self.cell.get("stored") is not False

    @property
    def final(self) -> bool:
        """Whether nothing but late output follows."""
        return self.outcome is not None

    def summary(self) -> Dict[str, Any]:
        """As a snapshot tells of it."""
        told = {name: getattr(self, name) for name in _SUMMARY_FIELDS}
        told.update(
            statement=self.id,
            code=self.code[:CODE_LIMIT],
            codeCut=self.code_bytes > len(self.code[:CODE_LIMIT].encode("utf-8", "replace")),
            queuedMs=self.queued_ms,
            startedMs=self.started_ms,
            finishedMs=self.finished_ms,
            firstSeq=self.first_seq,
            lastSeq=self.last_seq,
        )
        return told

    @classmethod
    def of_summary(cls, told: Dict[str, Any]) -> Statement:
        """The statement a summary tells of. Raises KeyError, TypeError."""
        statement = cls(int(told["statement"]))
        for name in _SUMMARY_FIELDS:
            setattr(statement, name, told[name])
        statement.code = told["code"]
        statement.code_bytes = len(statement.code.encode("utf-8", "replace")) + bool(told["codeCut"])
        statement.queued_ms, statement.started_ms, statement.finished_ms = told["queuedMs"], told["startedMs"], told["finishedMs"]
        statement.first_seq, statement.last_seq = told["firstSeq"], told["lastSeq"]
        return statement


class Statements:
    """
    All statements of the session. Whose records the journal lets go of are written to a file of summaries first, so that neither a key nor
    an id is ever given twice.
    """

    def __init__(self, path: str, report: Callable[[str], None]) -> None:
        self.next_id = 0
        self._path = path
        self._report = report
        self._next_silent = -1
        self._keys: Dict[str, int] = {}
        self._known: Dict[int, Statement] = {}
        self._forgotten: Deque[int] = deque()

    def load_summaries(self) -> None:
        """To be called before the journal's records are folded."""
        try:
            with open(self._path, "rb") as file:
                for line in file:
                    try:
                        statement = Statement.of_summary(json.loads(line))
                    except (ValueError, KeyError, TypeError):
                        continue
                    if statement.final and statement.id not in self._known:
                        self._forget(statement.id)
                    self._add(statement)
        except FileNotFoundError:
            pass

    def get(self, id: int) -> Optional[Statement]:
        """None when there is none or it is long forgotten."""
        return self._known.get(id)

    def id_of(self, key: str) -> Optional[int]:
        """The id a key was given, ever."""
        return self._keys.get(key)

    def take_id(self, silent: bool) -> int:
        """The id of the next statement, used up once its `queued` record is folded."""
        return self._next_silent if silent else self.next_id

    def unfinished(self) -> List[Statement]:
        """In order of their records."""
        return sorted((each for each in self._known.values() if not each.final), key=lambda each: each.first_seq)

    def summaries(self, before_seq: int) -> List[Dict[str, Any]]:
        """Those of statements that began before this record, in order of id."""
        return [self._known[id].summary() for id in sorted(self._known) if self._known[id].first_seq < before_seq]

    def fold(self, record: Record, size: int) -> None:
        """Takes a record in. One of no statement, or of one that is not known, changes nothing."""
        kind, id = record["type"], record.get("statement")
        if not isinstance(id, int):
            return
        if kind == "queued":
            self._add(_queued(record))
        statement = self._known.get(id)
        if statement is None:
            return
        statement.last_seq = record["seq"]
        if kind == "stream" or kind == "display" or kind == "result":
            statement.output_bytes += size
        elif kind == "started":
            statement.state, statement.started_ms = "running", record["atMs"]
        elif kind == "cancelling":
            statement.state = "cancelling"
        elif kind == "error":
            statement.ename, statement.evalue = record["ename"], record["evalue"][:CODE_LIMIT]
        elif kind == "clear":
            statement.output_bytes = 0
        elif kind == "finished":
            statement.outcome, statement.finished_ms = record["outcome"], record["atMs"]
            statement.state = "cancelled" if record["outcome"] == "cancelled" else "available"
            statement.code, statement.cell = statement.code[:CODE_LIMIT], {}

    def forget(self, first: int, last: int) -> None:
        """The journal lets go of these records: what they told of statements is written down."""
        touched = [each for each in self._known.values() if each.first_seq <= last and each.last_seq >= first]
        lines = b"".join(encode(each.summary()) for each in sorted(touched, key=lambda each: each.first_seq))
        try:
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                append_whole(fd, os.fstat(fd).st_size, lines)
            finally:
                os.close(fd)
        except OSError as error:
            self._report("Summaries of old statements cannot be written: %s." % error.strerror)
        for each in touched:
            if each.final and each.last_seq <= last:
                self._forget(each.id)

    def _forget(self, id: int) -> None:
        self._forgotten.append(id)
        if len(self._forgotten) > FORGOTTEN_LIMIT:
            self._known.pop(self._forgotten.popleft(), None)

    def _add(self, statement: Statement) -> None:
        self._known[statement.id] = statement
        self._keys[statement.key] = statement.id
        self.next_id = max(self.next_id, statement.id + 1)
        self._next_silent = min(self._next_silent, statement.id - 1)


def _queued(record: Record) -> Statement:
    statement = Statement(record["statement"])
    statement.key, statement.code, statement.kind = record["key"], record["code"], record["kind"]
    statement.code_bytes = len(statement.code.encode("utf-8", "replace"))
    statement.origin, statement.silent = record["origin"], record["silent"]
    statement.client = statement.origin.get("client") if isinstance(statement.origin, dict) else None
    statement.queued_ms, statement.first_seq = record["atMs"], record["seq"]
    return statement
