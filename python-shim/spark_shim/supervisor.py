"""The endless command loop: takes statements, feeds them to the interpreter one by one, and keeps the records of what they did."""

from __future__ import annotations

import functools
import os
import signal
from collections import deque
from typing import Any, Callable, Deque, Dict, List, Optional, Tuple, Union

from .application import ApplicationEngine
from .awaited import Awaited
from .cancellation import Cancellation
from .config import DriverConfig
from .engine import Engine, EngineUser
from .forward import Forwards, ui_host, ui_port
from .link import Driver, Link, Listener
from .log_book import LogBook
from .loop import Loop
from .outputs import Outputs
from .pipe import Message
from .processes import Children
from .questions import Questions
from .record_log import RecordLog, parse_record
from .records import EMITTED, integer, record_fields
from .requests import RequestFailed
from .statements import Statement, Statements
from .termination import Ending, write_termination, write_termination_message
from .timeouts import Timeouts
from .uploads import Uploads

#: The longest answer to `read`.
READ_LIMIT_BYTES = 8 << 20
LINKS_DRAIN_SECONDS = 1.0
SPARK_STOP_SECONDS = 5.0
SNAPSHOT_LOG_LINES = 200
TERMINATION_LOG_LINES = 100


class Supervisor(Driver, EngineUser):
    """One life of a driver's supervisor. Never runs user code."""

    def __init__(self, config: DriverConfig, interpreter_module: str) -> None:
        """Reads the journal an earlier life left, then listens. Raises OSError."""
        self.session, self.key = config.session, config.key
        self._config = config
        self._loop = Loop(self.say)
        self._logbook = LogBook(self._loop, os.path.join(config.journal, "log"), self._publish_log, config.echo)
        self._statements = Statements(os.path.join(config.journal, "statements.jsonl"), self.say)
        self.log = RecordLog(
            os.path.join(config.journal, "records"),
            config.journal_limit_bytes,
            config.memory_limit_bytes,
            self.say,
            self._statements.forget,
        )
        # One statement's output never pushes the rest out of the journal, nor itself from under a link that follows it.
        statement_limit_bytes = min(config.statement_limit_bytes, config.journal_limit_bytes // 4)
        self._outputs = Outputs(self._loop, self._statements, self._append, statement_limit_bytes)
        self._queue: Deque[Statement] = deque()
        self._queue_bytes = 0
        self._running: Optional[Statement] = None
        #: The number that the interpreter gives to the next statement which has a place in its history.
        self._next_count = 1
        self._finishing = False
        self._input_wanted = False
        self._cancellation: Optional[Cancellation] = None
        self._questions = Questions(self._loop)
        self._forwards = Forwards(self._loop)
        self._uploads = Uploads(os.path.join(config.work_dir, "uploads"))
        self._awaited = Awaited(config.directory, config.uris)
        self._ending = False
        self._exit_code = 0
        self._facts: Optional[Message] = None
        self._phase = "starting"
        self._restore()
        self._children = Children(self._loop, config.session)
        self._children.sweep()
        self._timeouts = Timeouts(self._loop, config, lambda: self._running is not None or bool(self._queue), self.give_up)
        self._engine: Union[Engine, ApplicationEngine] = (
            ApplicationEngine(self._loop, self._children, config, config.application, self)
            if config.application
            else Engine(self._loop, self._children, config, self, interpreter_module)
        )
        self._loop.before_sleep(self.log.flush)
        self.listener = Listener(self._loop, config.listen, self, config.tls)
        for number in (signal.SIGTERM, signal.SIGINT):
            self._children.on_signal(number, functools.partial(self._end_by_signal, number))
        self._loop.after(0, self._start)

    def _start(self) -> None:
        """Once all is there that Spark is to be started with."""
        missing = self._awaited.missing
        if not missing:
            self._engine.start()
        else:
            self.say("Waiting for uploads before Spark is started: %s." % ", ".join(file["name"] for file in missing))

    def run(self) -> int:
        """Until the driver's end; answers the process's exit code."""
        self._loop.run()
        self._forwards.close()
        self.listener.close()
        self.log.close()
        self._logbook.close()
        self._loop.close()
        return self._exit_code

    def _end_by_signal(self, number: int) -> None:
        if not self._ending:
            self._exit_code = 128 + number
        self.end("killed", "The driver was told to stop by a signal.")

    def end(self, state: str, reason: str) -> None:
        """Ends the driver for good; `run` returns once Spark has stopped and the links know. The first call counts."""
        self.ended(Ending(state, reason))

    def ended(self, ending: Ending) -> None:
        if self._ending:
            return
        state, reason = ending.state, ending.reason
        self._ending = True
        self._timeouts.close()
        self._logbook.complete()
        self.say(reason)
        self._drop_queue("The session ended before this statement ran: %s" % reason)
        if self._running:
            self._finish_with(self._running, "SessionEnded", reason, "cancelled")
        self._append("ending", {"state": state, "reason": reason})
        ending = ending._replace(app_id=(self._facts or {}).get("appId"))
        tail = self._logbook.tail(TERMINATION_LOG_LINES)
        try:
            write_termination(self._config.termination, ending, tail)
            if self._config.termination_message:
                write_termination_message(self._config.termination_message, ending, tail)
        except OSError as error:
            self.say("The end cannot be written down: %s" % error)
        self._engine.stop()
        self._loop.after(LINKS_DRAIN_SECONDS, lambda: self._leave(links_may_wait=False))
        self._loop.after(SPARK_STOP_SECONDS, self._engine.kill)
        self._leave(links_may_wait=True)

    # ── Records ──

    def say(self, line: str) -> None:
        """A line for the driver's log."""
        self._logbook.say(line)

    def _append(self, kind: str, fields: Dict[str, Any]) -> None:
        record, size = self.log.append(kind, fields)
        self._statements.fold(record, size)

    def _publish_log(self, line: int, lines: List[str]) -> None:
        self._append("log", {"line": line, "lines": lines})

    def _restore(self) -> None:
        """Goes on where an earlier life stopped: what it left unfinished is lost, and is told so."""
        self._logbook.load()
        self._statements.load_summaries()
        self.log.load(self._statements.fold)
        for statement in self._statements.unfinished():
            began = "while it ran" if statement.started_ms else "before it ran"
            self._finish_with(statement, "DriverLost", "The driver died %s and was started again." % began, "lost")
        if self.log.last_seq:
            self.say("The driver was started again; its statements so far are kept.")

    # ── Requests ──

    def links_changed(self, proven: int) -> None:
        self._timeouts.links(proven)

    def handle(self, link: Link, name: str, frame: Message) -> Optional[Message]:
        handler: Callable[[Link, Message], Optional[Message]] = getattr(self, "_on_" + name)
        return handler(link, frame)

    def _on_attach(self, link: Link, frame: Message) -> Message:
        after, log = frame["afterSeq"], self.log
        if frame["epoch"] == log.epoch and log.first_seq - 1 <= after <= log.last_seq:
            link.follow(after)
            return {"mode": "replay", "snapshot": None}
        link.follow(log.first_seq - 1)
        snapshot = {
            "statements": self._statements.summaries(log.first_seq),
            "nextStatement": self._statements.next_id,
            "interpreter": self._phase,
            "facts": self._facts,
            "logTotal": self._logbook.total,
            "logTail": self._logbook.tail(SNAPSHOT_LOG_LINES),
        }
        return {"mode": "reset", "snapshot": snapshot}

    def _on_read(self, link: Link, frame: Message) -> Message:
        first, last = max(frame["fromSeq"], self.log.first_seq), frame["toSeq"]
        if last < self.log.first_seq:
            raise RequestFailed("gone", "The oldest record still kept is %d." % self.log.first_seq)
        pairs = [pair for pair in self.log.after(first - 1, min(frame["limitBytes"], READ_LIMIT_BYTES)) if pair[0] <= last]
        return {"records": [parse_record(line) for _, line in pairs], "nextSeq": pairs[-1][0] + 1 if pairs else last + 1}

    def _on_submit(self, link: Link, frame: Message) -> Message:
        return self._take(frame, {})

    def _on_cell(self, link: Link, frame: Message) -> Message:
        return self._take(frame, {name: frame[name] for name in ("stored", "expressions", "parent")})

    def _on_comm(self, link: Link, frame: Message) -> Message:
        message = {name: frame[name] for name in ("event", "comm", "target", "data", "metadata", "buffers")}
        silent = {"code": "", "kind": "pyspark", "silent": True, "stopOnError": False, "stdin": False}
        return self._take({**frame, **silent}, {"parent": frame["parent"], "message": message})

    def _take(self, frame: Message, cell: Message) -> Message:
        """Queues a statement; `cell`: what its front end wants of it besides."""
        known = self._statements.id_of(frame["key"])
        if known is not None:
            return {"statement": known}
        self._check_statements()
        if self._ending:
            raise RequestFailed("ending", "The driver is about to exit.")
        size = len(frame["code"].encode("utf-8", "replace")) + sum(map(len, cell.get("message", {}).get("buffers", ())))
        if len(self._queue) >= self._config.queue_limit:
            raise RequestFailed("full", "%d statements wait already." % len(self._queue))
        if self._queue_bytes + size > self._config.queue_limit_bytes:
            raise RequestFailed("full", "The code of the statements that wait takes %d bytes already." % self._queue_bytes)
        id = self._statements.take_id(frame["silent"])
        self._append("queued", {"statement": id, **{name: frame[name] for name in ("key", "code", "kind", "origin", "silent")}})
        statement = self._statements.get(id)
        assert statement is not None
        statement.stop_on_error, statement.stdin, statement.cell = frame["stopOnError"], frame["stdin"], cell
        statement.code_bytes = size
        self._queue.append(statement)
        self._queue_bytes += size
        self._timeouts.active()
        self._dispatch()
        return {"statement": id}

    def _on_cancel(self, link: Link, frame: Message) -> Message:
        statement = self._statements.get(frame["statement"])
        if statement is None:
            return {"state": None}
        if statement is self._running:
            self._cancel_running(count=True)
            if frame["restart"] and self._cancellation:
                self._cancellation.force()
        elif not statement.final:
            self._drop(statement, "The statement was cancelled before it ran.")
        return {"state": statement.state}

    def _on_interrupt(self, link: Link, frame: Message) -> Message:
        running = self._running
        self._cancel_running(count=False)
        return {"statement": running.id if running else None}

    def _on_complete(self, link: Link, frame: Message) -> None:
        self._pass_on(link, frame, ("code", "kind", "cursor"))

    def _on_inspect(self, link: Link, frame: Message) -> None:
        self._pass_on(link, frame, ("code", "kind", "cursor", "detail"))

    def _on_comms(self, link: Link, frame: Message) -> None:
        self._pass_on(link, frame, ())

    def _on_parse(self, link: Link, frame: Message) -> None:
        self._pass_on(link, frame, ("code",))

    def _pass_on(self, link: Link, frame: Message, names: Tuple[str, ...]) -> None:
        interpreter, request = self._engine.interpreter, frame["request"]
        if not self._engine.ready or not interpreter:
            raise RequestFailed("unavailable", "The interpreter is not ready.")
        self._timeouts.active()
        self._questions.ask(
            interpreter.send,
            {"do": frame["frame"], **{name: frame[name] for name in names}},
            lambda result: link.reply(request, result),
            lambda why: link.fail(request, "unavailable", why),
        )

    def _on_answer(self, link: Link, frame: Message) -> Message:
        taken = self._input_wanted and self._running is not None and self._running.id == frame["statement"]
        if taken and self._engine.interpreter:
            self._input_wanted = False
            self._engine.interpreter.send({"do": "answer", "statement": frame["statement"], "value": frame["value"]})
        return {"taken": taken}

    def _on_ping(self, link: Link, frame: Message) -> Message:
        return {}

    def _on_upload(self, link: Link, frame: Message) -> Message:
        self._timeouts.active()
        return {"path": self._uploads.take(frame["upload"], frame["name"], frame["offset"], frame["data"], frame["last"])}

    def _on_awaited(self, link: Link, frame: Message) -> Message:
        return {"files": self._awaited.missing}

    def _on_supply(self, link: Link, frame: Message) -> Message:
        waited = len(self._awaited.missing)
        pieces = (frame[name] for name in ("upload", "name", "offset", "data", "last", "sha256"))
        offset = self._awaited.supply(*pieces)
        self._timeouts.active()
        left = len(self._awaited.missing)
        if left < waited:
            self.say("Upload %s is there (%d bytes)." % (frame["name"], offset))
        if left < waited and left == 0:
            self._loop.after(0, self._start)
        return {"offset": offset}

    def _on_touch(self, link: Link, frame: Message) -> Message:
        self._timeouts.touched()
        return {}

    def _check_statements(self) -> None:
        if self._config.application:
            raise RequestFailed("invalid", "The driver runs an application: it has no interpreter that takes code.")

    def _on_restart(self, link: Link, frame: Message) -> Message:
        self._check_statements()
        if self._ending:
            raise RequestFailed("ending", "The driver is about to exit.")
        self._timeouts.active()
        self._drop_queue("The interpreter was restarted before this statement ran.")
        self._cancel_running(count=False)
        if self._cancellation:
            self._cancellation.force()
        self._engine.restart("The interpreter was restarted on request: variables, temp views and cached data are gone.", fresh=True)
        return {}

    def _on_close(self, link: Link, frame: Message) -> Message:
        self._loop.after(0, lambda: self.end(frame["state"], frame["reason"]))
        return {}

    def _on_forward(self, link: Link, frame: Message) -> None:
        if link.following:
            raise RequestFailed("invalid", "A connection that records are sent on cannot be joined to another place.")
        self._forwards.join(link, frame["request"], ui_host(self._engine.env), ui_port((self._facts or {}).get("uiUrl")))

    def _on_log(self, link: Link, frame: Message) -> Message:
        return self._logbook.read(frame["fromLine"], frame["lines"])

    # ── The queue ──

    def _dispatch(self) -> None:
        interpreter = self._engine.interpreter
        if self._running or not self._queue or not self._engine.ready or self._ending or not interpreter:
            return
        statement = self._running = self._queue.popleft()
        self._queue_bytes -= statement.code_bytes
        group = "longwick-%s-%d" % (self.log.epoch[:8], statement.id)
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
        self._append("started", {"statement": statement.id, "count": self._next_count - (0 if statement.stored else 1)})
        # What a statement may do at once is to kill this process: its record is on disk before it runs, so that it never runs twice.
        self.log.flush()
        interpreter.send({"do": "run", "group": group, **run})

    def _finish(self, statement: Statement, outcome: str, rung: Optional[str] = None) -> None:
        """The end of a statement, after all its output; what it stops is dropped, and the next one runs."""
        self._outputs.finish(statement.id)
        self._append("finished", {"statement": statement.id, "outcome": outcome, "rung": rung})
        if statement is not self._running:
            return
        self._running, self._finishing, self._input_wanted = None, False, False
        if self._cancellation:
            self._cancellation.close()
            self._cancellation = None
        self._timeouts.active()
        if outcome != "ok" and statement.stop_on_error and statement.client is not None:
            self._drop_queue("A statement before this one failed.", statement.client)
        self._dispatch()

    def _finish_with(self, statement: Statement, ename: str, evalue: str, outcome: str, rung: Optional[str] = None) -> None:
        """The end of a statement that cannot speak for itself any more."""
        error = {"ename": ename, "evalue": evalue, "traceback": ["%s: %s\n" % (ename, evalue)]}
        self._outputs.rich("error", statement.id, error, 0)
        self._finish(statement, outcome, rung)

    def _drop(self, statement: Statement, why: str) -> None:
        self._queue.remove(statement)
        self._queue_bytes -= statement.code_bytes
        self._finish_with(statement, "Cancelled", why, "cancelled", "queue")

    def _drop_queue(self, why: str, client: Any = None) -> None:
        for statement in list(self._queue):
            # A front end's message to an object is no part of what it wanted run in a row.
            if client is None or (statement.client == client and "message" not in statement.cell):
                self._drop(statement, why)

    def _cancel_running(self, count: bool) -> None:
        """`count`: a second call takes the last rung."""
        statement, interpreter = self._running, self._engine.interpreter
        if statement is None or interpreter is None:
            return
        if self._cancellation:
            if count:
                self._cancellation.again()
            return
        id = statement.id

        def cancel_jobs() -> None:
            self._questions.ask(interpreter.send, {"do": "cancelJobs", "statement": id}, counted, lambda why: None)

        def counted(result: Message) -> None:
            jobs = result.get("jobs")
            if self._cancellation and self._running is statement:
                self._cancellation.jobs_cancelled(jobs if isinstance(jobs, int) else 0)

        self._cancellation = Cancellation(
            self._loop,
            cancel_jobs,
            interpreter.signal,
            lambda: self._engine.restart(
                "The interpreter was restarted to end a statement: variables are lost, temp views are kept.", fresh=False
            ),
            lambda rung: self._append("cancelling", {"statement": id, "rung": rung}),
            lambda: self.say("Statement %d does not react to its cancellation; cancelled once more, it ends with the interpreter." % id),
            self._config.cancel_force_ms,
        )

    # ── What the engine tells ──

    def phase(self, phase: str, reason: Optional[str], facts: Optional[Message]) -> None:
        self._phase = phase
        if phase == "starting":
            self._next_count = 1
        if phase == "exited":
            self._interpreter_gone(reason or "")
        if phase == "ready":
            self._facts = facts
            self._timeouts.ready()
        self._append("interpreter", {"phase": phase, "reason": reason, "facts": facts})
        self._dispatch()

    def give_up(self, reason: str) -> None:
        self._loop.after(0, lambda: self.end("dead", reason))

    def process_text(self, source: str, name: Optional[str], text: str) -> None:
        self._logbook.write(source, text)
        if name and self._running:
            self._outputs.stream((self._running.id, name, "process"), text)

    def message(self, message: Message) -> None:
        kind, id = message.get("is"), message.get("statement")
        statement = self._statements.get(id) if isinstance(id, int) else None
        if kind == "emit" and statement:
            self._emit(statement, message)
        elif kind == "done" and statement and statement is self._running and not self._finishing:
            self._done(statement, message)
        elif kind == "reply":
            self._questions.answered(message)
        elif kind == "executors":
            self._append("executors", {"count": integer(message.get("count"))})
        elif kind == "log" and isinstance(message.get("lines"), list):
            for line in message["lines"]:
                self.say(str(line))

    def _emit(self, statement: Statement, message: Message) -> None:
        kind = str(message.get("type"))
        if kind == "stream":
            name, text = message.get("name"), message.get("text")
            if name in ("stdout", "stderr") and isinstance(text, str):
                self._outputs.stream((statement.id, name, "python"), text)
        elif kind in EMITTED:
            fields, size = record_fields(kind, message)
            self._outputs.rich(kind, statement.id, fields, size)
            if kind == "input" and statement is self._running:
                self._input_wanted = True

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
        if self._ending or statement is not self._running:
            return
        if outcome == "cancelled" and self._cancellation is None:
            outcome = "error"  # a KeyboardInterrupt of its own
        rung = self._cancellation.rung if outcome == "cancelled" and self._cancellation else None
        if outcome == "cancelled" and statement.ename is None:
            self._finish_with(statement, "KeyboardInterrupt", "", outcome, rung)
        else:
            self._finish(statement, outcome, rung)

    def _interpreter_gone(self, reason: str) -> None:
        self._questions.give_up("The interpreter is gone.")
        statement = self._running
        if statement is None:
            return
        if self._cancellation and self._cancellation.rung == "restart":
            self._finish_with(statement, "KeyboardInterrupt", reason, "cancelled", "restart")
        else:
            self._finish_with(statement, "InterpreterLost", reason, "lost")

    # ── The end ──

    def _leave(self, links_may_wait: bool) -> None:
        """Looks every few milliseconds whether all have gone."""
        self._links_may_wait = links_may_wait
        if self._engine.gone and (self.listener.drained or not self._links_may_wait):
            self._children.sweep()
            self._loop.stop()
        else:
            self._loop.after(0.02, lambda: self._leave(self._links_may_wait))
