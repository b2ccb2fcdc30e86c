"""All that is kept of a session: its numbered records, the statements they tell of, and the outputs on their way to become records."""

from __future__ import annotations

import os
from typing import Any, Callable, Dict, Optional

from .config import DriverConfig
from .loop import Loop
from .outputs import Outputs
from .record_log import RecordLog
from .statements import Statement, Statements


class Journal:
    """One session's, over all lives of its supervisor."""

    def __init__(self, loop: Loop, config: DriverConfig, report: Callable[[str], None]) -> None:
        self.statements = Statements(os.path.join(config.journal, "statements.jsonl"), report)
        self.log = RecordLog(
            os.path.join(config.journal, "records"),
            config.journal_limit_bytes,
            config.memory_limit_bytes,
            report,
            self.statements.forget,
        )
        # One statement's output never pushes the rest out of the journal, nor itself from under a link that follows it.
        statement_limit_bytes = min(config.statement_limit_bytes, config.journal_limit_bytes // 4)
        self.outputs = Outputs(loop, self.statements, self.append, statement_limit_bytes)

    def load(self) -> None:
        """Goes on where an earlier life stopped: what it left unfinished is lost, and is told so. Raises OSError."""
        self.statements.load_summaries()
        self.log.load(self.statements.fold)
        for statement in self.statements.unfinished():
            began = "while it ran" if statement.started_ms else "before it ran"
            self.error(statement, "DriverLost", "The driver died %s and was started again." % began)
            self.finish(statement, "lost")

    def append(self, kind: str, fields: Dict[str, Any]) -> None:
        """One more record."""
        record, size = self.log.append(kind, fields)
        self.statements.fold(record, size)

    def error(self, statement: Statement, ename: str, evalue: str) -> None:
        """An error in the driver's own words."""
        error = {"ename": ename, "evalue": evalue, "traceback": ["%s: %s\n" % (ename, evalue)]}
        self.outputs.rich("error", statement.id, error, 0)

    def finish(self, statement: Statement, outcome: str, rung: Optional[str] = None) -> None:
        """A statement's end, after all its output."""
        self.outputs.finish(statement.id)
        self.append("finished", {"statement": statement.id, "outcome": outcome, "rung": rung})
