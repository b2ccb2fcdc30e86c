"""Looks at Spark while statements run, and while none does."""

from __future__ import annotations

import threading
import time
from typing import Optional

from .progress import Progress
from .spark import Spark
from .statement import Statement
from .streams import Outputs

#: Seconds between two looks at a running statement's jobs, and at the executors while nothing runs.
PROGRESS_SECONDS = 1 / 3
EXECUTORS_SECONDS = 5.0


class Watcher:
    """The thread that looks at jobs while a statement runs, and at executors while none does."""

    def __init__(self, spark: Spark, outputs: Outputs) -> None:
        self._spark = spark
        self._outputs = outputs
        self._statement: Optional[Statement] = None
        self._executors = -1
        self._looking = threading.Lock()
        self._seen = Progress()
        self._watched: Optional[Statement] = None

    def start(self) -> None:
        threading.Thread(target=self._watch, name="longwick-watch", daemon=True).start()

    def begin(self, statement: Statement) -> None:
        self._statement = statement

    def end(self, statement: Statement) -> None:
        """Of a statement whose progress was told, the last word is what it came to."""
        self._statement = None
        if statement is self._watched and self._seen.jobs():
            try:
                self._spark.settle()
                self._look(statement)
            except Exception as error:
                self._outputs.log("progress cannot be told: %s" % type(error).__name__)

    def _look(self, statement: Statement) -> None:
        with self._looking:
            if statement is not self._watched:
                self._seen, self._watched = Progress(), statement
            self._spark.progress(statement, self._seen)

    def _watch(self) -> None:
        asked = 0.0
        while True:
            statement = self._statement
            if statement is None or not statement.used_jvm:
                # Not woken by a statement that leaves the JVM alone: of those that take a millisecond this thread would take its part.
                self._spark.used.wait(EXECUTORS_SECONDS)
                self._spark.used.clear()
            time.sleep(PROGRESS_SECONDS)
            statement = self._statement
            try:
                if statement is not None and statement.used_jvm:
                    self._look(statement)
                if time.monotonic() - asked >= EXECUTORS_SECONDS:
                    asked = time.monotonic()
                    self.count_executors()
            except Exception as error:
                # The JVM is going, or the user stops the context: the next look will tell.
                self._outputs.log("progress cannot be told: %s" % type(error).__name__)
                time.sleep(EXECUTORS_SECONDS)

    def count_executors(self) -> None:
        """Tells how many executors there are when that changed."""
        count = self._spark.executors()
        if count is not None and count != self._executors:
            self._executors = count
            self._outputs.send({"is": "executors", "count": count})
