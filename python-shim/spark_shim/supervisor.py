"""The driver's one process that is always there: answers servers, keeps what happens, and starts and ends all the others."""

from __future__ import annotations

import functools
import os
import signal
from typing import Callable, List, Optional, Tuple, Union

from .application import ApplicationEngine
from .awaited import Awaited
from .config import DriverConfig
from .engine import Engine, EngineUser
from .forward import Forwards, ui_host, ui_port
from .journal import Journal
from .link import Driver, Link
from .listener import Listener
from .log_book import LogBook
from .loop import Loop
from .pipe import Message
from .processes import SIGNAL_BASE, Children
from .questions import Questions
from .record_log import parse_record
from .records import integer
from .requests import RequestFailed
from .statement_queue import StatementQueue
from .stop_reason import stop_reason
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
        self._logbook = LogBook(self._loop, os.path.join(config.journal, "log"), self._publish_log, self._hide, config.echo)
        self._journal = Journal(self._loop, config, self.say)
        self.log, self._statements = self._journal.log, self._journal.statements
        self._questions = Questions(self._loop)
        self._forwards = Forwards(self._loop)
        self._uploads = Uploads(os.path.join(config.work_dir, "uploads"))
        self._awaited = Awaited(config.directory, config.uris)
        self._ending = False
        self._exit_code = 0
        self._facts: Optional[Message] = None
        self._phase = "starting"
        #: The log's line from which on it tells of this SparkContext; None once it says that Spark has stopped it.
        self._context_line: Optional[int] = None
        self._restore()
        self._children = Children(self._loop, config.session)
        self._children.sweep()
        self._engine: Union[Engine, ApplicationEngine] = (
            ApplicationEngine(self._loop, self._children, config, config.application, self)
            if config.application
            else Engine(self._loop, self._children, config, self, interpreter_module)
        )
        self._queue = StatementQueue(
            self._loop, config, self._journal, self._engine, self._questions, self.say, lambda: self._timeouts.active()
        )  # fmt: skip
        self._timeouts = Timeouts(self._loop, config, lambda: self._queue.busy, self.give_up)
        self._loop.before_sleep(self.log.flush)
        self.listener = Listener(self._loop, config.listen, self, config.tls)
        for number in (signal.SIGTERM, signal.SIGINT):
            self._children.on_signal(number, functools.partial(self._end_by_signal, number))
        self._loop.after(0, self._start)

    def _hide(self, text: str) -> str:
        """Without the credentials of addresses that Spark was given."""
        for credential, shown in self._config.hidden.items():
            text = text.replace(credential, shown)
        return text

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
            self._exit_code = SIGNAL_BASE + number
        self.end("killed", "The driver was told to stop by a signal.")

    def end(self, state: str, reason: str) -> None:
        """Ends the driver for good; `run` returns once Spark has stopped and the links know. The first call counts."""
        self.ended(Ending(state, reason))

    def ended(self, ending: Ending) -> None:
        if self._ending:
            return
        ending = ending._replace(reason=self._hide(ending.reason))
        state, reason = ending.state, ending.reason
        self._ending = True
        self._timeouts.close()
        self._logbook.complete()
        self.say(reason)
        self._queue.close(reason)
        self._journal.append("ending", {"state": state, "reason": reason})
        ending = ending._replace(app_id=(self._facts or {}).get("appId"))
        tail = self._logbook.tail(TERMINATION_LOG_LINES)
        for write, path in (
            (write_termination, self._config.termination),
            (write_termination_message, self._config.termination_message),
        ):
            try:
                if path:
                    write(path, ending, tail)
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

    def _publish_log(self, line: int, lines: List[str]) -> None:
        self._journal.append("log", {"line": line, "lines": lines})

    def _restore(self) -> None:
        """Goes on where an earlier life stopped. Raises OSError."""
        self._logbook.load()
        self._journal.load()
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
        id = self._statements.id_of(frame["key"])
        if id is None:
            self._check_takes_code()
            id = self._queue.take(frame, cell)
            self._timeouts.active()
        return {"statement": id}

    def _on_cancel(self, link: Link, frame: Message) -> Message:
        statement = self._statements.get(frame["statement"])
        if statement is None:
            return {"state": None}
        self._queue.cancel(statement, frame["restart"])
        return {"state": statement.state}

    def _on_interrupt(self, link: Link, frame: Message) -> Message:
        running = self._queue.running
        self._queue.interrupt()
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
        return {"taken": self._queue.answer(frame["statement"], frame["value"], frame.get("question"))}

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

    def _check_takes_code(self) -> None:
        if self._config.application:
            raise RequestFailed("invalid", "The driver runs an application: it has no interpreter that takes code.")
        if self._ending:
            raise RequestFailed("ending", "The driver is about to exit.")

    def _on_restart(self, link: Link, frame: Message) -> Message:
        self._check_takes_code()
        self._timeouts.active()
        self._queue.drop_waiting("The interpreter was restarted before this statement ran.")
        self._queue.interrupt(restart=True)
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

    # ── What the engine tells ──

    def phase(self, phase: str, reason: Optional[str], facts: Optional[Message]) -> None:
        reason = reason and self._hide(reason)
        self._phase = phase
        if phase == "exited":
            self._questions.give_up("The interpreter is gone.")
            self._queue.interpreter_gone(reason or "")
        if phase == "ready":
            self._facts = facts
            self._context_line = self._logbook.total
            self._timeouts.ready()
        self._journal.append("interpreter", {"phase": phase, "reason": reason, "facts": facts})
        self._queue.dispatch()

    def give_up(self, reason: str) -> None:
        self._loop.after(0, lambda: self.end("dead", reason))

    def process_text(self, source: str, name: Optional[str], text: str) -> None:
        self._logbook.write(source, text)
        running = self._queue.running
        if name and running:
            self._journal.outputs.stream((running.id, name, "process"), text)

    def message(self, message: Message) -> None:
        kind = message.get("is")
        if kind in ("emit", "done"):
            self._queue.message(kind, message)
        elif kind == "reply":
            self._questions.answered(message)
        elif kind == "stopped":
            self._say_spark_stopped()
        elif kind == "executors":
            self._journal.append("executors", {"count": integer(message.get("count"))})
        elif kind == "log" and isinstance(message.get("lines"), list):
            for line in message["lines"]:
                self.say(str(line))

    def _say_spark_stopped(self) -> None:
        """Once for each SparkContext, however many statements fail."""
        if self._context_line is None:
            return
        reason = stop_reason(self._logbook.tail(self._logbook.total - self._context_line))
        self._context_line = None
        self.say("Spark has stopped itself%s. The error of the statement that met it says what to do." % (reason and ": " + reason))

    # ── The end ──

    def _leave(self, links_may_wait: bool) -> None:
        """Looks every few milliseconds whether all have gone."""
        self._links_may_wait = links_may_wait
        if self._engine.gone and (self.listener.drained or not self._links_may_wait):
            self._children.sweep()
            self._loop.stop()
        else:
            self._loop.after(0.02, lambda: self._leave(self._links_may_wait))
