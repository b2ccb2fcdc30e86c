"""A real Spark that stops its own SparkContext: what statements say of it, and how they go on in the same interpreter."""

from __future__ import annotations

from textwrap import dedent
from typing import Iterator

import pytest
from interpreter_kit import InterpreterProcess, Outcome, SparkJvm

pytestmark = pytest.mark.spark

#: As Spark does it: user code is not asked.
STOP = "sc._jsc.sc().stop()"
JOB = "sc.parallelize([1, 2], 2).count()"


@pytest.fixture(scope="module")
def jvm() -> Iterator[SparkJvm]:
    started = SparkJvm(**{"spark.longwick.test": "as the session was made"})
    yield started
    started.close()


@pytest.fixture
def stopped(jvm: SparkJvm) -> Iterator[InterpreterProcess]:
    """One with a variable, a view and a SparkContext that has stopped itself."""
    with InterpreterProcess(jvm.gateway(attach=True)) as process:
        assert process.run("kept = 41\nspark.range(3).createOrReplaceTempView('v')").outcome == "ok"
        assert process.run(STOP).outcome == "ok"
        yield process


def told(outcome: Outcome) -> str:
    """The error's last paragraph."""
    assert outcome.outcome == "error", outcome.emits
    assert all(line.endswith("\n") for line in outcome.error["traceback"])
    return outcome.traceback.rpartition("\n\n")[2]


def advice(outcome: Outcome) -> str:
    """The code that the error names."""
    words = told(outcome)
    assert words.startswith("Spark has stopped itself") and "variables of\nPython are still there" in words
    return words.splitlines()[-1].strip()


def value(interpreter: InterpreterProcess, code: str) -> str:
    outcome = interpreter.run(dedent(code))
    assert outcome.outcome == "ok", outcome.emits
    return str(outcome.result["text/plain"])


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (JOB, "pyspark"),
        ("spark.range(3).repartition(2).count()", "pyspark"),
        ("try:\n    %s\nexcept Exception as error:\n    raise ValueError('mine') from error" % JOB, "pyspark"),
        ("select count(*) from v", "sql"),
        ("%%sql\nselect count(*) from v", "pyspark"),
    ],
)
def test_an_error_says_that_spark_stopped_itself_and_how_to_go_on(stopped: InterpreterProcess, code: str, kind: str) -> None:
    outcome = stopped.run(code, kind)
    assert value(stopped, "kept") == "41"
    # What the error says is run as it stands.
    assert stopped.run(advice(outcome)).outcome == "ok"
    assert (value(stopped, JOB), value(stopped, "kept + 1")) == ("2", "42")


def test_the_new_application_is_the_sessions_by_all_its_names(stopped: InterpreterProcess) -> None:
    before = stopped.ready["facts"]
    assert stopped.run(advice(stopped.run(JOB))).outcome == "ok"
    facts = stopped.take(lambda message: message["is"] == "facts", "what there is of the new context")["facts"]
    assert facts["appId"] != before["appId"] and {**facts, "appId": None} == {**before, "appId": None}
    names = """
        from pyspark.sql import SparkSession
        each = (spark.sparkContext, sc, sqlContext.sparkSession.sparkContext, SparkSession.builder.getOrCreate().sparkContext)
        [context.applicationId for context in each] == 4 * [%r]
    """
    assert value(stopped, names % facts["appId"]) == "True"
    assert value(stopped, "sc.getConf().get('spark.longwick.test'), sc.master, spark.catalog.listTables()") == (
        "('as the session was made', 'local[2]', [])"
    )
    assert stopped.run("select 1 as a", "sql").result["application/json"]["data"] == [[1]]
    number = stopped.start("import time\nsc.parallelize(range(100), 4).map(lambda v: time.sleep(5)).count()")
    stopped.wait_for_emit(number, "progress")
    assert stopped.cancel_by_ladder(number).outcome == "cancelled"
    # The names that user code has given to something else are its own.
    stopped.run("sc = 'mine'\ndel sqlContext\nspark.stop()\nspark.builder.getOrCreate()")
    assert value(stopped, "sc, 'sqlContext' in globals(), spark.range(3).count()") == "('mine', False, 3)"


def test_a_job_that_spark_stops_under_says_so(stopped: InterpreterProcess) -> None:
    stopped.run(advice(stopped.run(JOB)))
    code = """
        import threading, time
        scala = sc._jsc.sc()
        threading.Timer(1, scala.stop).start()
        sc.parallelize(range(2), 2).map(lambda v: time.sleep(60)).count()
    """
    outcome = stopped.run(dedent(code))
    assert "SparkContext was shut down" in outcome.error["evalue"] and advice(outcome)


def test_errors_that_have_nothing_to_do_with_it_say_nothing_of_it(jvm: SparkJvm, stopped: InterpreterProcess) -> None:
    assert told(stopped.run("sc.applicationId\n1/0")).endswith("ZeroDivisionError: division by zero\n")
    stopped.run(advice(stopped.run(JOB)))
    living = stopped.run("select nope from range(1)", "sql")
    stopped.run("spark.stop()")
    by_hand = stopped.run("spark.range(3).count()")
    for outcome in (living, by_hand):
        assert outcome.outcome == "error" and "stopped itself" not in outcome.traceback


def test_a_statement_without_spark_asks_the_jvm_nothing_and_can_be_interrupted(stopped: InterpreterProcess) -> None:
    stopped.run(JOB)
    assert stopped.run("1+1").done["jvm"] is False
    number = stopped.start("sc.applicationId\nprint('go')\nwhile True: pass")
    stopped.wait_for_emit(number, "stream")
    outcome = stopped.cancel_by_ladder(number)
    assert (outcome.outcome, outcome.error["ename"]) == ("cancelled", "KeyboardInterrupt")
    assert "stopped itself" not in outcome.traceback


def test_a_jvm_that_spark_ends_is_no_place_to_go_on_and_it_is_said() -> None:
    jvm = SparkJvm()
    try:
        with InterpreterProcess(jvm.gateway()) as process:
            # As on Kubernetes after too many failures: the exit waits for a hook, and Spark's own stops the context meanwhile.
            code = """
                import threading, time
                system = sc._jvm.java.lang.System
                never = sc._jvm.org.apache.spark.util.RedirectThread(getattr(system, 'in'), system.out, 'never', False)
                sc._jvm.java.lang.Runtime.getRuntime().addShutdownHook(never)
                threading.Thread(target=system.exit, args=(11,), daemon=True).start()
                scala = sc._jsc.sc()
                while not scala.isStopped(): time.sleep(0.01)
            """
            assert process.run(dedent(code)).outcome == "ok"
            words = told(process.run("spark.range(3).count()"))
    finally:
        jvm.close()
    assert words.startswith("Spark has stopped itself and ends its JVM") and "has to be saved now" in words
