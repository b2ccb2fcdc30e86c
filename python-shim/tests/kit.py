"""What the tests share: a driver in a directory of its own, a server's end of the link, and stand-ins for what needs Spark."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, List, Optional, Tuple

from spark_shim.link import proof_of
from spark_shim.loop import Timer
from spark_shim.pipe import LineBuffer, encode
from spark_shim.processes import SESSION_VARIABLE

if TYPE_CHECKING:
    import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
SHIM = os.path.dirname(HERE)
Frame = Dict[str, Any]
#: Whatever is waited for is there long before, unless it never comes.
DEADLINE_SECONDS = 60.0


@contextlib.contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """A disk that takes no more: inside, no file of this process grows beyond `size` bytes. Not a fixture, whose end comes after pytest has
    printed the test's outcome, to a file perhaps."""
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def held(path: str) -> str:
    """Python that goes on once there is a file of this path: where code waits for what a test does, in place of sleeping."""
    return "import os, time\nwhile not os.path.exists(%r): time.sleep(0.01)\n" % path


def let_go(path: str) -> None:
    """Code that is `held` by this path goes on."""
    open(path, "w").close()


def wait_for(condition: Callable[[], Any], seconds: float = DEADLINE_SECONDS, what: str = "the condition") -> Any:
    """The condition's first true value. Raises AssertionError at the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, "waited %g s for %s" % (seconds, what)
        time.sleep(0.005)


class Clock:
    """Stands where the loop and the time are: nothing happens but when it is moved."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self._timers: List[Tuple[float, Timer]] = []
        monkeypatch.setattr("time.monotonic", lambda: self.now)

    def after(self, seconds: float, then: Callable[[], None]) -> Timer:
        timer = Timer(then)
        self._timers.append((self.now + seconds, timer))
        return timer

    def move(self, seconds: float) -> None:
        end = self.now + seconds
        while True:
            self._timers = [(due, timer) for due, timer in self._timers if timer.callback]
            due, timer = min(self._timers, key=lambda each: each[0], default=(end + 1, Timer(None)))
            if due > end:
                break
            self.now, callback, timer.callback = due, timer.callback, None
            assert callback
            callback()
        self.now = end


class Client:
    """A server's end of one link."""

    def __init__(self, driver: Driver, version: int = 1, key: Optional[bytes] = None) -> None:
        self.driver = driver
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(DEADLINE_SECONDS)
        self._socket.connect(driver.socket_path)
        self._lines = LineBuffer()
        self._received: List[Frame] = []
        self._parts: Dict[int, str] = {}
        self._requests = 0
        self.records: List[Frame] = []
        self.replies: Dict[int, Frame] = {}
        challenge = self.next_frame()
        nonce = base64.urlsafe_b64encode(os.urandom(32)).rstrip(b"=").decode()
        proof = proof_of(key or driver.key, "server", version, driver.session, challenge["nonce"], nonce)
        self.send({"frame": "prove", "version": version, "session": driver.session, "nonce": nonce, "proof": proof})
        self.hello = self.next_frame()
        if self.hello["frame"] == "hello":
            assert self.hello["proof"] == proof_of(driver.key, "driver", version, driver.session, challenge["nonce"], nonce)

    def send(self, frame: Frame) -> None:
        self._socket.sendall(encode(frame))

    def send_bytes(self, data: bytes) -> None:
        self._socket.sendall(data)

    def next_frame(self) -> Frame:
        """Raises EOFError when the driver has closed the link."""
        while not self._received:
            try:
                data = self._socket.recv(1 << 20)
            except ConnectionResetError:
                data = b""
            if not data:
                raise EOFError
            for line in self._lines.feed(data):
                frame = json.loads(line)
                if frame["frame"] == "part":
                    text = self._parts.pop(frame["of"], "") + frame["text"]
                    if not frame["last"]:
                        self._parts[frame["of"]] = text
                        continue
                    frame = json.loads(text)
                self._received.append(frame)
        return self._received.pop(0)

    def pump(self) -> Frame:
        """Takes one frame in."""
        frame = self.next_frame()
        if frame["frame"] == "record":
            self.records.append(frame)
        elif frame["frame"] in ("reply", "failure"):
            self.replies[frame["request"]] = frame
        return frame

    def request(self, name: str, /, **fields: Any) -> int:
        """Sends a request and answers its number."""
        self._requests += 1
        self.send({"frame": name, "request": self._requests, **fields})
        return self._requests

    def answer(self, number: int) -> Frame:
        """The reply or failure to a request."""
        while number not in self.replies:
            self.pump()
        return self.replies[number]

    def ask(self, name: str, /, **fields: Any) -> Frame:
        """A request's good answer."""
        answer = self.answer(self.request(name, **fields))
        assert answer["frame"] == "reply", answer
        result: Frame = answer["result"]
        return result

    def attach(self, epoch: Optional[str] = None, after: int = 0) -> Frame:
        return self.ask("attach", epoch=epoch, afterSeq=after)

    def submit(self, code: str, key: Optional[str] = None, **fields: Any) -> int:
        whole = {"kind": "pyspark", "origin": None, "stopOnError": False, "silent": False, "stdin": False, **fields}
        id = self.ask("submit", key=key or os.urandom(8).hex(), code=code, **whole)["statement"]
        assert isinstance(id, int)
        return id

    def until(self, condition: Callable[[Frame], Any], seconds: float = DEADLINE_SECONDS) -> Frame:
        """The first record, past or to come, for which the condition holds."""
        for record in self.records:
            if condition(record):
                return record
        deadline = time.monotonic() + seconds
        while True:
            frame = self.pump()
            if frame["frame"] == "record" and condition(frame):
                return frame
            assert time.monotonic() < deadline, "the record did not come in %g s" % seconds

    def finished(self, id: int) -> Frame:
        return self.until(lambda record: record["type"] == "finished" and record["statement"] == id)

    def ready(self) -> Frame:
        return self.until(lambda record: record["type"] == "interpreter" and record["phase"] == "ready")

    def of(self, id: int, *types: str) -> List[Frame]:
        return [record for record in self.records if record.get("statement") == id and (not types or record["type"] in types)]

    def text(self, id: int, via: str = "python", name: str = "stdout") -> str:
        return "".join(record["text"] for record in self.of(id, "stream") if record["via"] == via and record["name"] == name)

    def until_text(self, id: int, text: str) -> None:
        """Until all that the statement has written through Python ends so; it comes in as many pieces as time will have."""
        self.until(lambda record: self.text(id).endswith(text))

    def error(self, id: int) -> Frame:
        errors = self.of(id, "error")
        assert len(errors) == 1, errors
        return errors[0]

    def run(self, code: str, **fields: Any) -> Tuple[int, str]:
        """Submits, waits for the end, answers id and outcome."""
        id = self.submit(code, **fields)
        return id, self.finished(id)["outcome"]

    def join(self) -> socket.socket:
        """The connection once it is joined to Spark's UI. Its link must not be attached."""
        assert self.ask("forward", to="ui") == {}
        return self._socket

    def close(self) -> None:
        self._socket.close()


class Driver:
    """A supervisor's process with its directory. By default Spark's JVM and the interpreter are stand-ins."""

    def __init__(self, real: bool = False, **config: Any) -> None:
        self.directory = tempfile.mkdtemp(prefix="longwick-test-")
        self.session = os.urandom(16).hex()
        self.key = os.urandom(32)
        self.real = real
        self.socket_path = os.path.join(self.directory, "socket")
        self.process: Optional[subprocess.Popen[bytes]] = None
        self.config: Frame = {
            "session": self.session,
            "id": 7,
            "key": base64.urlsafe_b64encode(self.key).rstrip(b"=").decode(),
            "listen": {"unix": self.socket_path},
            "kind": "pyspark",
            "python": sys.executable,
            "createdMs": int(time.time() * 1000),
        }
        if not real:
            self.config.update(java=self._stand_in_java(), sparkHome=self._stand_in_home())
        self.config.update(config)

    def path(self, *names: str) -> str:
        return os.path.join(self.directory, *names)

    def _stand_in_java(self) -> str:
        """A JVM that offers a gateway nobody calls, keeps what it was started with, and ends with its stdin."""
        path = self.path("java")
        with open(path, "w") as file:
            file.write("#!%s\n" % sys.executable)
            with open(os.path.join(HERE, "stand_in_java.py")) as source:
                file.write(source.read())
        os.chmod(path, 0o755)
        return path

    def _stand_in_home(self) -> str:
        os.makedirs(self.path("spark", "jars"))
        for name in ("spark-core_2.13-4.0.0.jar", "another.jar"):
            open(self.path("spark", "jars", name), "w").close()
        return self.path("spark")

    def start(self, *wrapper: str) -> subprocess.Popen[bytes]:
        with open(self.path("driver.json"), "w") as file:
            json.dump(self.config, file)
        program = ["-m", "spark_shim"] if self.real else [os.path.join(HERE, "run_supervisor.py")]
        env = {
            **os.environ,
            "PYTHONPATH": SHIM + os.pathsep + HERE,
            SESSION_VARIABLE: self.session,
            "PYTHONUTF8": "1",
            "PYTHONUNBUFFERED": "1",
        }
        with open(self.path("driver.out"), "ab") as out:
            self.process = subprocess.Popen(
                [*wrapper, sys.executable, *program, self.path("driver.json")],
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        return self.process

    def connect(self, attach: bool = True) -> Client:
        """A new link, as soon as the driver listens."""

        def dial() -> Optional[Client]:
            assert self.process is None or self.process.poll() is None, self.output()
            try:
                return Client(self)
            except (FileNotFoundError, ConnectionRefusedError):
                return None

        client: Client = wait_for(dial, what="the driver to listen")
        if attach:
            client.attach()
        return client

    def output(self) -> str:
        with open(self.path("driver.out"), errors="replace") as file:
            return file.read()

    def termination(self, code: int = 0) -> Frame:
        """What the driver wrote at its end; waits for it, and for the process to exit."""
        assert self.process is not None
        assert self.process.wait(DEADLINE_SECONDS) == code, self.output()
        with open(self.path("termination.json")) as file:
            end: Frame = json.load(file)
        return end

    def processes(self) -> Dict[int, str]:
        """Every living process of this driver and its command line."""
        found = {}
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open("/proc/%s/environ" % name, "rb") as file:
                    marked = ("%s=%s" % (SESSION_VARIABLE, self.session)).encode() in file.read().split(b"\0")
                if marked:
                    with open("/proc/%s/cmdline" % name, "rb") as file:
                        found[int(name)] = file.read().replace(b"\0", b" ").decode("utf-8", "replace")
            except OSError:
                continue
        return found

    def pid_of(self, word: str) -> int:
        """The process whose command line holds this word."""
        pids = [pid for pid, command in self.processes().items() if word in command]
        assert len(pids) == 1, self.processes()
        return pids[0]

    def kill_all(self) -> None:
        """Every process, as the kernel does to a container: at once, so the supervisor goes first, which would see the others go."""
        if self.process:
            self.process.kill()
            self.process.wait(DEADLINE_SECONDS)
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def close(self) -> None:
        self.kill_all()
        wait_for(lambda: not self.processes(), what="the driver's processes to go")
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Driver:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
