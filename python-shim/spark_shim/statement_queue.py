"""The statements that wait and the one that runs: one after the other, cancelled on request, ended once all their output is there."""

from __future__ import annotations

from collections import deque
from typing import Any, Callable, Deque, Optional, Tuple, Union

from .application import ApplicationEngine
from .cancellation import Cancellation
from .config import DriverConfig
from .engine import Engine
from .journal import Journal
from .loop import Loop
from .pipe import Message
from .questions import Questions
from .records import EMITTED, integer, record_fields
from .requests import RequestFailed
from .statements import Statement


class StatementQueue:
    """Feeds the engine's interpreter, whichever lives, and takes what it says of statements."""

    def __init__(
        self,
        loop: Loop,
        config: DriverConfig,
        journal: Journal,
        engine: Union[Engine, ApplicationEngine],
        questions: Questions,
        say: Callable[[str], None],
        on_end: Callable[[], None],
    ) -> None:
        """`on_end` hears of the end of each statement that ran."""
        self._loop = loop
        self._config = config
        self._journal = journal
        self._engine = engine
        self._questions = questions
        self._say = say
        self._on_end = on_end
        self._waiting: Deque[Statement] = deque()
        self._waiting_bytes = 0
        #: The number that the interpreter gives to the next statement which has a place in its history.
        self._next_count = 1
        self._finishing = False
        #: What the statement that runs asks for: the number of the record that told of it, and the interpreter's own.
        self._question: Optional[Tuple[int, int]] = None
        self._cancellation: Optional[Cancellation] = None
        self._closed = False
        #: The one that runs.
        self.running: Optional[Statement] = None

    @property
    def busy(self) -> bool:
        """Whether a statement runs or waits."""
        return self.running is not None or bool(self._waiting)

    # ── What servers ask for ──

    def take(self, frame: Message, cell: Message) -> int:
        """Queues a statement and answers its id; `cell`: what its front end wants of it besides. Raises RequestFailed: `full`."""
        size = len(frame["code"].encode("utf-8", "replace")) + sum(map(len, cell.get("message", {}).get("buffers", ())))
        if len(self._waiting) >= self._config.queue_limit:
            raise RequestFailed("full", "%d statements wait already." % len(self._waiting))
        if self._waiting_bytes + size > self._config.queue_limit_bytes:
            raise RequestFailed("full", "The code of the statements that wait takes %d bytes already." % self._waiting_bytes)
        id = self._journal.statements.take_id(frame["silent"])
        self._journal.append("queued", {"statement": id, **{name: frame[name] for name in ("key", "code", "kind", "origin", "silent")}})
        statement = self._journal.statements.get(id)
        assert statement is not None
        statement.stop_on_error, statement.stdin, statement.cell = frame["stopOnError"], frame["stdin"], cell
        statement.code_bytes = size
        self._waiting.append(statement)
        self._waiting_bytes += size
        self.dispatch()
        return id

    def cancel(self, statement: Statement, restart: bool) -> None:
        """Of one that runs a second call, or `restart`, takes the last rung."""
        if statement is self.running:
            if self._cancellation:
                self._cancellation.again()
            self.interrupt(restart)
        elif not statement.final:
            self._drop(statement, "The statement was cancelled before it ran.")

    def interrupt(self, restart: bool = False) -> None:
        """Cancels what runs, if anything does; once more changes nothing, but for `restart`: the last rung."""
        if self.running and not self._cancellation:
            self._cancellation = self._cancel(self.running)
        if restart and self._cancellation:
            self._cancellation.force()

    def answer(self, id: int, value: str, question: Optional[int]) -> bool:
        """What was typed for `input()`, to what its record `question` asked (None: to what is asked). Whether it is asked for."""
        interpreter = self._engine.interpreter
        if self._question is None or self.running is None or self.running.id != id or not interpreter:
            return False
        asked, number = self._question
        if question is not None and question != asked:
            return False
        self._question = None
        interpreter.send({"do": "answer", "question": number, "value": value})
        self._journal.append("answered", {"statement": id})
        return True

    def drop_waiting(self, why: str, client: Any = None) -> None:
        """None of them runs; `client`: only those of this client's."""
        for statement in list(self._waiting):
            # A front end's message to an object is no part of what it wanted run in a row.
            if client is None or (statement.client == client and "message" not in statement.cell):
                self._drop(statement, why)

    # ── What happens ──

    def dispatch(self) -> None:
        """Runs the next one, if it can."""
        interpreter = self._engine.interpreter
        if self.running or not self._waiting or not self._engine.ready or self._closed or not interpreter:
            return
        statement = self.running = self._waiting.popleft()
        self._waiting_bytes -= statement.code_bytes
        group = "longwick-%s-%d" % (self._journal.log.epoch[:8], statement.id)
        run = {
            "statement": statement.id,
            "code": statement.code,
            "kind": statement.kind,
            "silent": statement.silent,
            "stored": statement.stored,
            "stdin": statement.stdin,
            "cell": statement.cell,
        }
        # Not when the interpreter says so: clients show it while the code is on its way.
        count = self._next_count - (0 if statement.stored else 1)
        self._journal.append("started", {"statement": statement.id, "count": count})
        # What a statement may do at once is to kill this process: its record is on disk before it runs, so that it never runs twice.
        self._journal.log.flush()
        interpreter.send({"do": "run", "group": group, **run})

    def message(self, kind: str, message: Message) -> None:
        """What the interpreter says of a statement: "emit" or "done"."""
        id = message.get("statement")
        statement = self._journal.statements.get(id) if isinstance(id, int) else None
        if statement is None:
            return
        if kind == "emit":
            self._emit(statement, message)
        elif kind == "done" and statement is self.running and not self._finishing:
            self._done(statement, message)

    def interpreter_gone(self, reason: str) -> None:
        """And with it what ran. Its successor counts anew."""
        self._next_count = 1
        if self.running is None:
            return
        if self._cancellation and self._cancellation.rung == "restart":
            self._fail(self.running, "KeyboardInterrupt", reason, "cancelled", "restart")
        else:
            self._fail(self.running, "InterpreterLost", reason, "lost")

    def close(self, reason: str) -> None:
        """The session ends, and with it what waits and what runs."""
        self._closed = True
        self.drop_waiting("The session ended before this statement ran: %s" % reason)
        if self.running:
            self._fail(self.running, "SessionEnded", reason, "cancelled")

    # ── How ──

    def _cancel(self, statement: Statement) -> Optional[Cancellation]:
        id, interpreter = statement.id, self._engine.interpreter
        if interpreter is None:
            return None

        def cancel_jobs() -> None:
            self._questions.ask(interpreter.send, {"do": "cancelJobs", "statement": id}, counted, lambda why: None)

        def counted(result: Message) -> None:
            jobs = result.get("jobs")
            if self._cancellation and self.running is statement:
                self._cancellation.jobs_cancelled(jobs if isinstance(jobs, int) else 0)

        return Cancellation(
            self._loop,
            cancel_jobs,
            interpreter.signal,
            lambda: self._engine.restart(
                "The interpreter was restarted to end a statement: variables are lost, temp views are kept.", fresh=False
            ),
            lambda rung: self._journal.append("cancelling", {"statement": id, "rung": rung}),
            lambda: self._say("Statement %d does not react to its cancellation; cancelled once more, it ends with the interpreter." % id),
            self._config.cancel_force_ms,
        )

    def _emit(self, statement: Statement, message: Message) -> None:
        kind = str(message.get("type"))
        if kind == "stream":
            name, text = message.get("name"), message.get("text")
            if name in ("stdout", "stderr") and isinstance(text, str):
                self._journal.outputs.stream((statement.id, name, "python"), text)
        elif kind in EMITTED:
            fields, size = record_fields(kind, message)
            self._journal.outputs.rich(kind, statement.id, fields, size)
            if kind == "input" and statement is self.running:
                self._question = (self._journal.log.last_seq, integer(message.get("question")))

    def _done(self, statement: Statement, message: Message) -> None:
        outcome, number = message.get("outcome"), message.get("barrier")
        interpreter = self._engine.interpreter
        if not interpreter or outcome not in ("ok", "error", "cancelled"):
            return
        self._finishing = True
        self._next_count = max(1, integer(message.get("next")))
        pipes = [interpreter.stdout, interpreter.stderr]
        if message.get("jvm") is True and self._engine.jvm_stdout:
            pipes.append(self._engine.jvm_stdout)
        interpreter.barrier.wait(number if isinstance(number, int) else -1, pipes, lambda: self._complete(statement, str(outcome)))

    def _complete(self, statement: Statement, outcome: str) -> None:
        if self._closed or statement is not self.running:
            return
        if outcome == "cancelled" and self._cancellation is None:
            outcome = "error"  # a KeyboardInterrupt of its own
        rung = self._cancellation.rung if outcome == "cancelled" and self._cancellation else None
        if outcome == "cancelled" and statement.ename is None:
            self._fail(statement, "KeyboardInterrupt", "", outcome, rung)
        else:
            self._finish(statement, outcome, rung)

    def _drop(self, statement: Statement, why: str) -> None:
        self._waiting.remove(statement)
        self._waiting_bytes -= statement.code_bytes
        self._fail(statement, "Cancelled", why, "cancelled", "queue")

    def _fail(self, statement: Statement, ename: str, evalue: str, outcome: str, rung: Optional[str] = None) -> None:
        """The end of a statement that cannot speak for itself any more."""
        self._journal.error(statement, ename, evalue)
        self._finish(statement, outcome, rung)

    def _finish(self, statement: Statement, outcome: str, rung: Optional[str] = None) -> None:
        """The end of a statement; what it stops is dropped, and the next one runs."""
        self._journal.finish(statement, outcome, rung)
        if statement is not self.running:
            return
        self.running, self._finishing, self._question = None, False, None
        if self._cancellation:
            self._cancellation.close()
            self._cancellation = None
        self._on_end()
        if outcome != "ok" and statement.stop_on_error and statement.client is not None:
            self.drop_waiting("A statement before this one failed.", statement.client)
        self.dispatch()
