"""The driver's JVM as this process sees it: attach, job groups, cancel, progress."""

from __future__ import annotations

import getpass
import os
import socket
import sys
import threading
import warnings
from typing import Any, Callable, Dict, Optional, Set

from .abandoned import AbandonedCalls
from .errors import contexts, is_a
from .gate import Gate
from .progress import Progress
from .statement import CURRENT, Statement
from .streams import Outputs

#: A JVM that lives says nothing to a new connection; one that dies has dropped it by then.
_DYING_SECONDS = 0.3
#: What Spark has heard but not taken note of gets so long.
_SETTLE_MS = 500

#: What is added to errors once Spark has stopped its SparkContext itself, or ends its JVM as well.
STOPPED_HINT = """
Spark has stopped itself; the session's log says why, if Spark did. Its data frames, temp views and cached data are gone, variables of
Python are still there. For a new application of Spark's with the session's settings, run in Python:
    spark.stop(); spark = spark.builder.getOrCreate()
"""
JVM_ENDS_HINT = """
Spark has stopped itself and ends its JVM; the session's log says why, if Spark did. Within a minute the session starts Spark and Python
anew, and variables are lost: what is needed of them has to be saved now.
"""


class Spark:
    """Attached once; survives the user's `spark.stop()` as long as the JVM lives."""

    def __init__(self, outputs: Outputs, gate: Gate) -> None:
        self._outputs = outputs
        self._gate = gate
        self._gateway: Any = None
        self._port: Optional[int] = None
        self._told: Any = None
        self._to_string: Any = None
        self._local = threading.local()
        #: Set when a statement turns to the JVM for the first time; whoever waits for that clears it.
        self.used = threading.Event()

    # ── Attach ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    @staticmethod
    def import_early() -> None:
        """What attaching needs, imported while the JVM still starts."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pyspark.sql  # noqa: F401  # registers the converters, too
        _leave_numpy_alone()

    def attach(self, port: int, secret: str, attach: bool, fresh: bool) -> Dict[str, Any]:
        """The names for the user's namespace. attach: use the SparkContext that is there; fresh: and clear what an earlier
        interpreter left. Raises what Spark raises."""
        from pyspark import SparkConf, SparkContext
        from pyspark.java_gateway import launch_gateway
        from pyspark.sql import SparkSession

        os.environ.update(PYSPARK_GATEWAY_PORT=str(port), PYSPARK_GATEWAY_SECRET=secret)
        try:
            gateway = launch_gateway()
        finally:
            # A Spark that the user's child processes start is their own.
            del os.environ["PYSPARK_GATEWAY_PORT"], os.environ["PYSPARK_GATEWAY_SECRET"]
        self._gateway, self._port = gateway, port
        SparkContext._ensure_initialized(gateway=gateway)
        _silence_error_loggers()
        session = self._existing_session() if attach else None
        if session is None:
            SparkSession.builder.getOrCreate()
        else:
            context = gateway.jvm.org.apache.spark.api.java.JavaSparkContext(session.sparkContext())
            conf = SparkConf(_jvm=gateway.jvm, _jconf=context.getConf())
            sc = SparkContext(jsc=context, gateway=gateway, conf=conf)
            self._end_orphans(sc, session, everything=fresh)
            spark = SparkSession(sc, session.newSession() if fresh else session)
            if fresh:
                _clear(spark)
        self._gate.install()
        self._watch_commands(gateway._gateway_client)
        return self.names()

    def names(self) -> Dict[str, Any]:
        """What a Spark shell's namespace has: `sc`, and `spark` and `sqlContext` as soon as the context has a session."""
        from pyspark.sql import SparkSession, SQLContext

        sc, spark = self._context(), SparkSession._instantiatedSession
        if spark is None or spark.sparkContext is not sc:
            return {"sc": sc}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return {"spark": spark, "sc": sc, "sqlContext": SQLContext(sc, spark)}

    def is_gone(self, error: BaseException) -> bool:
        """Whether the error is that of a connection to Spark, and nobody is there any more. A JVM that dies may still take connections."""
        if self._port is None or not _is_of_connection(error):
            return False
        try:
            with socket.create_connection(("127.0.0.1", self._port), timeout=1) as connection:
                connection.settimeout(_DYING_SECONDS)
                return not connection.recv(1)
        except socket.timeout:
            return False
        except OSError:
            return True

    def hint(self, error: BaseException) -> Optional[str]:
        """What a statement's error does not tell: that Spark has stopped the user's SparkContext, and how to go on; None: nothing. Asks the
        JVM only after an error that was the JVM's own answer."""
        sc = self._context()
        if sc is None or not _is_of_java(error):
            return None
        try:
            if not sc._jsc.sc().isStopped():
                return None
            return JVM_ENDS_HINT if self._gateway.jvm.org.apache.spark.util.ShutdownHookManager.inShutdown() else STOPPED_HINT
        except Exception:
            return None

    def facts(self) -> Dict[str, Any]:
        """What the `ready` message says of Spark."""
        import pyspark

        sc = self._told = self._context()
        return {
            "spark": str(sc.version) if sc else pyspark.__version__,
            "appId": str(sc.applicationId) if sc else None,
            "uiUrl": sc.uiWebUrl if sc else None,
            "sparkUser": str(sc.sparkUser()) if sc else _user(),
        }

    @property
    def renewed(self) -> bool:
        """Whether user code has made another SparkContext than the one that `facts` told of. Costs no question to the JVM."""
        sc = self._context()
        return sc is not None and sc is not self._told

    def session(self) -> Any:
        """The SparkSession of SQL statements: the active one, a new one when the user stopped it."""
        from pyspark.sql import SparkSession

        return SparkSession.builder.getOrCreate()

    def _existing_session(self) -> Any:
        """The JVM's default session whose context still lives, or None."""
        jvm = self._gateway.jvm
        sql = jvm.org.apache.spark.sql
        companion = sql.classic.SparkSession if _version() >= (4,) else sql.SparkSession
        default = companion.getDefaultSession()
        if default.isEmpty() or default.get().sparkContext().isStopped():
            companion.clearDefaultSession()
            companion.clearActiveSession()
            return None
        return default.get()

    def _end_orphans(self, sc: Any, session: Any, everything: bool) -> None:
        """Nobody waits for the jobs of the interpreter before; streaming queries go on unless everything is to end."""
        if everything:
            for query in session.streams().active():
                query.stop()
            sc.cancelAllJobs()
            return
        streams = {str(query.runId().toString()) for query in session.streams().active()}
        store = sc._jsc.sc().statusStore()
        for job in sc.statusTracker().getActiveJobsIds():
            group = store.job(job).jobGroup()
            if group.isEmpty() or group.get() not in streams:
                sc._jsc.sc().cancelJob(job)

    # ── Job groups ────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _watch_commands(self, client: Any) -> None:
        """Each thread that works for a statement gets the statement's job group with its first command to the JVM: code without Spark
        pays nothing, threads and renewed connections are covered. py4j has no hook for it but the client's own method."""
        send = client.send_command
        abandoned = AbandonedCalls(self._cancel_late_jobs)

        def abandon() -> None:
            # Interrupted between a question and its answer: the connection's next question would be given this one's answer.
            connection, statement = client.get_thread_connection(), CURRENT.get()
            client.thread_connection.connection = None
            if connection is not None and statement is not None:
                abandoned.add(connection, statement)

        def send_command(command: str, retry: bool = True, binary: bool = False) -> Any:
            statement = CURRENT.get()
            if statement is not None and getattr(self._local, "preparing", None) is not statement:
                self._before_command(client, statement, command)
            # py4j's own way with KeyboardInterrupt shuts down the connections of other threads too, even those it opens meanwhile.
            return self._gate.call(lambda: send(command, retry, binary), abandon)

        client.send_command = send_command

    def _before_command(self, client: Any, statement: Statement, command: str) -> None:
        if not statement.used_jvm:
            statement.used_jvm = True
            with self._gate:
                self.used.set()
        own = "\nsetJobGroup\n" in command
        if own:
            # The user's own group: its jobs are this statement's all the same.
            statement.groups.add(command.split("\n")[3][1:])
        connection = client.get_thread_connection()
        live = connection is not None and connection.socket is not None
        # A connection the JVM opened calls back from a thread with a group of its own (a stream's).
        if live and not connection.initiated_from_client:
            return
        known = live and getattr(connection, "longwick_statement", None) is statement
        if known and not own:
            return
        sc = self._context()
        if sc is None:
            return
        self._local.preparing = statement
        try:
            if not known:
                sc._jsc.setJobGroup(statement.group, "Statement %d" % statement.id, True)
            connection = client.get_thread_connection()
            if connection is not None:
                self._tag(sc, connection, statement if own else None)
                connection.longwick_statement = statement
        finally:
            self._local.preparing = None

    @staticmethod
    def _tag(sc: Any, connection: Any, statement: Optional[Statement]) -> None:
        """Other statements may use the user's group too: a tag tells whose the jobs are that the connection's thread starts from now on."""
        before = getattr(connection, "longwick_tagged", None)
        if before is statement:
            return
        if before is not None:
            sc._jsc.removeJobTag(before.group)
        if statement is not None:
            sc._jsc.addJobTag(statement.group)
        connection.longwick_tagged = statement

    @staticmethod
    def _context() -> Any:
        """The user's SparkContext, None while there is none: one that is being made is the active one before it is whole."""
        module = sys.modules.get("pyspark")
        sc = module.SparkContext._active_spark_context if module is not None else None
        return sc if getattr(sc, "_jsc", None) is not None else None

    def cancel_jobs(self, statement: Statement) -> int:
        """Any thread: cancels the jobs of a statement, and what it would still submit where Spark can (4.0). How many ran."""
        sc = self._context()
        if sc is None or not statement.used_jvm or sc._jsc.sc().isStopped():
            return 0
        running = len(self._running_jobs(sc, statement))
        for group in list(statement.groups):
            self._cancel_group(sc, statement, group)
        return running

    def _cancel_late_jobs(self, statement: Statement) -> None:
        """Spark does not keep a cancelled query from starting its next stage, in 3.5 not from starting at all."""
        sc = self._context()
        if sc is None:
            return
        self._cancel_group(sc, statement, statement.group)
        if len(statement.groups) > 1:
            # The next statement may use the user's group by now.
            for job in self._running_jobs(sc, statement):
                sc._jsc.sc().cancelJob(job)

    def _running_jobs(self, sc: Any, statement: Statement) -> Set[int]:
        active = self._numbers(sc._jsc.sc().statusTracker().getActiveJobIds())
        return active & self._jobs(sc, statement) if active else active

    def _jobs(self, sc: Any, statement: Statement) -> Set[int]:
        """A statement's jobs that Spark still knows."""
        tracker = sc._jsc.sc().statusTracker()
        jobs = self._numbers(tracker.getJobIdsForGroup(statement.group))
        theirs = statement.groups - {statement.group}
        if theirs:
            # What a tagged thread starts in a group of its own, a stream, has the tag too.
            tagged = self._numbers(tracker.getJobIdsForTag(statement.group))
            jobs.update(*(tagged & self._numbers(tracker.getJobIdsForGroup(group)) for group in theirs))
        return jobs

    def _numbers(self, array: Any) -> Set[int]:
        """What an array of the JVM's holds, in one trip: py4j would make one for each."""
        if self._to_string is None:
            self._to_string = self._gateway.jvm.java.util.Arrays.toString
        return {int(number) for number in self._to_string(array)[1:-1].split(",") if number}

    @staticmethod
    def _cancel_group(sc: Any, statement: Statement, group: str) -> None:
        # Of a group of the user's only what runs: the same code may use it again.
        future = group == statement.group and _version() >= (4,)
        scala = sc._jsc.sc()
        (scala.cancelJobGroupAndFutureJobs if future else scala.cancelJobGroup)(group)

    def mark_stdout(self, mark: str) -> bool:
        """Writes a mark to the JVM's standard output, after all that is there. False when the JVM cannot."""
        try:
            # Java's System.out flushes what print() writes.
            self._gateway.jvm.System.out.print(mark)
            return True
        except Exception:
            return False

    # ── Progress ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def progress(self, statement: Statement, seen: Progress) -> None:
        """Any thread: emits the statement's progress when it has jobs and something changed."""
        sc = self._context()
        if sc is not None and statement.used_jvm and seen.look(sc.statusTracker(), self._jobs(sc, statement)):
            self._outputs.emit("progress", statement, fraction=seen.fraction, jobs=seen.jobs())

    def settle(self) -> None:
        """What Spark tells of a job it learns a moment after the job's caller has its answer: waits until it knows, but not for long."""
        sc = self._context()
        if sc is None:
            return
        try:
            sc._jsc.sc().listenerBus().waitUntilEmpty(_SETTLE_MS)
        except Exception:
            pass  # other jobs, or a listener of the user's, keep it busy

    def executors(self) -> Optional[int]:
        """How many executors there are besides the driver; None when that cannot change (local mode) or cannot be told."""
        sc = self._context()
        if sc is None or (str(sc.master).startswith("local") and not str(sc.master).startswith("local-cluster")):
            return None
        # A context that Spark has stopped does not know the driver either.
        return max(0, int(sc._jsc.sc().statusTracker().getExecutorInfos().__len__()) - 1)


def _is_of_connection(error: BaseException) -> bool:
    """py4j's answer to a connection that ended is a plain Py4JError; what Java code raised is a subclass of it."""
    kind = type(error)
    return kind is OSError or issubclass(kind, ConnectionError) or kind.__name__ in ("Py4JError", "Py4JNetworkError")


def _is_of_java(error: BaseException) -> bool:
    """Whether Java code raised it, whatever PySpark or the user's code has made of it since."""
    from py4j.protocol import Py4JJavaError

    return any(is_a(each, Py4JJavaError) for each in (error, *contexts(error)))


def _version() -> Any:
    import pyspark

    return tuple(int(part) for part in pyspark.__version__.split(".")[:2])


def _user() -> Optional[str]:
    try:
        return getpass.getuser()
    except Exception:
        return None


def _silence_error_loggers() -> None:
    """PySpark 4 writes a JSON line with a whole Java stack to stderr for each error that user code catches."""
    try:
        from pyspark.logger import PySparkLogger
    except ImportError:
        return
    for name in ("SQLQueryContextLogger", "DataFrameQueryContextLogger"):
        PySparkLogger.getLogger(name).setLevel(100)


def _leave_numpy_alone() -> None:
    """PySpark 4 asks of every argument of a call to the JVM whether it is NumPy's, and to know whether NumPy can be imported it imports
    pandas, a quarter of a second and 70 MB. Nothing is NumPy's before somebody imported that."""
    from py4j.protocol import INPUT_CONVERTER

    for converter in INPUT_CONVERTER:
        if type(converter).__name__ in ("NumpyScalarConverter", "NumpyArrayConverter"):
            converter.can_convert = _once_imported("numpy", converter.can_convert)


def _once_imported(module: str, test: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: module in sys.modules and test(value)


def _clear(spark: Any) -> None:
    """What outlives a SparkSession's own temp views and settings: global temp views and everything cached."""
    spark.catalog.clearCache()
    for rdd in spark.sparkContext._jsc.getPersistentRDDs().values():
        rdd.unpersist(False)
    # Asking the catalog for their names would be a query, a tenth of a second even on an idle machine.
    spark._jsparkSession.sharedState().globalTempViewManager().clear()
