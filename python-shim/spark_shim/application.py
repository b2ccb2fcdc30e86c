"""A whole application in the interpreter's place: spark-submit's work, as a child that runs to its end, once."""

from __future__ import annotations

import functools
import os
import re
import signal
import subprocess
import urllib.parse
from typing import Callable, Dict, Optional, Tuple

from .awaited import placed
from .child import Interpreter
from .config import Application, DriverConfig
from .engine import EngineUser
from .forward import ui_host
from .jvm import Complaint, SparkSetup, Submission, submission
from .loop import Loop
from .output_pipe import OutputPipe
from .pipe import Message
from .processes import SIGNAL_BASE, Children, was_killed
from .spark_home import SparkNotFound
from .termination import Ending
from .ui_probe import MARK_KEY, UiProbe, free_port


class ApplicationEngine:
    """Owns the application's process group. Whatever happens to it is its end: nothing is started twice."""

    interpreter: Optional[Interpreter] = None
    jvm_stdout: Optional[OutputPipe] = None
    ready = False

    def __init__(self, loop: Loop, children: Children, config: DriverConfig, application: Application, user: EngineUser) -> None:
        self._loop = loop
        self._children = children
        self._config = config
        self._application = application
        self._user = user
        self._setup: Optional[SparkSetup] = None
        self._process: Optional[_Process] = None
        self._probe: Optional[UiProbe] = None
        self._stopping = False
        #: What was told of Spark last.
        self._facts: Optional[Message] = None

    @property
    def env(self) -> Dict[str, str]:
        """What Spark's processes are started with."""
        return self._setup.env if self._setup else {}

    @property
    def gone(self) -> bool:
        """Whether its process does not live."""
        return self._process is None

    def start(self) -> None:
        """Starts it, unless an earlier life of the supervisor did. Never raises: what cannot be started is an end."""
        if self._stopping:
            return
        try:
            setup = self._setup = SparkSetup(self._config)
            if not self._begin():
                self._user.ended(Ending("dead", "The driver died while its application ran; it is not run twice.", cause="driver-lost"))
                return
            self._listen_for_ui(setup)
            heard = (self._text, self._event_log, self._exited)
            self._process = _Process(self._loop, self._children, self._submission(setup), self._config.work_dir, *heard)
        except (SparkNotFound, OSError) as error:
            self._user.ended(Ending("dead", str(error), cause="submission-refused"))
            return
        self._user.phase("starting", None, None)

    def restart(self, reason: str, fresh: bool) -> None:
        """There is nothing that could be started anew."""

    def stop(self) -> None:
        """Asks it to end in order; `gone` says when it has."""
        self._stopping = True
        if self._probe:
            self._probe.close()
        if self._process:
            self._process.signal(signal.SIGTERM)

    def kill(self) -> None:
        """No more patience."""
        self._stopping = True
        if self._process:
            self._process.signal(signal.SIGKILL)

    def _begin(self) -> bool:
        """Takes the mark that it was started, before it is: on the disk, so that no later life starts it again."""
        os.makedirs(self._config.work_dir, exist_ok=True)
        try:
            fd = os.open(os.path.join(self._config.directory, "application-started"), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return False
        os.fsync(fd)
        os.close(fd)
        return True

    def _submission(self, setup: SparkSetup) -> Submission:
        file, class_name, args = self._application
        main = ["--class", class_name] if class_name else []
        command, env = submission(setup, self._config, [*main, placed(file, self._config.directory), *args])
        packed = packed_python(setup.conf)
        if packed is None:
            return command, env
        here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        env = {**env, "PYTHONPATH": ":".join(filter(None, [here, env.get("PYTHONPATH")]))}
        return [self._config.python, "-m", "spark_shim.unpacked", *packed, "--", *command], env

    def _listen_for_ui(self, setup: SparkSetup) -> None:
        setup.conf[MARK_KEY] = self._config.session
        if setup.conf.get("spark.ui.enabled", "true").lower() != "true":
            return
        host = ui_host(setup.env)
        if setup.conf.get("spark.ui.port", "4040") == "0":
            # Spark would tell nobody which one it has taken.
            setup.conf["spark.ui.port"] = str(free_port(host))
        port = setup.conf.get("spark.ui.port", "4040")
        if port.isdigit() and 0 < int(port) < 1 << 16:
            self._probe = UiProbe(self._loop, host, int(port), self._config.session, self._tell)

    def _event_log(self, app_id: str) -> None:
        """The only word of a Spark without a UI, and the first of one that ends before its UI has answered."""
        known = self._facts or {"python": "", "spark": "", "uiUrl": None, "sparkUser": None, "ipython": None}
        if app_id != known.get("appId"):
            self._tell({**known, "appId": app_id})

    def _tell(self, facts: Message) -> None:
        self._facts = facts
        self._user.phase("ready", None, facts)

    def _text(self, name: str, text: str) -> None:
        self._user.process_text("application " + name, None, text)

    def _exited(self, status: int) -> None:
        complaint = self._process.complaint if self._process else ""
        self._process = None
        if self._probe:
            self._probe.close()
        if self._stopping:
            return
        if status == 0:
            self._user.ended(Ending("success", "The application has ended.", exit_code=0))
            return
        reason = "The application %s%s." % (self._children.describe_exit(status), complaint and ": " + complaint.rstrip("."))
        # Nobody ends itself so: the kernel killed it for want of memory, or a hand did; or its Python, whose end SparkSubmit passes on.
        if was_killed(status):
            self._user.ended(Ending("dead", reason, cause="driver-lost"))
            return
        self._user.ended(Ending("dead", reason, exit_code=status if status > 0 else SIGNAL_BASE - status, cause="non-zero-exit"))


def packed_python(conf: Dict[str, str]) -> Optional[Tuple[str, str]]:
    """
    The archive that brings the Python which the application is to run on, and the directory that it belongs in; None: no archive does. An
    executor has its archives where it runs, and so has a driver in cluster mode; in client mode it would find its Python nowhere. Raises
    SparkNotFound.
    """
    python = conf.get("spark.pyspark.driver.python") or conf.get("spark.pyspark.python", "")
    directory, inside, _ = re.sub(r"^(\./)+", "", python).partition("/")
    for archive in filter(None, conf.get("spark.archives", "").split(",")) if inside and directory else ():
        uri, _, name = archive.strip().partition("#")
        parts = urllib.parse.urlsplit(uri)
        path = urllib.parse.unquote(parts.path)
        if (name or os.path.basename(path)) != directory:
            continue
        if parts.scheme not in ("", "file", "local"):
            raise SparkNotFound(
                "%s is to come from an archive that is not where the driver runs: executors alone get it from there. "
                "Name the driver's Python (spark.pyspark.driver.python), or send the archive with POST /uploads." % python
            )
        return path, directory
    return None


class _Process:
    """One life of an application: the JVM that SparkSubmit runs in, and with it, when that is what it runs, Python."""

    def __init__(
        self,
        loop: Loop,
        children: Children,
        submission: Submission,
        directory: str,
        on_text: Callable[[str, str], None],
        on_event_log: Callable[[str], None],
        on_exit: Callable[[int], None],
    ) -> None:
        """`on_text("stdout" | "stderr", text)`, `on_event_log(app_id)`. Raises OSError when it cannot be started."""
        self._children = children
        self._on_exit = on_exit
        self._errors = (LastError(on_event_log), LastError(on_event_log))
        # SparkSubmit writes to its own stdout what Python writes to either.
        self._stdout, self._stderr = (
            OutputPipe(loop, error.heard(functools.partial(on_text, name)), lambda number: None)
            for name, error in (("stdout", self._errors[0]), ("stderr", self._errors[1]))
        )
        outputs = (self._stdout, self._stderr)
        self._pid = children.spawn(*submission, directory, self._exited, subprocess.DEVNULL, outputs)

    @property
    def complaint(self) -> str:
        """The last error that it wrote; empty when it wrote none."""
        return next(filter(None, map(str, self._errors)), "")

    def signal(self, number: int) -> None:
        """To it and what it runs; `on_exit` follows."""
        self._children.kill_group(self._pid, number)

    def _exited(self, status: int) -> None:
        self._children.kill_group(self._pid)
        self._stdout.close()
        self._stderr.close()
        self._on_exit(status)


class LastError(Complaint):
    """
    What an application wrote last of why it fails: a JVM's exception, or the end of a Python traceback. Hears too of the Spark application
    whose events are written to a file: a directory `eventlog_v2_ID`, or a file `ID`, with endings.
    """

    _TRACEBACK = re.compile(r"Traceback \(most recent call last\):")
    _PYTHON = re.compile(r"\S*python\S*: (can't open file .+)")
    _EVENT_LOG = re.compile(r"EventLogFiles?Writer: Logging events to \S+?/(?:eventlog_v2_)?([\w-]+)(?:\.[\w.]+|/events_1_\S+)?$")

    def __init__(self, on_event_log: Callable[[str], None] = lambda app_id: None) -> None:
        super().__init__()
        self._in_traceback = False
        self._on_event_log = on_event_log

    def _read(self, line: str) -> None:
        start, event_log = self._PYTHON.match(line), self._EVENT_LOG.search(line)
        if event_log:
            self._on_event_log(event_log.group(1))
        elif start:
            self._why, self._cause = start.group(1), ""
        elif self._TRACEBACK.match(line):
            self._in_traceback = True
        elif not self._in_traceback:
            super()._read(line)
        elif line and not line[0].isspace():
            self._why, self._cause, self._in_traceback = line, "", False
