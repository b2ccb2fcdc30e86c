"""The JVM and the interpreter: started side by side, restarted one without the other where that is possible."""

from __future__ import annotations

import os
from typing import Any, Dict, Optional

from .child import Interpreter
from .config import DriverConfig
from .jvm import Jvm, SparkSetup
from .loop import Loop
from .output_pipe import OutputPipe
from .pipe import Message
from .processes import Children
from .records import spark_facts
from .spark_home import SparkNotFound
from .termination import Ending

#: A new interpreter that cannot attach in this time means that the JVM is sick.
ATTACH_SECONDS = 60.0
#: So many interpreters in a row may end before they are ready.
START_LIMIT = 3


class EngineUser:
    """What the engine tells the supervisor."""

    def phase(self, phase: str, reason: Optional[str], facts: Optional[Message]) -> None:
        """The interpreter's life: "starting", "ready" with facts, "exited" with a reason."""
        raise NotImplementedError

    def message(self, message: Message) -> None:
        """What the interpreter says, but what the engine deals with itself."""
        raise NotImplementedError

    def process_text(self, source: str, name: Optional[str], text: str) -> None:
        """Bytes on a file descriptor; `name` is the stream they belong to in a statement, None when they are for the log alone."""
        raise NotImplementedError

    def say(self, line: str) -> None:
        """A line for the log."""
        raise NotImplementedError

    def give_up(self, reason: str) -> None:
        """Spark or the interpreter cannot be started."""
        raise NotImplementedError

    def ended(self, ending: Ending) -> None:
        """An application has come to its end."""
        raise NotImplementedError


class Engine:
    """Owns both processes. `restart` and every death of one of them lead to a new interpreter; Spark stays when it is healthy."""

    def __init__(self, loop: Loop, children: Children, config: DriverConfig, user: EngineUser, module: str) -> None:
        """`module` is run by the driver's Python as the interpreter."""
        self._loop = loop
        self._children = children
        self._config = config
        self._user = user
        self._module = module
        self._setup: Optional[SparkSetup] = None
        self._jvm: Optional[Jvm] = None
        self._interpreter: Optional[Interpreter] = None
        self._gateway_used = False
        self._fresh = False
        self._death: Optional[str] = None
        self._failures = 0
        self._stopping = False
        self._up = False
        self.was_ready = False

    @property
    def ready(self) -> bool:
        """Whether there is an interpreter that takes code. One that was told to go takes none: what comes now is for the next."""
        return self._up and self._death is None

    @property
    def interpreter(self) -> Optional[Interpreter]:
        """The one that lives, ready or not."""
        return self._interpreter

    @property
    def jvm_stdout(self) -> Optional[OutputPipe]:
        """For the barrier."""
        return self._jvm.stdout if self._jvm else None

    @property
    def env(self) -> Dict[str, str]:
        """What Spark's processes are started with."""
        return self._setup.env if self._setup else {}

    @property
    def gone(self) -> bool:
        """Whether neither process lives."""
        return self._jvm is None and self._interpreter is None

    def start(self) -> None:
        """Starts what does not live. Never raises: what cannot be started makes the engine give up."""
        if self._stopping:
            return
        try:
            os.makedirs(self._config.work_dir, exist_ok=True)
            self._setup = self._setup or SparkSetup(self._config)
            if self._jvm is None:
                self._jvm = self._start_jvm(self._setup)
            if self._interpreter is None:
                self._interpreter = self._start_interpreter(self._setup)
        except (SparkNotFound, OSError) as error:
            self._user.give_up(str(error))
            return
        self._user.phase("starting", None, None)
        self._introduce()

    def restart(self, reason: str, fresh: bool) -> None:
        """A new interpreter in place of the one that lives; fresh: Spark forgets temp views, cache and jobs too."""
        self._fresh = self._fresh or fresh
        # One that is asked to go before it is ready has not failed.
        self._failures = 0
        self._replace(reason)

    def stop(self) -> None:
        """Kills the interpreter and asks Spark to stop in order; `gone` says when."""
        self._stopping = True
        if self._interpreter:
            self._interpreter.kill()
        if self._jvm:
            self._jvm.stop()

    def kill(self) -> None:
        """No more patience with either."""
        self._stopping = True
        for process in (self._interpreter, self._jvm):
            if process:
                process.kill()

    # ── JVM ──

    def _start_jvm(self, setup: SparkSetup) -> Jvm:
        self._gateway_used = False
        return Jvm(
            self._loop,
            self._children,
            setup,
            self._config,
            lambda port, secret: self._introduce(),
            lambda name, text: self._user.process_text("spark " + name, "stdout" if name == "stdout" else None, text),
            lambda pipe, number: self._interpreter.barrier.mark(pipe, number) if self._interpreter else None,
            self._jvm_exited,
        )

    def _jvm_exited(self, status: int) -> None:
        complaint = self._jvm.complaint if self._jvm and not self.was_ready else ""
        self._jvm = None
        if self._stopping:
            return
        reason = "Spark's JVM %s%s." % (self._children.describe_exit(status), complaint and ": " + complaint.rstrip("."))
        if not self.was_ready:
            self._user.give_up(reason)
            return
        self._user.say(reason)
        if self._interpreter:
            self._replace(reason + " Spark and the interpreter are started anew: variables and temp views are lost.")
        else:
            self.start()

    # ── Interpreter ──

    def _start_interpreter(self, setup: SparkSetup) -> Interpreter:
        config = self._config
        here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        directory = config.start_directory()
        python_path = ":".join(filter(None, [here, setup.env.get("PYTHONPATH")]))
        return Interpreter(
            self._loop,
            self._children,
            [config.python, "-m", self._module],
            {**setup.env, "PYTHONPATH": python_path, "PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1"},
            directory,
            {
                "kind": config.kind,
                "name": config.name,
                "sqlRowLimit": config.sql_row_limit,
                "workDir": config.work_dir,
                "startDir": directory,
            },
            self._message,
            lambda name, text: self._user.process_text("interpreter " + name, name, text),
            self._interpreter_exited,
        )

    def _replace(self, reason: str) -> None:
        if self._interpreter:
            self._death = reason
            self._interpreter.kill()

    def _introduce(self) -> None:
        """Both are there: the interpreter is told of the JVM."""
        if not (self._jvm and self._jvm.gateway and self._interpreter):
            return
        port, secret = self._jvm.gateway
        attach = self._gateway_used
        told: Dict[str, Any] = {"do": "gateway", "port": port, "secret": secret, "attach": attach, "fresh": attach and self._fresh}
        self._interpreter.send(told)
        if attach:
            interpreter = self._interpreter
            self._loop.after(ATTACH_SECONDS, lambda: self._attach_is_late(interpreter))
        self._gateway_used, self._fresh = True, False

    def _attach_is_late(self, interpreter: Interpreter) -> None:
        if interpreter is self._interpreter and not self._up:
            self._failed("Spark's JVM did not answer a new interpreter for %g s: both are started anew." % ATTACH_SECONDS)

    def _message(self, message: Message) -> None:
        kind = message.get("is")
        if kind == "ready":
            self._up = self.was_ready = True
            self._failures = 0
            self._user.phase("ready", None, spark_facts(message.get("facts")))
        elif kind == "facts" and self._up:
            self._user.phase("ready", None, spark_facts(message.get("facts")))
        elif kind == "failed":
            self._failed("Spark could not be started: %s" % message.get("reason"))
        else:
            self._user.message(message)

    def _failed(self, reason: str) -> None:
        """The interpreter could not reach Spark: before anything ever ran that is the end, later a new JVM may help."""
        if not self.was_ready:
            self._user.give_up(reason)
            return
        self._user.say(reason)
        self._death = reason
        if self._jvm:
            self._jvm.kill()

    def _interpreter_exited(self, status: int) -> None:
        fault = self._interpreter.fault if self._interpreter else None
        was_up, self._up, self._interpreter = self._up, False, None
        reason, self._death = self._death or "The interpreter %s." % (fault or self._children.describe_exit(status)), None
        if self._stopping:
            return
        # What it left running outside its group goes too; Spark's own processes stay.
        self._children.sweep([self._jvm.pid] if self._jvm else [])
        self._user.say(reason)
        self._user.phase("exited", reason, None)
        self._failures = 0 if was_up else self._failures + 1
        if self._failures >= START_LIMIT:
            self._user.give_up("%d interpreters in a row ended before they were ready. %s" % (self._failures, reason))
        else:
            self.start()
