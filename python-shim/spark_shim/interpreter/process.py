"""The interpreter's process: one thread reads commands, the main thread runs statements one after the other."""

from __future__ import annotations

import faulthandler
import functools
import json
import os
import queue
import sys
import threading
import time
import types
import warnings
from typing import Any, Callable, Dict, Optional, TextIO, Type, Union

from ..pipe import SETTINGS_VARIABLE, Message, Pipe
from .cells import values
from .comms import Comms, FrontKernel
from .complete import Completer
from .errors import PlainError, describe, describe_as_interrupt, is_a, root_cause, stumbled
from .exits import flush_before_exits
from .gate import Gate
from .magics import Magics
from .spark import Spark
from .sql import SqlExecutor
from .sql_magic import SqlMagic
from .statement import CURRENT, Statement, follow_threads
from .stdin import Stdin
from .streams import Outputs
from .watcher import Watcher

#: After `exit` the process's exit handlers and threads have so long.
EXIT_SECONDS = 5.0
SQL_ROW_LIMIT = 1000
#: After Spark's JVM this process is ended within a moment; one that is still there goes on.
SPARK_GONE_SECONDS = 5.0
#: A signal that Python has not seen after so long is sent once more.
NUDGE_SECONDS = 0.1


class Interpreter:
    """Everything of one interpreter process."""

    def __init__(self, pipe: Pipe, settings: Dict[str, Any]) -> None:
        self._pipe = pipe
        self._gate = Gate()
        self._outputs = Outputs(self._send, self._gate)
        self._stdin = Stdin(self._outputs)
        self._spark = Spark(self._outputs, self._gate)
        self._watcher = Watcher(self._spark, self._outputs)
        self._directory: Optional[str] = settings.get("workDir")
        self._start_directory: Optional[str] = settings.get("startDir") or self._directory
        row_limit = int(settings.get("sqlRowLimit") or SQL_ROW_LIMIT)
        self._main = types.ModuleType("__main__")
        self._magics = Magics(self._main.__dict__, row_limit)
        self._sql_magic = SqlMagic(self._main.__dict__, self._spark.session, self._outputs, row_limit)
        self._sql = SqlExecutor(self._spark.session, self._outputs, row_limit)
        self._kinds: Dict[str, Callable[[Statement], None]] = {"sql": self._sql.run}
        self._comms = Comms(self._outputs)
        self._executor: Any = None
        self._completer = Completer(self._main.__dict__, self._spark.session)
        self._work: queue.SimpleQueue[Optional[Message]] = queue.SimpleQueue()
        self._gateway: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._statement: Optional[Statement] = None
        self._cancelling = threading.Lock()
        self._barriers = 0
        self._pid = os.getpid()
        self._facts: Dict[str, Any] = {}
        #: Of Spark, as user code was given them.
        self._names: Dict[str, Any] = {}

    def run(self) -> None:
        """Until the supervisor says exit."""
        self._gate.install()
        self._outputs.start()
        flush_before_exits(self._outputs)
        self._stdin.start()
        follow_threads()
        warnings.showwarning = self._warn
        sys.unraisablehook = self._unraisable
        os.register_at_fork(after_in_child=self._after_fork)
        threading.Thread(target=self._read, name="longwick-read", daemon=True).start()
        try:
            self._start()
        except BaseException as error:
            self._outputs.send({"is": "log", "lines": [line.rstrip("\n") for line in describe(error)["traceback"]]})
            self._outputs.send({"is": "failed", "reason": root_cause(error)})
            return
        while True:
            message = self._work.get()
            if message is None:
                return
            self._run(Statement.from_message(message))

    # ── Start ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _start(self) -> None:
        sys.modules["__main__"] = self._main
        sys.argv = [""]
        if self._start_directory and os.path.isdir(self._start_directory):
            os.chdir(self._start_directory)
            if sys.path and os.path.isabs(sys.path[0]):
                sys.path[0] = self._start_directory
        self._comms.start()
        ipython = self._make_executor()
        try:
            self._spark.import_early()
        except ImportError:
            pass  # attaching says it, with its reason
        gateway = self._gateway.get()
        facts: Dict[str, Any] = {"spark": "", "appId": None, "uiUrl": None, "sparkUser": None}
        if gateway["port"]:
            self._names = self._spark.attach(
                int(gateway["port"]), str(gateway["secret"]), bool(gateway["attach"]), bool(gateway.get("fresh"))
            )
            self._main.__dict__.update(self._names)
            facts = self._spark.facts()
            self._watcher.start()
        self._facts = {"python": ".".join(map(str, sys.version_info[:3])), "ipython": ipython}
        self._outputs.send({"is": "ready", "facts": {**self._facts, **facts}})

    def _make_executor(self) -> Optional[str]:
        """IPython's version, None where it is not."""
        try:
            import IPython

            from .shell import IPythonExecutor
        except ImportError:
            from .execute import PythonExecutor

            self._executor = PythonExecutor(self._main, self._outputs, self._magics, self._sql_magic)
            self._kinds["pyspark"] = self._executor.run
            return None
        embedded = IPythonExecutor(self._main, self._outputs, self._magics, self._sql_magic, self._directory)
        self._executor = embedded
        self._kinds["pyspark"] = embedded.run
        embedded.shell.kernel = FrontKernel(self._comms)
        self._completer.shell = embedded.shell
        return str(IPython.__version__)

    # ── Statements, in the main thread ────────────────────────────────────────────────────────────────────────────────────────

    def _run(self, statement: Statement) -> None:
        CURRENT.set(statement)
        self._outputs.latest = self._statement = statement
        self._outputs.restore()
        self._stdin.restore()
        self._gate.install()
        self._watcher.begin(statement)
        error: Optional[BaseException] = None
        try:
            try:
                self._gate.open(statement.id)
                self._execute(statement)
            finally:
                self._gate.close()
        except BaseException as raised:
            error = raised
        self._gate.close()  # again: an interrupt may have come before the first one took hold
        if os.getpid() != self._pid:
            _leave_forked_child(error)
        if error is not None and self._spark.is_gone(error):
            # The supervisor is about to end this process, and tells why: the error would only tell of a connection.
            time.sleep(SPARK_GONE_SECONDS)
        self._watcher.end(statement)
        self._stdin.end(statement)
        outcome = "ok"
        if error is not None:
            outcome = "cancelled" if self._gate.wanted(statement.id) else "error"
            self._tell_error(error, outcome)
        self._barriers += 1
        self._outputs.barrier(self._barriers)
        jvm = statement.used_jvm and self._spark.mark_stdout("\x1eM%d\x1f" % self._barriers)
        done = {"is": "done", "statement": statement.id, "outcome": outcome, "next": self._executor.next_number}
        self._outputs.send({**done, "barrier": self._barriers, "jvm": jvm})
        with self._cancelling:
            self._statement = None
        if self._spark.renewed:
            self._renew()

    def _tell_error(self, error: BaseException, outcome: str) -> None:
        record = _error_record(error, outcome)
        hint = self._spark.hint(error) if outcome == "error" else None
        if hint is not None:
            record["traceback"] += hint.splitlines(keepends=True)
            self._outputs.send({"is": "stopped"})
        self._outputs.emit("error", **record)

    def _renew(self) -> None:
        """Another SparkContext has another application id and another UI, and user code shall find it by the names it knows."""
        try:
            self._outputs.send({"is": "facts", "facts": {**self._facts, **self._spark.facts()}})
            namespace, before = self._main.__dict__, self._names
            self._names = {**before, **self._spark.names()}
            namespace.update((name, self._names[name]) for name in before if namespace.get(name) is before[name])
        except Exception as error:
            self._outputs.log("what there is of Spark cannot be told: %s" % type(error).__name__)

    def _execute(self, statement: Statement) -> None:
        if statement.message is not None:
            self._executor.call(lambda: self._comms.receive(statement))
            return
        execute = self._kinds.get(statement.kind)
        if execute is None:
            needs = {"spark": "a Scala shell", "sparkr": "R with the SparkR package"}.get(statement.kind, "an interpreter for it")
            raise PlainError("InterpreterError", "Kind %s needs %s, which this driver does not have." % (statement.kind, needs))
        execute(statement)
        expressions = values(statement.expressions, self._executor.value)
        if expressions or statement.payload:
            self._outputs.emit("returned", payload=statement.payload, expressions=expressions)

    # ── Commands, in the reader thread ────────────────────────────────────────────────────────────────────────────────────────

    def _read(self) -> None:
        cancels, completions = _Worker("cancel"), _Worker("complete")
        for message in self._pipe.messages():
            do = message.get("do")
            if do == "run":
                self._work.put(message)
            elif do == "gateway":
                self._gateway.put(message)
            elif do == "cancelJobs":
                self._gate.want(int(message["statement"]))
                cancels.put(functools.partial(self._cancel, message))
            elif do == "complete":
                completions.put(functools.partial(self._reply, message, self._complete))
            elif do == "inspect":
                completions.put(functools.partial(self._reply, message, self._inspect))
            elif do == "parse":
                completions.put(functools.partial(self._reply, message, self._parse))
            elif do == "comms":
                completions.put(functools.partial(self._reply, message, self._open_comms))
            elif do == "answer":
                self._stdin.answer(int(message["question"]), str(message["value"]))
            elif do == "exit":
                threading.Timer(EXIT_SECONDS, os._exit, (0,)).start()
                self._work.put(None)
        # The supervisor is gone, and with it whoever could see what we do.
        os._exit(1)

    def _reply(self, message: Message, answer: Callable[[Message], Dict[str, Any]]) -> None:
        said: Message = {"is": "reply", "request": message["request"]}
        try:
            said["result"] = answer(message)
        except Exception as error:
            said["failure"] = "%s: %s" % (type(error).__name__, error)
        self._outputs.send(said)

    def _cancel(self, message: Message) -> None:
        """The supervisor signals after the reply, at once when no job was cancelled."""
        statement: Optional[Statement] = None
        jobs = 0

        def cancel_jobs(_: Message) -> Dict[str, Any]:
            nonlocal statement, jobs
            # Until it is over no other statement begins, whose jobs might be in the same group of the user's.
            with self._cancelling:
                if self._statement is not None and self._statement.id == message["statement"]:
                    statement = self._statement
                    jobs = self._spark.cancel_jobs(statement)
            return {"jobs": jobs}

        self._reply(message, cancel_jobs)
        if statement is not None and not jobs:
            time.sleep(NUDGE_SECONDS)
            self._gate.nudge(statement.id)

    def _complete(self, message: Message) -> Dict[str, Any]:
        return self._completer.complete(str(message["code"]), str(message["kind"]), int(message["cursor"]))

    def _inspect(self, message: Message) -> Dict[str, Any]:
        return self._completer.inspect(str(message["code"]), str(message["kind"]), int(message["cursor"]), int(message.get("detail") or 0))

    def _parse(self, message: Message) -> Dict[str, Any]:
        status, indent = self._executor.check(str(message["code"]))
        return {"status": status, "indent": indent}

    def _open_comms(self, _: Message) -> Dict[str, Any]:
        return {"comms": self._comms.targets()}

    # ── Odds and ends ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _send(self, message: Message) -> None:
        try:
            self._pipe.send(message)
        except OSError:
            pass  # the reader thread sees the supervisor's end and leaves

    def _warn(
        self,
        message: Union[Warning, str],
        category: Type[Warning],
        filename: str,
        lineno: int,
        file: Optional[TextIO] = None,
        line: Optional[str] = None,
    ) -> None:
        """Where nobody reads them but clients that parse what a statement prints, warnings go to the driver's log."""
        text = warnings.formatwarning(message, category, filename, lineno, line)
        statement = CURRENT.get()
        if file is not None:
            file.write(text)
        elif statement is not None and statement.parent is not None:
            sys.stderr.write(text)
        else:
            self._outputs.log(text)

    def _unraisable(self, ignored: Any) -> None:
        if not self._gate.swallowed(ignored.exc_type):
            sys.__unraisablehook__(ignored)

    def _after_fork(self) -> None:
        """A forked child runs on without us: no commands, no interrupts but its own."""
        import signal

        signal.signal(signal.SIGINT, signal.default_int_handler)
        self._pipe.close()


class _Worker:
    """A thread that does what it is given, one after the other, so that the reader never waits."""

    def __init__(self, name: str) -> None:
        self._tasks: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.put = self._tasks.put
        threading.Thread(target=self._work, name="longwick-" + name, daemon=True).start()

    def _work(self) -> None:
        while True:
            self._tasks.get()()


def _error_record(error: BaseException, outcome: str) -> Dict[str, Any]:
    record = describe(error)
    if outcome == "cancelled" and ("cancelled" in record["evalue"] or stumbled(error)):
        # A cancelled job comes back as Spark's failure, and an interrupt may strike where library code makes another error of it: to
        # whoever cancelled the statement, either is the interrupt they asked for.
        return describe_as_interrupt(error)
    return record


def _leave_forked_child(error: Optional[BaseException]) -> None:
    """A child that the user's code forked came back from the statement: it must not go on as a second interpreter."""
    code = 0
    if error is not None and is_a(error, SystemExit):
        wish = getattr(error, "code", None)
        code = wish if isinstance(wish, int) else 0 if wish is None else 1
    elif error is not None:
        sys.stderr.write("".join(describe(error)["traceback"]))
        code = 1
    os._exit(code)


def main() -> None:
    """The process's entry: the pipe and the settings come by environment."""
    faulthandler.enable(all_threads=False)
    Interpreter(Pipe.inherited(), json.loads(os.environ.pop(SETTINGS_VARIABLE, "{}"))).run()
