"""A real interpreter process at the other end of a real pipe, with what the supervisor would do reduced to what a test says."""

from __future__ import annotations

import importlib.util
import json
import os
import queue
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from types import TracebackType
from typing import Any, Callable, Deque, Dict, List, Optional, Sequence, Type

from kit import DEADLINE_SECONDS

from spark_shim.pipe import PIPE_VARIABLE, SETTINGS_VARIABLE, Message, MessageBuffer, barrier_token, encode
from spark_shim.spark_home import environment_of_spark, find_java, find_spark_home, java_command, write_properties

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
HAS_IPYTHON = importlib.util.find_spec("IPython") is not None


def has(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


class Outcome:
    """All that one statement showed."""

    def __init__(self, outcome: str, emits: List[Message], done: Message) -> None:
        self.outcome = outcome
        self.emits = emits
        self.done = done

    def of(self, type: str) -> List[Message]:
        return [emit for emit in self.emits if emit["type"] == type]

    @property
    def order(self) -> List[str]:
        """The types of what it showed. Texts that follow each other count once: how many pieces a text comes in is a matter of time."""
        types = [emit["type"] for emit in self.emits]
        return [type for type, before in zip(types, ["", *types]) if not type == before == "stream"]

    def text(self, name: str = "stdout") -> str:
        return "".join(emit["text"] for emit in self.of("stream") if emit["name"] == name)

    @property
    def result(self) -> Any:
        results = self.of("result")
        return results[-1]["data"] if results else None

    @property
    def error(self) -> Message:
        errors = self.of("error")
        assert len(errors) == 1, self.emits
        return errors[0]

    @property
    def traceback(self) -> str:
        return "".join(self.error["traceback"])


def _end(process: subprocess.Popen[bytes], directory: str) -> None:
    """Of all that a process runs in its group, and of its directory."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait(DEADLINE_SECONDS)
    shutil.rmtree(directory, ignore_errors=True)


class InterpreterProcess:
    """`with InterpreterProcess() as interpreter: interpreter.run("1+1").result`"""

    def __init__(
        self,
        gateway: Optional[Dict[str, Any]] = None,
        ipython: bool = HAS_IPYTHON,
        settings: Optional[Dict[str, Any]] = None,
        env: Optional[Dict[str, str]] = None,
    ) -> None:
        self.directory = tempfile.mkdtemp()
        path = [ROOT]
        if not ipython and HAS_IPYTHON:
            # IPython cannot be imported in this process: as on an image without it.
            blocked = os.path.join(self.directory, "without", "IPython")
            os.makedirs(blocked)
            with open(os.path.join(blocked, "__init__.py"), "w") as file:
                file.write("raise ImportError('not here')\n")
            path.insert(0, os.path.dirname(blocked))
        self._end, theirs = socket.socketpair()
        self._out, out = os.pipe()
        self._err, err = os.pipe()
        variables = {
            **os.environ,
            PIPE_VARIABLE: str(theirs.fileno()),
            SETTINGS_VARIABLE: json.dumps({"workDir": self.directory, "sqlRowLimit": 1000, **(settings or {})}),
            "PYTHONPATH": os.pathsep.join(filter(None, [*path, os.environ.get("PYTHONPATH")])),
            "PYTHONUTF8": "1",
            "PYTHONUNBUFFERED": "1",
            "PYTHONHASHSEED": "0",
            "PYSPARK_PYTHON": sys.executable,
            **(env or {}),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "spark_shim.interpreter"],
            env=variables,
            cwd=self.directory,
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
        theirs.close()
        os.close(out)
        os.close(err)
        self.messages: queue.Queue[Message] = queue.Queue()
        #: What came before a reply that was waited for; it is given out first.
        self._held: Deque[Message] = deque()
        self.logs: List[str] = []
        #: What reached the file descriptors, tokens included.
        self.raw = {1: b"", 2: b""}
        self._threads = [threading.Thread(target=self._read_pipe, daemon=True)]
        self._threads += [threading.Thread(target=self._read_fd, args=pair, daemon=True) for pair in ((1, self._out), (2, self._err))]
        for thread in self._threads:
            thread.start()
        self._next = 0
        self._requests = 0
        self.send({"do": "gateway", **(gateway or {"port": 0, "secret": "", "attach": False})})
        try:
            self.ready = self.take(lambda message: message["is"] in ("ready", "failed"), "ready")
        except BaseException:
            self.close()
            raise

    def path(self, name: str) -> str:
        """A file of this name in the process's directory."""
        return os.path.join(self.directory, name)

    # ── What the supervisor says ──

    def send(self, message: Message) -> None:
        self._end.sendall(encode(message))

    def start(self, code: str, kind: str = "pyspark", silent: bool = False, stdin: bool = False, cell: Optional[Message] = None) -> int:
        """Sends a statement; its id. `cell`: what a front end wants of it besides."""
        number = self._next
        self._next += 1
        group = "group-%d-%d" % (self.process.pid, number)
        run = {"statement": number, "code": code, "kind": kind, "silent": silent, "stdin": stdin, "group": group}
        stored = kind == "pyspark" and not silent and (cell or {}).get("stored") is not False
        self.send({"do": "run", **run, "stored": stored, "cell": cell or {}})
        return number

    def finish(self, number: int, seconds: float = DEADLINE_SECONDS, emits: Optional[List[Message]] = None) -> Outcome:
        """What the statement showed, once it is done and its marks are on the file descriptors."""
        emits = [] if emits is None else emits
        deadline = time.monotonic() + seconds
        while True:
            message = self._get(deadline, "statement %d to end; so far %r" % (number, emits[-3:]))
            if message["is"] == "emit" and message["statement"] == number:
                emits.append(message)
            elif message["is"] == "done" and message["statement"] == number:
                self._wait_for_marks(barrier_token(message["barrier"]))
                return Outcome(message["outcome"], emits, message)
            elif message["is"] == "log":
                self.logs += message["lines"]

    def run(
        self, code: str, kind: str = "pyspark", silent: bool = False, stdin: bool = False, seconds: float = DEADLINE_SECONDS
    ) -> Outcome:
        return self.finish(self.start(code, kind, silent, stdin), seconds)

    def run_cell(self, code: str, stdin: bool = False, **cell: Any) -> Outcome:
        """As a notebook's cell."""
        return self.finish(self.start(code, stdin=stdin, cell={"stored": True, "expressions": {}, "parent": "msg", **cell}))

    def comm(
        self, event: str, id: str, target: Optional[str] = None, data: Optional[Message] = None, buffers: Sequence[str] = ()
    ) -> Outcome:
        """A front end's message to an object."""
        message = {"event": event, "comm": id, "target": target, "data": data or {}, "metadata": {}, "buffers": list(buffers)}
        return self.finish(self.start("", silent=True, cell={"parent": "msg", "message": message}))

    def _wait_for_marks(self, token: bytes) -> None:
        self.until(lambda: all(token in raw for raw in self.raw.values()), "the marks %r" % token)

    def request(self, message: Message) -> Message:
        """Sends a request; its reply, other messages dropped."""
        self._requests += 1
        self.send({**message, "request": self._requests})
        return self.take(lambda got: got["is"] == "reply" and got["request"] == self._requests, "reply to %s" % message["do"])

    def wait_for_emit(self, number: int, type: str, where: Callable[[Message], bool] = lambda message: True) -> Message:
        return self.take(
            lambda got: got["is"] == "emit" and got["statement"] == number and got["type"] == type and where(got),
            "%s of statement %d" % (type, number),
        )

    def wait_for_text(self, number: int, text: str, said: str = "") -> None:
        """Until all that the statement wrote ends so; `said`: what of it is known already. It comes in as many pieces as time will have."""
        while not said.endswith(text):
            said += str(self.wait_for_emit(number, "stream")["text"])

    def cancel(self, number: int) -> int:
        """What the ladder does first: jobs, then the signal. How many jobs ran."""
        self._requests += 1
        self.send({"do": "cancelJobs", "request": self._requests, "statement": number})
        before: List[Message] = []
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            message = self._get(deadline, "reply to cancelJobs")
            if message["is"] == "reply" and message["request"] == self._requests:
                break
            before.append(message)
        self._held.extend(before)
        jobs = int(message["result"]["jobs"])
        if not jobs:
            self.signal()
        return jobs

    def cancel_again(self, number: int) -> None:
        """What the ladder does from then on: both at once."""
        self._requests += 1
        self.send({"do": "cancelJobs", "request": self._requests, "statement": number})
        self.signal()

    def cancel_by_ladder(self, number: int) -> Outcome:
        """Cancels as the supervisor does: jobs, then the signal, both again until the statement ends."""
        self.cancel(number)
        return self._cancel_until_it_ends(number, lambda: 0.7, [])

    def cancel_over_and_over(self, number: int, moments: random.Random, emits: List[Message]) -> Outcome:
        """Cancels far faster than the supervisor would."""
        self.cancel(number)
        return self._cancel_until_it_ends(number, lambda: moments.uniform(0.001, 0.1), emits)

    def _cancel_until_it_ends(self, number: int, pause: Callable[[], float], emits: List[Message]) -> Outcome:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            try:
                return self.finish(number, pause(), emits)
            except AssertionError:
                assert time.monotonic() < deadline
                self.cancel_again(number)

    def signal(self) -> None:
        os.kill(self.process.pid, signal.SIGINT)

    def hang_up(self) -> None:
        """The supervisor is gone."""
        self._end.shutdown(socket.SHUT_RDWR)

    # ── What it says ──

    def take(self, wanted: Callable[[Message], bool], what: str) -> Message:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            message = self._get(deadline, what)
            if wanted(message):
                return message
            if message["is"] == "log":
                self.logs += message["lines"]

    def rest(self) -> List[Message]:
        """All that it says from here to its end, which is waited for."""
        self._threads[0].join(DEADLINE_SECONDS)
        assert not self._threads[0].is_alive(), "waited in vain for the interpreter's end"
        said = [*self._held]
        while not self.messages.empty():
            said.append(self.messages.get())
        return said

    def until(self, fact: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not fact():
            assert time.monotonic() < deadline, "waited in vain for %s" % what
            time.sleep(0.005)

    def exit_code(self) -> int:
        """Its own; waits for its end."""
        return self.process.wait(DEADLINE_SECONDS)

    def fd_text(self, fd: int) -> str:
        return self.raw[fd].decode("utf-8", "replace")

    def _get(self, deadline: float, what: str) -> Message:
        if self._held:
            return self._held.popleft()
        try:
            return self.messages.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise AssertionError("waited in vain for %s; stderr: %s" % (what, self.fd_text(2)[-2000:])) from None

    def _read_pipe(self) -> None:
        messages = MessageBuffer()
        while True:
            try:
                data = self._end.recv(1 << 18)
            except OSError:
                return
            if not data:
                return
            for message in messages.feed(data):
                self.messages.put(message)

    def _read_fd(self, number: int, fd: int) -> None:
        while True:
            data = os.read(fd, 1 << 16)
            if not data:
                return
            self.raw[number] += data

    # ── End ──

    def close(self) -> None:
        _end(self.process, self.directory)
        self._end.close()

    def __enter__(self) -> InterpreterProcess:
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], value: Optional[BaseException], trace: Optional[TracebackType]) -> None:
        self.close()


def alive(interpreter: InterpreterProcess) -> bool:
    """Whether it still runs statements, with both what they print and what they answer."""
    outcome = interpreter.run("print('alive')\n1+1")
    return outcome.text() == "alive\n" and outcome.result == {"text/plain": "2"}


class SparkJvm:
    """Spark's JVM, started with the supervisor's own command line."""

    def __init__(self, **conf: str) -> None:
        env = {**os.environ, "SPARK_CONNECT_MODE": "0", "PYSPARK_PYTHON": sys.executable}
        home = find_spark_home(None, sys.executable, env)
        self.directory = tempfile.mkdtemp()
        gateway, properties = (os.path.join(self.directory, name) for name in ("gateway", "properties"))
        settings = {"spark.master": "local[2]", "spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false", **conf}
        settings.update({"spark.sql.shuffle.partitions": "2", "spark.sql.warehouse.dir": self.directory})
        write_properties(properties, settings)
        with open(os.path.join(self.directory, "log"), "wb") as log:
            self.process = subprocess.Popen(
                java_command(find_java(None, env), home, settings, env, [], properties, []),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**environment_of_spark(home, env), "SPARK_HOME": home, "_PYSPARK_DRIVER_CONN_INFO_PATH": gateway},
                cwd=self.directory,
                start_new_session=True,
            )
        #: What the JVM wrote to its standard output.
        self.stdout = b""
        threading.Thread(target=self._read, daemon=True).start()
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not os.path.exists(gateway):
            assert self.process.poll() is None and time.monotonic() < deadline, "the JVM does not start"
            time.sleep(0.01)
        with open(gateway, "rb") as info:
            self.port, length = struct.unpack(">ii", info.read(8))
            self.secret = info.read(length).decode()

    def gateway(self, attach: bool = False, fresh: bool = False) -> Dict[str, Any]:
        return {"port": self.port, "secret": self.secret, "attach": attach, "fresh": fresh}

    def _read(self) -> None:
        assert self.process.stdout is not None
        for data in iter(lambda: os.read(self.process.stdout.fileno(), 1 << 16), b""):  # type: ignore[union-attr]  # checked above
            self.stdout += data

    def close(self) -> None:
        _end(self.process, self.directory)
