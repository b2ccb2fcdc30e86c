"""Where Java and Spark are, what Spark's own files say, and the command that starts Spark's JVM without Spark's launcher."""

from __future__ import annotations

import glob
import hashlib
import os
import re
import shlex
import subprocess
from typing import Dict, List, Optional, Sequence

#: What Spark's launcher gives every JVM (its JavaModuleOptions, 3.5 to 4.x together; a JVM ignores those it does not know). Its
#: `--add-modules=jdk.incubator.vector` is left out: it prints a warning and costs the module graph of the class-data archive.
MODULE_FLAGS = [
    "-XX:+IgnoreUnrecognizedVMOptions",
    *(
        "--add-opens=%s=ALL-UNNAMED" % package
        for package in (
            "java.base/java.lang",
            "java.base/java.lang.invoke",
            "java.base/java.lang.reflect",
            "java.base/java.io",
            "java.base/java.net",
            "java.base/java.nio",
            "java.base/java.util",
            "java.base/java.util.concurrent",
            "java.base/java.util.concurrent.atomic",
            "java.base/jdk.internal.ref",
            "java.base/sun.nio.ch",
            "java.base/sun.nio.cs",
            "java.base/sun.security.action",
            "java.base/sun.util.calendar",
            "java.security.jgss/sun.security.krb5",
        )
    ),
    "-Djdk.reflect.useDirectMethodHandle=false",
    "-Dio.netty.tryReflectionSetAccessible=true",
    "-Dio.netty.allocator.type=pooled",
    "-Dio.netty.handler.ssl.defaultEndpointVerificationAlgorithm=NONE",
    "--sun-misc-unsafe-memory-access=allow",
    "--enable-native-access=ALL-UNNAMED",
    "-Dderby.connection.requireAuthentication=false",
]

#: Up to this heap the serial collector starts faster and takes less memory than G1.
_SERIAL_HEAP_BYTES = 2 << 30
_DEFAULT_HEAP = "1g"


class SparkNotFound(Exception):
    """Java, Spark or what it is started with is not there or not as it should be; the message says what was tried."""


def find_java(given: Optional[str], env: Dict[str, str]) -> str:
    """The java binary: the given one, else JAVA_HOME's, else the PATH's. Raises SparkNotFound."""
    if given:
        candidates = [given, os.path.join(given, "bin", "java")]
    elif env.get("JAVA_HOME"):
        candidates = [os.path.join(env["JAVA_HOME"], "bin", "java")]
    else:
        candidates = _on_path("java", env)
    for candidate in candidates:
        if os.path.isfile(candidate) and os.access(candidate, os.X_OK):
            return candidate
    looked = candidates[0] if given or env.get("JAVA_HOME") else "java on the PATH"
    raise SparkNotFound("No Java: looked for %s. Install a JDK (17 or newer) or set JAVA_HOME." % looked)


def _on_path(name: str, env: Dict[str, str]) -> List[str]:
    return [os.path.join(directory, name) for directory in env.get("PATH", os.defpath).split(os.pathsep)]


def find_spark_home(given: Optional[str], python: str, env: Dict[str, str]) -> str:
    """The given directory, else SPARK_HOME, else that of the Python's pyspark package. Raises SparkNotFound."""
    home = given or env.get("SPARK_HOME") or _package_home(python, env)
    if not home:
        raise SparkNotFound("No Spark: %s has no pyspark package, and neither sparkHome nor SPARK_HOME is set." % python)
    if not glob.glob(os.path.join(home, "jars", "spark-core_*.jar")):
        raise SparkNotFound("No Spark in %s: there is no jars/spark-core_*.jar." % home)
    return os.path.abspath(home)


def _package_home(python: str, env: Dict[str, str]) -> Optional[str]:
    program = "import importlib.util as u; s = u.find_spec('pyspark'); print(s.submodule_search_locations[0] if s else '')"
    try:
        done = subprocess.run([python, "-c", program], env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "replace").strip() or None


def conf_directory(home: str, env: Dict[str, str]) -> str:
    """SPARK_CONF_DIR, or the one in Spark's home; it need not exist."""
    return env.get("SPARK_CONF_DIR") or os.path.join(home, "conf")


def environment_of_spark(home: str, env: Dict[str, str]) -> Dict[str, str]:
    """
    The environment as Spark's scripts would make it: after `conf/spark-env.sh` when there is one, and with the Scala version, which Spark
    wants to know when it starts executors as processes (`local-cluster`).
    """
    env = _sourced(home, env)
    scala = next(filter(None, map(_SPARK_CORE.search, sorted(glob.glob(os.path.join(home, "jars", "spark-core_*.jar"))))), None)
    return env if scala is None else {"SPARK_SCALA_VERSION": scala.group(1), **env}


_SPARK_CORE = re.compile(r"spark-core_(\d+\.\d+)-[^/]*$")


def _sourced(home: str, env: Dict[str, str]) -> Dict[str, str]:
    script = os.path.join(conf_directory(home, env), "spark-env.sh")
    if not os.path.isfile(script):
        return env
    try:
        done = subprocess.run(
            ["bash", "-c", 'set -a; . "$0" >/dev/null; exec env -0', script],
            env={**env, "SPARK_HOME": home},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=30,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return env
    pairs = (entry.partition("=") for entry in done.stdout.decode("utf-8", "surrogateescape").split("\0") if "=" in entry)
    return {name: value for name, _, value in pairs if name not in ("_", "SHLVL", "PWD")}


_UNESCAPED = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}


def read_properties(path: str) -> Dict[str, str]:
    """A Java properties file; {} when there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read()
    except OSError:
        return {}
    found = {}
    for line in re.sub(r"(?<!\\)((?:\\\\)*)\\\r?\n[ \t]*", r"\1", text).splitlines():
        line = line.strip(" \t\f")
        if not line or line[0] in "#!":
            continue
        match = re.match(r"((?:\\.|[^\\=: \t\f])*)[ \t\f]*[=:]?[ \t\f]*(.*)", line, re.DOTALL)
        if match:
            found[_unescape(match.group(1))] = _unescape(match.group(2)).rstrip()
    return found


def _unescape(text: str) -> str:
    text = re.sub(r"\\u([0-9a-fA-F]{4})", lambda match: chr(int(match.group(1), 16)), text)
    return re.sub(r"\\(.)", lambda match: _UNESCAPED.get(match.group(1), match.group(1)), text)


def write_properties(path: str, conf: Dict[str, str]) -> None:
    """A properties file that only its owner may read: conf holds secrets, and a command line is for all to see. Raises OSError."""
    lines = ["%s=%s\n" % (_escape(name, " \t=:#!"), _escape(value, "")) for name, value in sorted(conf.items())]
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400), "w", encoding="ascii") as file:
        file.writelines(lines)


def _escape(text: str, special: str) -> str:
    out = []
    for index, char in enumerate(text):
        code = ord(char)
        if char == "\\" or char in special or (char == " " and index == 0):
            out.append("\\" + char)
        elif 0x20 <= code < 0x7F:
            out.append(char)
        else:
            out.extend("\\u%04x" % int.from_bytes(unit, "big") for unit in _utf16(char))
    return "".join(out)


def _utf16(char: str) -> List[bytes]:
    data = char.encode("utf-16-be", "surrogatepass")
    return [data[at : at + 2] for at in range(0, len(data), 2)]


def heap_flag(memory: str) -> str:
    """`-Xmx` for what Spark understands by spark.driver.memory: a plain number is in MiB, `1gb` is `1g`."""
    match = re.fullmatch(r"(\d+)\s*([kmgt]?)b?", memory.strip().lower())
    return "-Xmx%s%s" % (match.group(1), match.group(2) or "m") if match else "-Xmx" + memory.strip()


def _heap_bytes(flag: str) -> int:
    match = re.fullmatch(r"-Xmx(\d+)([kmgt])", flag)
    return int(match.group(1)) << {"k": 10, "m": 20, "g": 30, "t": 40}[match.group(2)] if match else 1 << 60


def jars_of(home: str) -> List[str]:
    """Spark's jars in the one order that every launch and the class-data archive share."""
    return sorted(glob.glob(os.path.join(home, "jars", "*.jar")))


def archive_path(directory: str, java: str, home: str) -> str:
    """Where the class-data archive for this Java and these jars is, or will be. It changes when any of them does."""
    digest = hashlib.sha256()
    for path in [os.path.realpath(java), *jars_of(home)]:
        status = os.stat(path)
        digest.update(("%s %d %d\n" % (path, status.st_size, status.st_mtime_ns)).encode("utf-8", "surrogateescape"))
    return os.path.join(directory, "spark-%s.jsa" % digest.hexdigest()[:24])


def archive_flags(path: str) -> List[str]:
    """Use the archive if it fits, without a word when it does not."""
    return ["-XX:SharedArchiveFile=" + path, "-Xshare:auto"]


def java_command(
    java: str,
    home: str,
    conf: Dict[str, str],
    env: Dict[str, str],
    archive: List[str],
    properties: str,
    arguments: List[str],
    submitted: Sequence[str] = ("pyspark-shell",),
) -> List[str]:
    """
    Starts `SparkSubmit` with what is submitted as Spark's launcher would: driver memory, options and class path become flags of the JVM,
    which once it runs cannot be told of them. Raises SparkNotFound.
    """
    heap = heap_flag(conf.get("spark.driver.memory") or env.get("SPARK_DRIVER_MEMORY") or _DEFAULT_HEAP)
    options_file = os.path.join(conf_directory(home, env), "java-opts")
    options = [
        *_words(options_file, _first_line(options_file)),
        *_words("SPARK_SUBMIT_OPTS", env.get("SPARK_SUBMIT_OPTS", "")),
        *(word for name in _OPTIONS for word in _words(name, conf.get(name, ""))),
    ]
    flags = [heap]
    if not any(re.match(r"-XX:[+-]Use\w+GC$", option) for option in options) and _heap_bytes(heap) <= _SERIAL_HEAP_BYTES:
        flags.append("-XX:+UseSerialGC")
    extra = conf.get("spark.driver.extraClassPath", "")
    if not extra and not any(option.startswith(("-XX:SharedArchiveFile", "-Xshare")) for option in options):
        flags += archive
    flags += ["-Xlog:disable", "-Xlog:all=warning:stderr", *MODULE_FLAGS, *options]
    entries = [extra, *jars_of(home)]
    if os.path.isdir(conf_directory(home, env)):
        entries.append(conf_directory(home, env))
    entries += [env.get(name, "") for name in ("HADOOP_CONF_DIR", "YARN_CONF_DIR", "SPARK_DIST_CLASSPATH")]
    class_path = ":".join(entry for entry in entries if entry)
    return [
        java, "-cp", class_path, *flags, "org.apache.spark.deploy.SparkSubmit", "--properties-file", properties, *arguments, *submitted
    ]  # fmt: skip


_OPTIONS = ("spark.driver.defaultJavaOptions", "spark.driver.extraJavaOptions")


def _words(name: str, text: str) -> List[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise SparkNotFound("%s cannot be read: %s." % (name, error)) from None


def _first_line(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return " ".join(line.strip() for line in file)
    except OSError:
        return ""
