"""`driver.json`: everything a driver is told when it starts, written by the launcher, read once."""

from __future__ import annotations

import base64
import json
import os
import re
from typing import Any, Dict, List, Match, NamedTuple, Optional, Tuple, Type, TypeVar, Union

Value = TypeVar("Value")
_REQUIRED = object()
_VARIABLE = re.compile(r"\{(\w+)\}")


class ConfigError(Exception):
    """The file is not what a launcher writes; the message names the field."""


class Application(NamedTuple):
    """What a batch's driver runs to its end, as spark-submit takes it."""

    file: str
    class_name: Optional[str]
    args: List[str]


class DriverConfig(NamedTuple):
    """Times in milliseconds (0: no limit), sizes in bytes."""

    session: str
    id: int
    key: bytes
    #: A unix socket's path, or host and port.
    listen: Union[str, Tuple[str, int]]
    journal: str
    termination: str
    kind: str
    #: What runs in the interpreter's place; None: the driver takes statements.
    application: Optional[Application]
    name: Optional[str]
    python: str
    java: Optional[str]
    spark_home: Optional[str]
    #: The directory where class-data archives are cached.
    archive: Optional[str]
    conf: Dict[str, str]
    proxy_user: Optional[str]
    jars: List[str]
    py_files: List[str]
    files: List[str]
    archives: List[str]
    env: Dict[str, str]
    #: Credentials that are not to be in the log, each with what stands there.
    hidden: Dict[str, str]
    idle_timeout_ms: int
    ttl_ms: int
    heartbeat_timeout_ms: int
    orphan_timeout_ms: int
    created_ms: int
    cancel_force_ms: int
    sql_row_limit: int
    journal_limit_bytes: int
    statement_limit_bytes: int
    memory_limit_bytes: int
    queue_limit: int
    queue_limit_bytes: int
    work_dir: str
    #: Where code begins, if not in `work_dir`.
    start_dir: Optional[str]
    #: Certificate and private key, PEM files: what listens on TCP speaks TLS.
    tls: Optional[Tuple[str, str]]
    #: A file that cannot be replaced and holds at most 4096 bytes: the end is told there too.
    termination_message: Optional[str]
    #: Whether each line of the log goes to standard output too.
    echo: bool

    @property
    def directory(self) -> str:
        """Where the supervisor may keep what belongs to this driver alone."""
        return os.path.dirname(self.termination)

    def start_directory(self) -> str:
        """Where Spark and user code begin. One that is not there, or that may not be entered, is not worth a driver."""
        wanted = self.start_dir
        return wanted if wanted and os.path.isdir(wanted) and os.access(wanted, os.X_OK) else self.work_dir

    @property
    def uris(self) -> List[str]:
        """All that Spark is to be given."""
        application = [self.application.file] if self.application else []
        return [*application, *self.jars, *self.py_files, *self.files, *self.archives]


def read_config(path: str) -> DriverConfig:
    """Raises ConfigError, or OSError when the file cannot be read."""
    with open(path, encoding="utf-8") as file:
        try:
            raw = json.load(file)
        except ValueError as error:
            raise ConfigError("%s is not JSON: %s" % (path, error)) from None
    if not isinstance(raw, dict):
        raise ConfigError("%s is not a JSON object" % path)

    def field(name: str, kind: Type[Value], default: Any = _REQUIRED) -> Value:
        value = raw.get(name)
        if value is None and default is not _REQUIRED:
            return default  # type: ignore[no-any-return]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise ConfigError("%s: %s must be %s" % (path, name, kind.__name__))
        return value

    def texts(name: str) -> List[str]:
        return [str(item) for item in field(name, list, [])]

    def pairs(name: str) -> Dict[str, str]:
        return {str(key): _text(value) for key, value in field(name, dict, {}).items()}

    def optional(name: str) -> Optional[str]:
        return field(name, str, "") or None

    directory = os.path.dirname(os.path.abspath(path))
    key = field("key", str)
    tls = field("tls", dict, {})
    return DriverConfig(
        session=field("session", str),
        id=field("id", int, 0),
        key=base64.urlsafe_b64decode(key + "=" * (-len(key) % 4)),
        listen=_listen(path, field("listen", dict)),
        journal=field("journal", str, os.path.join(directory, "journal")),
        termination=field("termination", str, os.path.join(directory, "termination.json")),
        kind=field("kind", str, "pyspark"),
        application=_application(path, field("application", dict, {})),
        name=optional("name"),
        python=field("python", str),
        java=optional("java"),
        spark_home=optional("sparkHome"),
        archive=optional("archive"),
        conf={**pairs("conf"), **{name: _filled(path, text) for name, text in pairs("confFromEnv").items()}},
        proxy_user=optional("proxyUser"),
        jars=texts("jars"),
        py_files=texts("pyFiles"),
        files=texts("files"),
        archives=texts("archives"),
        env=pairs("env"),
        hidden=pairs("hidden"),
        idle_timeout_ms=field("idleTimeoutMs", int, 0),
        ttl_ms=field("ttlMs", int, 0),
        heartbeat_timeout_ms=field("heartbeatTimeoutMs", int, 0),
        orphan_timeout_ms=field("orphanTimeoutMs", int, 0),
        created_ms=field("createdMs", int, 0),
        cancel_force_ms=field("cancelForceMs", int, 0),
        sql_row_limit=field("sqlRowLimit", int, 1000),
        journal_limit_bytes=field("journalLimitBytes", int, 256 << 20),
        statement_limit_bytes=field("statementLimitBytes", int, 64 << 20),
        memory_limit_bytes=field("memoryLimitBytes", int, 8 << 20),
        queue_limit=field("queueLimit", int, 10_000),
        queue_limit_bytes=field("queueLimitBytes", int, 256 << 20),
        work_dir=field("workDir", str, os.path.join(directory, "work")),
        start_dir=optional("startDir"),
        tls=(str(tls["certificate"]), str(tls["key"])) if "certificate" in tls and "key" in tls else None,
        termination_message=optional("terminationMessage"),
        echo=raw.get("echo") is True,
    )


def _application(path: str, raw: Dict[str, Any]) -> Optional[Application]:
    if not raw:
        return None
    file, class_name, args = raw.get("file"), raw.get("className"), raw.get("args", [])
    if not isinstance(file, str) or not isinstance(class_name, (str, type(None))) or not isinstance(args, list):
        raise ConfigError('%s: application must be {"file", "className", "args"}' % path)
    return Application(file, class_name, [str(argument) for argument in args])


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _filled(path: str, text: str) -> str:
    """What only the place where the driver runs can know: addresses, as `{VARIABLE}` in the text. Those of IPv6 get their brackets."""

    def address(match: Match[str]) -> str:
        value = os.environ.get(match.group(1), "")
        if not value:
            raise ConfigError("%s: the environment has no %s" % (path, match.group(1)))
        return "[%s]" % value if ":" in value else value

    return _VARIABLE.sub(address, text)


def _listen(path: str, raw: Dict[str, Any]) -> Union[str, Tuple[str, int]]:
    unix, tcp = raw.get("unix"), raw.get("tcp")
    if isinstance(unix, str):
        return unix
    if isinstance(tcp, dict) and isinstance(tcp.get("host"), str) and isinstance(tcp.get("port"), int):
        return tcp["host"], tcp["port"]
    raise ConfigError('%s: listen must be {"unix": path} or {"tcp": {"host", "port"}}' % path)
