"""
`python -m spark_shim.archive --cache DIR`: makes the class-data archive that lets Spark's JVM start in about half the time.

Once per Java and set of jars, in the background: it takes some ten seconds and 200 MB of disk. Run it with the interpreter's Python.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from typing import Dict, List, Optional

from .spark_home import SparkNotFound, archive_path, find_java, find_spark_home, java_command, write_properties

GATEWAY_SECONDS = 120.0
DUMP_SECONDS = 300.0

_CONF = {"spark.master": "local[2]", "spark.ui.port": "0", "spark.ui.showConsoleProgress": "false", "spark.app.name": "archive"}


def make_archive(cache: str, java: str, home: str) -> str:
    """
    The archive's path; makes it when it is not there. While another process makes it nothing is done. Raises OSError, RuntimeError,
    subprocess.SubprocessError.
    """
    path = archive_path(cache, java, home)
    os.makedirs(cache, mode=0o700, exist_ok=True)
    with open(path + ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return path
        if not os.path.exists(path):
            _ensure_base_archive(java)
            directory = tempfile.mkdtemp(prefix="archive-", dir=cache)
            try:
                made = os.path.join(directory, "made.jsa")
                _train(directory, java, home, made)
                os.replace(made, path)
            finally:
                shutil.rmtree(directory, ignore_errors=True)
    return path


def _ensure_base_archive(java: str) -> None:
    """Some JDKs (those of PyPI) come without the archive of their own classes, on top of which ours stands."""
    server = os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(java))), "lib", "server")
    if not os.path.exists(os.path.join(server, "classes.jsa")):
        subprocess.run([java, "-Xshare:dump"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=DUMP_SECONDS, check=False)


def _train(directory: str, java: str, home: str, made: str) -> None:
    """Runs a JVM through what most sessions do; at its exit it writes down the classes that took."""
    gateway = os.path.join(directory, "gateway")
    properties = os.path.join(directory, "spark.properties")
    write_properties(properties, {**_CONF, "spark.sql.warehouse.dir": os.path.join(directory, "warehouse")})
    env = {**os.environ, "SPARK_HOME": home, "SPARK_CONNECT_MODE": "0", "PYTHONHASHSEED": "0", "PYSPARK_PYTHON": sys.executable}
    # Only jars may stand in the class path while the archive is made; directories may follow when it is used.
    env.update(SPARK_CONF_DIR=os.path.join(directory, "no-conf"))
    for name in ("HADOOP_CONF_DIR", "YARN_CONF_DIR", "SPARK_DIST_CLASSPATH", "SPARK_SUBMIT_OPTS", "SPARK_DRIVER_MEMORY"):
        env.pop(name, None)
    command = java_command(java, home, {}, env, ["-XX:ArchiveClassesAtExit=" + made], properties, [])
    with open(os.path.join(directory, "output"), "w+b") as output:
        jvm = subprocess.Popen(
            command,
            env={**env, "_PYSPARK_DRIVER_CONN_INFO_PATH": gateway},
            cwd=directory,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            _run_typical_work(jvm, gateway, home, env)
            assert jvm.stdin is not None
            jvm.stdin.close()
            jvm.wait(DUMP_SECONDS)
        finally:
            jvm.kill()
            jvm.wait()
        if not os.path.exists(made):
            output.seek(0)
            raise RuntimeError("Java made no archive: %s" % output.read()[-2000:].decode("utf-8", "replace"))


def _run_typical_work(jvm: subprocess.Popen[bytes], gateway: str, home: str, env: Dict[str, str]) -> None:
    deadline = time.monotonic() + GATEWAY_SECONDS
    while not os.path.exists(gateway):
        if jvm.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("Spark's JVM did not start")
        time.sleep(0.05)
    with open(gateway, "rb") as file:
        data = file.read()
    port, length = struct.unpack_from(">ii", data)
    env = {**env, "PYSPARK_GATEWAY_PORT": str(port), "PYSPARK_GATEWAY_SECRET": data[8 : 8 + length].decode("utf-8")}
    libraries = os.path.join(home, "python", "lib")
    bundled = [os.path.join(home, "python")] + [os.path.join(libraries, name) for name in _names(libraries) if name.startswith("py4j-")]
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [env.get("PYTHONPATH"), *bundled]))
    subprocess.run(
        [sys.executable, "-c", _WORK], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=GATEWAY_SECONDS, check=True
    )


def _names(directory: str) -> List[str]:
    return os.listdir(directory) if os.path.isdir(directory) else []


_WORK = """
from pyspark.sql import SparkSession, functions as F
spark = SparkSession.builder.getOrCreate()
spark.range(1000).selectExpr("sum(id)").show()
frame = spark.createDataFrame([(1, "a", 1.5), (2, "b", None)], "id int, name string, value double")
frame.createOrReplaceTempView("frame")
spark.sql("select name, count(*) n, avg(value) from frame where id > 0 group by name order by n").collect()
joined = frame.join(spark.range(10).withColumnRenamed("id", "other"), F.col("id") == F.col("other"))
joined.groupBy("name").agg(F.max("id")).toJSON().collect()
frame.schema.json(), frame._jdf.queryExecution().toString()
spark.sparkContext.parallelize(range(10), 2).map(lambda x: x + 1).sum()
spark.sql("show tables").collect()
spark.sparkContext.statusTracker().getActiveJobsIds()
try:
    spark.sql("select nothing from nowhere")
except Exception:
    pass
"""


def main(arguments: Optional[List[str]] = None) -> int:
    """0: the archive is there, or another process is making it."""
    parser = argparse.ArgumentParser(prog="python -m spark_shim.archive", description="Makes the class-data archive for Spark's JVM.")
    parser.add_argument("--cache", required=True, help="the directory that keeps archives")
    parser.add_argument("--java", help="the java binary; default: JAVA_HOME's, else the PATH's")
    parser.add_argument("--spark-home", help="default: SPARK_HOME, else that of this Python's pyspark package")
    options = parser.parse_args(arguments)
    env = dict(os.environ)
    try:
        os.nice(10)
        print(make_archive(options.cache, find_java(options.java, env), find_spark_home(options.spark_home, sys.executable, env)))
    except (SparkNotFound, OSError, RuntimeError, subprocess.SubprocessError) as error:
        print("No class-data archive: %s" % error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
