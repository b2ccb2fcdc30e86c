"""Spark's JVM: started directly, dying with the supervisor, its gateway handed to the interpreter."""

from __future__ import annotations

import os
import re
import struct
import urllib.parse
from typing import Callable, Dict, List, Optional, Sequence, Tuple

from .awaited import placed
from .config import DriverConfig
from .loop import Loop
from .output_pipe import OutputPipe
from .processes import Children
from .spark_home import (
    SparkNotFound,
    archive_flags,
    archive_path,
    conf_directory,
    environment_of_spark,
    find_java,
    find_spark_home,
    java_command,
    read_properties,
    write_properties,
)

_GATEWAY_POLL_SECONDS = 0.01


class SparkSetup:
    """What both children of the supervisor must know of Spark. Raises SparkNotFound, OSError."""

    def __init__(self, config: DriverConfig) -> None:
        env = {**os.environ, **config.env}
        self.home = find_spark_home(config.spark_home, config.python, env)
        env = environment_of_spark(self.home, env)
        self.java = find_java(config.java, env)
        self.conf = {**read_properties(os.path.join(conf_directory(self.home, env), "spark-defaults.conf")), **config.conf}
        if config.application:
            _check_file(placed(config.application.file, config.directory))
        for name, asked in (
            ("spark.jars", config.jars),
            ("spark.submit.pyFiles", config.py_files),
            ("spark.files", config.files),
            ("spark.archives", config.archives),
        ):
            uris = [placed(uri, config.directory) for uri in asked]
            for uri in uris:
                _check_file(uri)
            if name == "spark.submit.pyFiles":
                uris = [_importable(uri, os.path.join(config.directory, "wheels")) for uri in uris]
            if uris:
                self.conf[name] = ",".join([*filter(None, [self.conf.get(name)]), *uris])
        # Workers run the interpreter's Python unless the user says otherwise; a fixed seed makes their hashes agree.
        worker = self.conf.get("spark.pyspark.python") or env.get("PYSPARK_PYTHON") or config.python
        env.update(
            SPARK_HOME=self.home, PYSPARK_PYTHON=worker, PYSPARK_DRIVER_PYTHON=config.python, SPARK_CONNECT_MODE="0", PYTHONHASHSEED="0"
        )
        if config.proxy_user:
            env["SPARK_USER"] = config.proxy_user
        if not _is_package(self.home):
            bundled = [os.path.join(self.home, "python"), *_py4j_of(self.home)]
            env["PYTHONPATH"] = ":".join(filter(None, [*bundled, env.get("PYTHONPATH")]))
        self.env = env


def _check_file(uri: str) -> None:
    """Spark starts without some of what is missing, and says so to nobody."""
    try:
        parts = urllib.parse.urlsplit(uri)
    except ValueError as error:
        raise SparkNotFound("%s is no URI: %s." % (uri, error)) from None
    path = urllib.parse.unquote(parts.path)
    if parts.scheme in ("file", "local") and not os.path.exists(path):
        raise SparkNotFound("%s was asked for, but where the driver runs there is no %s." % (uri, path))


def _importable(uri: str, directory: str) -> str:
    """
    A wheel of this machine by a name that PySpark takes for what it is, a zip of packages, and gives to executors; any other URI as it is.
    Raises OSError.
    """
    parts = urllib.parse.urlsplit(uri)
    path = urllib.parse.unquote(parts.path)
    if parts.scheme not in ("file", "local") or not path.endswith(".whl"):
        return uri
    os.makedirs(directory, mode=0o700, exist_ok=True)
    link = os.path.join(directory, os.path.basename(path) + ".zip")
    if os.path.islink(link):
        os.unlink(link)
    os.symlink(path, link)
    return "file://" + urllib.parse.quote(link)


class Complaint:
    """The line of a JVM's output that says why it cannot start, with the innermost cause."""

    _WHY = re.compile(r'(?:Exception in thread "main" |Error: )(.+)|(Error occurred during initialization of VM)')
    _CAUSE = re.compile(r"Caused by: (.+)")
    _LINE_LIMIT = 1000

    def __init__(self) -> None:
        self._rest = ""
        self._why = self._cause = ""
        #: The JVM's own complaint is on the line after the one that announces it.
        self._vm = False

    def heard(self, on_text: Callable[[str], None]) -> Callable[[str], None]:
        """Listens to what is passed on."""

        def hear(text: str) -> None:
            *lines, rest = (self._rest + text).split("\n")
            self._rest = rest[: self._LINE_LIMIT]
            for line in lines:
                self._read(line[: self._LINE_LIMIT])
            on_text(text)

        return hear

    def _read(self, line: str) -> None:
        why, cause = self._WHY.match(line), self._CAUSE.match(line)
        if self._vm:
            self._why, self._vm = line, False
        elif why:
            self._why, self._cause, self._vm = why.group(1) or "", "", bool(why.group(2))
        elif cause and self._why:
            self._cause = cause.group(1)

    def __str__(self) -> str:
        return ", caused by ".join(filter(None, (self._why, self._cause)))


def _is_package(home: str) -> bool:
    """Whether this is the home inside of a pyspark package, which its Python finds by itself."""
    return os.path.isfile(os.path.join(home, "__init__.py"))


def _py4j_of(home: str) -> List[str]:
    directory = os.path.join(home, "python", "lib")
    names = sorted(os.listdir(directory)) if os.path.isdir(directory) else []
    return [os.path.join(directory, name) for name in names if name.startswith("py4j-") and name.endswith("-src.zip")]


#: A command and its environment.
Submission = Tuple[List[str], Dict[str, str]]


def submission(setup: SparkSetup, config: DriverConfig, submitted: Sequence[str] = ("pyspark-shell",)) -> Submission:
    """The command of a JVM that SparkSubmit runs in, its properties written down, and its environment. Raises OSError, SparkNotFound."""
    properties = os.path.join(config.directory, "spark.properties")
    write_properties(properties, setup.conf)
    env = dict(setup.env)
    library_path = setup.conf.get("spark.driver.extraLibraryPath")
    if library_path:
        env["LD_LIBRARY_PATH"] = ":".join(filter(None, [library_path, env.get("LD_LIBRARY_PATH")]))
    arguments = ["--proxy-user", config.proxy_user] if config.proxy_user else []
    path = archive_path(config.archive, setup.java, setup.home) if config.archive else ""
    archive = archive_flags(path) if path and os.path.isfile(path) else []
    return java_command(setup.java, setup.home, setup.conf, setup.env, archive, properties, arguments, submitted), env


class Jvm:
    """One life of the JVM. It ends when its stdin does, so it never outlives the supervisor."""

    def __init__(
        self,
        loop: Loop,
        children: Children,
        setup: SparkSetup,
        config: DriverConfig,
        on_gateway: Callable[[int, str], None],
        on_text: Callable[[str, str], None],
        on_mark: Callable[[OutputPipe, int], None],
        on_exit: Callable[[int], None],
    ) -> None:
        """`on_gateway(port, secret)` once; `on_text("stdout" | "stderr", text)`. Raises OSError when it cannot be started."""
        self._loop = loop
        self._children = children
        self._on_gateway = on_gateway
        self._on_exit = on_exit
        self._gateway_file = os.path.join(config.directory, "gateway")
        self.gateway: Optional[Tuple[int, str]] = None
        self.exited = False
        _remove(self._gateway_file)
        command, env = submission(setup, config)
        env["_PYSPARK_DRIVER_CONN_INFO_PATH"] = self._gateway_file
        self._complaint = Complaint()
        self.stdout = OutputPipe(loop, lambda text: on_text("stdout", text), lambda number: on_mark(self.stdout, number))
        self.stderr = OutputPipe(loop, self._complaint.heard(lambda text: on_text("stderr", text)), lambda number: None)
        stdin, self._stdin = os.pipe()
        try:
            self.pid = children.spawn(command, env, config.start_directory(), self._exited, stdin, (self.stdout, self.stderr))
        except OSError:
            self.stop()
            raise
        finally:
            os.close(stdin)
        self._look_for_gateway()

    @property
    def complaint(self) -> str:
        """What it said of why it could not start; empty when it said nothing."""
        return str(self._complaint)

    def stop(self) -> None:
        """Asks it to end: Spark stops in order, then the JVM exits. Idempotent."""
        if self._stdin >= 0:
            os.close(self._stdin)
            self._stdin = -1

    def kill(self) -> None:
        """SIGKILL to it and its group; `on_exit` follows."""
        self._children.kill_group(self.pid)

    def _look_for_gateway(self) -> None:
        """The JVM writes the file elsewhere and renames it: once it is there it is whole."""
        if self.exited:
            return
        try:
            with open(self._gateway_file, "rb") as file:
                data = file.read()
        except OSError:
            self._loop.after(_GATEWAY_POLL_SECONDS, self._look_for_gateway)
            return
        _remove(self._gateway_file)
        port, length = struct.unpack_from(">ii", data)
        self.gateway = (port, data[8 : 8 + length].decode("utf-8"))
        self._on_gateway(*self.gateway)

    def _exited(self, status: int) -> None:
        self.exited = True
        self.stop()
        self.stdout.close()
        self.stderr.close()
        self._on_exit(status)


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass
