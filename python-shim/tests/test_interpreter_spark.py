"""The interpreter on a real Spark: names, SQL, displays, job groups, progress, interrupts, and a second life on the same JVM."""

from __future__ import annotations

import random
import re
import time
from textwrap import dedent
from typing import Any, Dict, Iterator, List

import pytest
from interpreter_kit import InterpreterProcess, SparkJvm
from kit import let_go

pytestmark = pytest.mark.spark


@pytest.fixture(scope="module")
def jvm() -> Iterator[SparkJvm]:
    started = SparkJvm()
    yield started
    started.close()


@pytest.fixture(scope="module")
def interpreter(jvm: SparkJvm) -> Iterator[InterpreterProcess]:
    with InterpreterProcess(jvm.gateway()) as process:
        assert process.ready["is"] == "ready", process.ready
        yield process


def plain(interpreter: InterpreterProcess, code: str) -> Any:
    outcome = interpreter.run(dedent(code))
    assert outcome.outcome == "ok", outcome.emits
    return outcome.result["text/plain"] if outcome.result else None


def sql(interpreter: InterpreterProcess, code: str) -> Any:
    outcome = interpreter.run(code, "sql")
    assert outcome.outcome == "ok", outcome.emits
    assert list(outcome.result) == ["application/json"]
    return outcome.result["application/json"]


def test_ready_tells_the_facts(interpreter: InterpreterProcess) -> None:
    facts = interpreter.ready["facts"]
    assert re.match(r"\d+\.\d+\.\d+", facts["spark"]) and re.match(r"\d+\.\d+\.\d+", facts["python"])
    assert facts["appId"].startswith("local-") and facts["sparkUser"] and facts["uiUrl"] is None


def test_the_names_of_a_spark_shell_are_there(interpreter: InterpreterProcess) -> None:
    assert plain(interpreter, "[type(x).__name__ for x in (spark, sc, sqlContext)]") == "['SparkSession', 'SparkContext', 'SQLContext']"
    assert plain(interpreter, "from pyspark.sql import SparkSession\nSparkSession.builder.getOrCreate() is spark") == "True"
    assert plain(interpreter, "import os; [k for k in os.environ if 'GATEWAY' in k or k.startswith('LONGWICK_')]") == "[]"


def test_frames_show_their_columns_and_run_no_job(interpreter: InterpreterProcess) -> None:
    outcome = interpreter.run("spark.range(3)")
    assert outcome.result == {"text/plain": "DataFrame[id: bigint]"}
    assert outcome.of("progress") == []


def test_display_shows_a_frames_rows(interpreter: InterpreterProcess) -> None:
    (shown,) = interpreter.run("display(spark.range(3))").of("display")
    assert "<td>2</td>" in shown["data"]["text/html"]
    assert shown["data"]["text/plain"] == "DataFrame[id: bigint]"


def test_eager_evaluation_is_the_users_to_set(interpreter: InterpreterProcess) -> None:
    interpreter.run("spark.conf.set('spark.sql.repl.eagerEval.enabled', True)")
    try:
        assert "<td>2</td>" in interpreter.run("spark.range(3)").result["text/html"]
    finally:
        interpreter.run("spark.conf.unset('spark.sql.repl.eagerEval.enabled')")


def test_show_prints(interpreter: InterpreterProcess) -> None:
    outcome = interpreter.run("spark.range(1).show()")
    assert outcome.text() == "+---+\n| id|\n+---+\n|  0|\n+---+\n\n"
    assert outcome.text("stderr") == ""


def test_python_workers_see_functions_of_the_session(interpreter: InterpreterProcess) -> None:
    interpreter.run("class Box:\n    def __init__(self, v): self.v = v\ndef double(x): return Box(x * 2)")
    assert plain(interpreter, "sc.parallelize([1, 2]).map(double).map(lambda box: box.v).collect()") == "[2, 4]"


def test_a_caught_analysis_error_writes_nothing(interpreter: InterpreterProcess) -> None:
    code = """
        for query in ("select * from nosuch", "selec"):
            try:
                spark.sql(query)
            except Exception as error:
                print(type(error).__name__)
    """
    before = len(interpreter.raw[2])
    outcome = interpreter.run(dedent(code))
    assert (outcome.text(), outcome.text("stderr")) == ("AnalysisException\nParseException\n", "")
    assert len(interpreter.raw[2]) - before < 20


def test_table_of_a_frame(interpreter: InterpreterProcess) -> None:
    code = "f = spark.sql(\"select 1 as a, 'x' as b, 1.50 as c, date'2020-01-02' as d, named_struct('y', 1) as s\")\n%table f"
    table = interpreter.run(code).result["application/vnd.livy.table.v1+json"]
    assert [header["type"] for header in table["headers"]] == ["INT_TYPE", "STRING_TYPE", "DECIMAL_TYPE", "DATE_TYPE", "MAP_TYPE"]
    assert table["data"] == [[1, "x", "1.50", "2020-01-02", {"y": 1}]]


# ── SQL ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_sql_says_each_type_exactly(interpreter: InterpreterProcess) -> None:
    query = """
        select 1 as a, 'é' as b, cast(1.50 as decimal(5,2)) as c, date'2020-01-02' as d, timestamp'2020-01-02 03:04:05.000123' as e,
          null as f, array(1, null) as g, map('k', 1) as h, named_struct('x', 1, 'y', cast(2.50 as decimal(9,2))) as i,
          cast('ab' as binary) as j, cast('nan' as double) as k, 9007199254740993L as l, timestamp_ntz'2020-01-02 03:04:05' as m,
          interval '1 02:03:04' day to second as n, interval '1-2' year to month as o, map(date'2020-01-02', true) as p,
          cast('-infinity' as float) as q, cast(3 as tinyint) as r, 1 as a
    """
    answer = sql(interpreter, query)
    names = [field["name"] for field in answer["schema"]["fields"]]
    assert answer["schema"]["type"] == "struct" and set(answer["schema"]["fields"][0]) == {"name", "type", "nullable", "metadata"}
    (row,) = answer["data"]
    values: Dict[str, Any] = dict(zip(names[:-1], row[:-1]))
    assert (names[-1], row[-1]) == ("a", 1)
    assert values["e"] == "2020-01-02T03:04:05.000123Z"
    del values["e"]
    assert list(values.values()) == [
        *(1, "é", "1.50", "2020-01-02", None, [1, None], {"k": 1}, {"x": 1, "y": "2.50"}, "YWI=", "NaN", "9007199254740993"),
        *("2020-01-02T03:04:05", "1 day, 2:03:04", "INTERVAL '1-2' YEAR TO MONTH", {"2020-01-02": True}, "-Infinity", 3),
    ]
    assert "truncated" not in answer


def test_timestamps_are_in_the_sessions_time_zone(interpreter: InterpreterProcess) -> None:
    instants = "select timestamp_micros(1577934245000001), timestamp_seconds(1603585800), timestamp_seconds(1603589400)"
    interpreter.run("spark.conf.set('spark.sql.session.timeZone', 'Europe/Berlin')")
    try:
        said = sql(interpreter, instants)["data"][0]
    finally:
        interpreter.run("spark.conf.unset('spark.sql.session.timeZone')")
    known = plain(interpreter, "import importlib.util; importlib.util.find_spec('zoneinfo') is not None") == "True"
    berlin = ["2020-01-02T04:04:05.000001+01:00", "2020-10-25T02:30:00+02:00", "2020-10-25T02:30:00+01:00"]
    utc = ["2020-01-02T03:04:05.000001Z", "2020-10-25T00:30:00Z", "2020-10-25T01:30:00Z"]
    assert said == (berlin if known else utc)


def test_commands_answer_an_empty_schema_and_views_are_shared(interpreter: InterpreterProcess) -> None:
    created = sql(interpreter, "create or replace temp view v as select 7 as seven")
    assert created == {"schema": {"type": "struct", "fields": []}, "data": []}
    assert interpreter.run("spark.table('v').show()").text() == "+-----+\n|seven|\n+-----+\n|    7|\n+-----+\n\n"
    assert ["", "v", True] in sql(interpreter, "show tables")["data"]


def test_more_rows_than_the_limit_are_cut_and_it_is_said(interpreter: InterpreterProcess) -> None:
    cut = interpreter.run("select id from range(1500)", "sql")
    answer = cut.result["application/json"]
    assert answer["data"] == [[i] for i in range(1000)]
    assert (answer["truncated"], answer["rowLimit"]) == (True, 1000)
    assert cut.of("result")[0]["metadata"] == {"application/json": {"truncated": True, "rowLimit": 1000}}
    whole = sql(interpreter, "select id from range(1000)")
    assert len(whole["data"]) == 1000 and "truncated" not in whole


def test_rows_too_big_for_one_record_are_cut_and_it_is_said(interpreter: InterpreterProcess) -> None:
    answer = sql(interpreter, "select repeat('x', 200000) as x from range(500)")
    assert (answer["truncated"], answer["rowLimit"], len(answer["data"])) == (True, 100, 100)


@pytest.mark.parametrize(
    ("code", "ename", "part"),
    [
        ("select * from nosuch", "AnalysisException", "TABLE_OR_VIEW_NOT_FOUND"),
        ("selec", "ParseException", "PARSE_SYNTAX_ERROR"),
        ("", "ParseException", "Syntax error"),
        ("select 1; select 2", "ParseException", "extra input"),
    ],
)
def test_sql_errors_are_sparks_words_alone(interpreter: InterpreterProcess, code: str, ename: str, part: str) -> None:
    outcome = interpreter.run(code, "sql")
    assert (outcome.outcome, outcome.error["ename"]) == ("error", ename)
    assert part in outcome.error["evalue"]
    assert "File" not in outcome.traceback and all(line.endswith("\n") for line in outcome.error["traceback"])


def test_an_error_while_rows_are_made_is_an_error(interpreter: InterpreterProcess) -> None:
    outcome = interpreter.run("select raise_error('in the row') from range(2)", "sql")
    assert outcome.outcome == "error" and "in the row" in outcome.error["evalue"]


# ── Jobs ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_code_without_spark_costs_no_trip_to_the_jvm(interpreter: InterpreterProcess) -> None:
    assert interpreter.run("1+1").done["jvm"] is False
    assert interpreter.run("sc.version").done["jvm"] is True


def test_the_jvms_own_output_comes_before_its_mark(interpreter: InterpreterProcess, jvm: SparkJvm) -> None:
    outcome = interpreter.run("sc._jvm.System.out.println('from the JVM')")
    mark = b"\x1eM%d\x1f" % outcome.done["barrier"]
    interpreter.until(lambda: mark in jvm.stdout, "the mark on the JVM's output")
    assert b"from the JVM\n" in jvm.stdout.partition(mark)[0]


def test_each_statements_jobs_are_in_its_group_also_from_threads(interpreter: InterpreterProcess) -> None:
    code = """
        import threading
        def job():
            sc.parallelize([1], 1).count()
            groups.append(sc.getLocalProperty('spark.jobGroup.id'))
        groups = []
        job()
        threads = [threading.Thread(target=job) for _ in range(2)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        set(groups)
    """
    first, second = plain(interpreter, code), plain(interpreter, code)
    assert first != second and first.count("group-") == second.count("group-") == 1


def test_progress_grows_and_ends_at_one(interpreter: InterpreterProcess) -> None:
    gates = [interpreter.path("tasks-%d" % number) for number in range(3)]
    code = """
        import os, time
        gates = %r
        def held(v):
            while not os.path.exists(gates[v // 4]): time.sleep(0.01)
            return v %% 2, v
        sc.parallelize(range(12), 12).map(held).reduceByKey(lambda a, b: a + b, 2).collect()
    """
    number = interpreter.start(dedent(code) % gates)
    seen: List[Any] = []
    for step, gate in enumerate(gates):
        while not seen or seen[-1]["jobs"][0]["stages"][0]["completed"] < 4 * step:
            seen.append(interpreter.wait_for_emit(number, "progress"))
        let_go(gate)
    seen += interpreter.finish(number).of("progress")
    fractions = [emit["fraction"] for emit in seen]
    assert len(set(fractions)) >= 4 and fractions == sorted(fractions) and (fractions[0], fractions[-1]) == (0.0, 1.0)
    stage = seen[-1]["jobs"][0]["stages"][0]
    assert stage["tasks"] == 12 and set(stage) == {"stage", "name", "tasks", "active", "completed", "failed"}


def test_progress_tells_of_no_more_jobs_than_spark_remembers() -> None:
    jvm = SparkJvm(**{"spark.ui.retainedJobs": "5"})
    try:
        with InterpreterProcess(jvm.gateway()) as process:
            told = process.run("for i in range(40): sc.parallelize([1], 1).count()").of("progress")[-1]
    finally:
        jvm.close()
    assert told["fraction"] == 1.0
    assert 0 < len(told["jobs"]) < 20 and max(job["job"] for job in told["jobs"]) == 39


#: Spark looks for its task's end once in a thousand rows of `range`, so what is joined with each must be short.
JOBS = [
    "import time\nkept = 1\nsc.parallelize(range(100), 4).map(lambda v: time.sleep(5)).count()",
    "kept = 1\nspark.range(10**8).crossJoin(spark.range(1000)).selectExpr('sum(hash(1))').collect()",
    "kept = 1\nwhile True: sc.parallelize([1], 1).count()",
    "kept = 1\nimport time\nsc.setJobGroup('mine', 'my own', True)\nsc.parallelize(range(100), 4).map(lambda v: time.sleep(5)).count()",
]


@pytest.mark.parametrize("code", JOBS)
def test_an_interrupt_reaches_sparks_jobs(interpreter: InterpreterProcess, code: str) -> None:
    number = interpreter.start(code)
    interpreter.wait_for_emit(number, "progress")
    outcome = interpreter.cancel_by_ladder(number)
    assert (outcome.outcome, outcome.error["ename"]) == ("cancelled", "KeyboardInterrupt")
    assert plain(interpreter, "kept") == "1"
    interpreter.until(lambda: plain(interpreter, "sc.statusTracker().getActiveJobsIds()") == "[]", "no job to run any more")
    assert plain(interpreter, "sc.parallelize([1, 2], 2).count()") == "2"


def test_a_query_that_is_interrupted_at_any_moment_goes_on_to_no_job(interpreter: InterpreterProcess) -> None:
    moments = random.Random(5)
    for _ in range(8):
        number = interpreter.start("print('go')\n" + JOBS[1])
        interpreter.wait_for_emit(number, "stream")
        time.sleep(moments.uniform(0.0, 0.3))
        assert interpreter.cancel_by_ladder(number).outcome == "cancelled"
    interpreter.until(lambda: plain(interpreter, "sc.statusTracker().getActiveJobsIds()") == "[]", "no job to run any more")
    assert plain(interpreter, "sc.parallelize([1, 2], 2).count()") == "2"


def test_a_group_of_the_users_own_can_be_used_again_after_a_cancel(interpreter: InterpreterProcess) -> None:
    group = "sc.setJobGroup('mine', 'my own', True)\n"
    number = interpreter.start(group + "import time\nsc.parallelize(range(100), 4).map(lambda v: time.sleep(5)).count()")
    interpreter.wait_for_emit(number, "progress")
    assert interpreter.cancel_by_ladder(number).outcome == "cancelled"
    assert plain(interpreter, group + "sc.parallelize([1, 2], 2).count()") == "2"


def test_a_job_that_starts_late_in_the_users_group_does_not_keep_the_next_statement_waiting(interpreter: InterpreterProcess) -> None:
    group = "sc.setJobGroup('mine', 'my own', True)\n"
    # The expression is folded before there is a job, for some 10^9 steps.
    folded = "length(regexp_replace(repeat('a', 40000), 'a[^c]*c', ''))"
    interpreter.run('late = spark.range(10**13).selectExpr("sum(hash(id, %s))")' % folded)
    interpreter.run("def known(): return len(sc.statusTracker().getJobIdsForGroup('mine'))\nbefore = known()")
    # Whoever sees the JVM at it knows that `collect` has been called.
    code = """
        import threading, time
        def seen():
            stacks = sc._jvm.java.lang.Thread.getAllStackTraces().values().toArray()
            return 'RegExpReplace' in sc._jvm.java.util.Arrays.deepToString(stacks)
        def tell():
            while known() == before and not seen(): time.sleep(0.05)
            print('go')
        threading.Thread(target=tell).start()
        late.collect()
    """
    number = interpreter.start(group + dedent(code))
    interpreter.wait_for_emit(number, "stream")
    assert interpreter.cancel_by_ladder(number).outcome == "cancelled"
    until_it_came = "import time\nwhile known() == before: time.sleep(0.01)\n"
    assert plain(interpreter, group + until_it_came + "sc.parallelize([1, 2], 2).count()") == "2"
    interpreter.until(lambda: plain(interpreter, "sc.statusTracker().getActiveJobsIds()") == "[]", "no job to run any more")
    again = interpreter.run(group + "import time\nsc.parallelize([1], 1).map(lambda v: time.sleep(1)).count()")
    assert {len(emit["jobs"]) for emit in again.of("progress")} == {1}


def test_a_cancel_at_a_statements_end_hits_no_job_of_the_next(interpreter: InterpreterProcess) -> None:
    # So many groups take a while to be cancelled.
    first = interpreter.start("for i in range(500): sc.setJobGroup('g%d' % i, '')\nprint('go')")
    second = interpreter.start("import time\nsc.setJobGroup('g7', '')\nsc.parallelize([1], 1).map(lambda v: time.sleep(2)).count()")
    interpreter.wait_for_emit(first, "stream")
    interpreter.send({"do": "cancelJobs", "request": 0, "statement": first})
    assert interpreter.finish(second).outcome == "ok"


def test_a_cancel_ends_the_jobs_of_a_statements_threads(interpreter: InterpreterProcess) -> None:
    code = """
        import threading, time
        def job():
            try:
                sc.parallelize(range(9), 4).map(lambda v: time.sleep(60)).count()
            except Exception as error:
                print('ended:', 'cancelled' in str(error))
        thread = threading.Thread(target=job)
        thread.start()
        while thread.is_alive(): thread.join(0.1)
    """
    number = interpreter.start(dedent(code))
    interpreter.wait_for_emit(number, "progress")
    interpreter.wait_for_text(number, "ended: True\n", interpreter.cancel_by_ladder(number).text())


def test_an_interrupt_in_a_blocked_jvm_call_leaves_the_answers_in_step(interpreter: InterpreterProcess) -> None:
    number = interpreter.start("print('go')\nsc._jvm.Thread.sleep(60_000)")
    interpreter.wait_for_emit(number, "stream")
    outcome = interpreter.cancel_by_ladder(number)
    assert (outcome.outcome, outcome.error["ename"], outcome.text("stderr")) == ("cancelled", "KeyboardInterrupt", "")
    assert plain(interpreter, "[sc._jvm.String.valueOf(i) for i in range(3)]") == "['0', '1', '2']"
    assert plain(interpreter, "import logging; logging.getLogger().handlers") == "[]"


def test_signals_at_any_moment_leave_the_answers_in_step(interpreter: InterpreterProcess) -> None:
    moments = random.Random(7)
    for call in ["sc._jvm.String.valueOf(1)", "spark.range(3).collect()", "sc.parallelize([1], 1).count()"] * 4:
        number = interpreter.start("print('go')\nwhile True: " + call)
        emits = [interpreter.wait_for_emit(number, "stream")]
        time.sleep(moments.uniform(0.0, 0.2))
        outcome = interpreter.cancel_over_and_over(number, moments, emits)
        assert (outcome.outcome, outcome.error["ename"], outcome.text("stderr")) == ("cancelled", "KeyboardInterrupt", ""), call
        assert plain(interpreter, "[sc._jvm.String.valueOf(i) for i in range(3)]") == "['0', '1', '2']"


def test_an_interrupt_of_a_wait_for_a_stream_leaves_the_stream_running(interpreter: InterpreterProcess) -> None:
    code = """
        query = spark.readStream.format('rate').load().writeStream.format('memory').queryName('ticks').start()
        print('go')
        query.awaitTermination()
    """
    number = interpreter.start(dedent(code))
    interpreter.wait_for_emit(number, "stream")
    assert interpreter.cancel_by_ladder(number).outcome == "cancelled"
    assert plain(interpreter, "query.isActive") == "True"
    interpreter.run("query.stop()")


def test_an_interrupted_sql_statement_is_cancelled(interpreter: InterpreterProcess) -> None:
    number = interpreter.start("select sum(hash(a.id)) from range(100000000) a cross join range(1000) b", "sql")
    interpreter.wait_for_emit(number, "progress")
    assert interpreter.cancel_by_ladder(number).outcome == "cancelled"
    assert sql(interpreter, "select 1 as a")["data"] == [[1]]


def test_completion_knows_tables_columns_and_living_objects(interpreter: InterpreterProcess) -> None:
    def complete(code: str, kind: str) -> Any:
        return interpreter.request({"do": "complete", "code": code, "kind": kind, "cursor": len(code)})["result"]

    interpreter.run("create or replace temp view people as select 1 as age, 'a' as name", "sql")
    interpreter.run("people = spark.table('people')")
    running = interpreter.start("import time\nprint('go')\ntime.sleep(3600)")
    interpreter.wait_for_emit(running, "stream")
    assert "select" in complete("sel", "sql")["matches"] and "SELECT" in complete("SEL", "sql")["matches"]
    assert "people" in complete("select * from peo", "sql")["matches"]
    reply = complete("select people.na", "sql")
    assert (reply["matches"], reply["start"], reply["end"]) == (["name"], 14, 16)
    assert any(match.endswith("parquet") for match in complete("spark.read.par", "pyspark")["matches"])
    assert any(match.endswith("groupBy") for match in complete("people.group", "pyspark")["matches"])
    told = interpreter.request({"do": "inspect", "code": "select * from people", "kind": "sql", "cursor": 17, "detail": 0})["result"]
    assert told["data"]["text/plain"] == "people\nage int NOT NULL\nname string NOT NULL"
    interpreter.cancel(running)
    interpreter.finish(running)


# ── A second life: these leave the shared interpreter behind, so they come last ───────────────────────────────────────────────


def test_a_stopped_session_can_be_built_anew(interpreter: InterpreterProcess) -> None:
    assert plain(interpreter, "spark.stop()") is None
    code = """
        from pyspark.sql import SparkSession
        spark = SparkSession.builder.master('local[2]').appName('anew').getOrCreate()
        sc = spark.sparkContext
        sc.parallelize([1, 2]).count()
    """
    assert plain(interpreter, code) == "2"
    facts = interpreter.take(lambda message: message.get("is") == "facts", "what there is of the new context")["facts"]
    assert {**facts, "appId": None} == {**interpreter.ready["facts"], "appId": None}
    assert repr(facts["appId"]) == plain(interpreter, "sc.applicationId") != repr(interpreter.ready["facts"]["appId"])
    assert sql(interpreter, "select 1 as a")["data"] == [[1]]
    number = interpreter.start("print('go')\nwhile True: pass")
    interpreter.wait_for_emit(number, "stream")
    interpreter.cancel(number)
    assert interpreter.finish(number).outcome == "cancelled"


def shown(interpreter: InterpreterProcess, code: str) -> List[Any]:
    outcome = interpreter.run_cell(code)
    assert outcome.outcome == "ok", outcome.emits
    return [each["data"] for each in outcome.emits if each["type"] == "display"]


def test_sql_magic_shows_a_table_and_gives_rows_to_python(interpreter: InterpreterProcess) -> None:
    (table,) = shown(interpreter, "%%sql -o rows\nselect id, concat('<', id) as text from range(3)")
    assert table["text/plain"].splitlines() == ["id  text", "0   <0", "1   <1", "2   <2"]
    assert "&lt;2</td>" in table["text/html"]
    assert plain(interpreter, "list(rows['text']) if hasattr(rows, 'columns') else [row.text for row in rows]") == "['<0', '<1', '<2']"
    (short,) = shown(interpreter, "%%sql -n 2\nselect id from range(5);")
    assert "Only the first 2 rows are shown" in short["text/html"]
    assert shown(interpreter, "%%sql -q -o quiet -n -1\nselect id from range(5)") == []
    assert plain(interpreter, "len(quiet)") == "5"
    assert shown(interpreter, "%%sql\ncreate or replace temp view v as select 1 as one") == []
    error = interpreter.run_cell("%%sql\nselect nope from v").emits[-1]
    assert error["type"] == "error" and "nope" in error["evalue"]


def test_a_new_interpreter_finds_the_views_and_ends_the_orphans_jobs(jvm: SparkJvm, interpreter: InterpreterProcess) -> None:
    application = plain(interpreter, "sc.applicationId")
    sql(interpreter, "create or replace temp view kept as select 5 as five")
    orphan = interpreter.start("import time\nsc.parallelize(range(100), 4).map(lambda v: time.sleep(60)).count()")
    interpreter.wait_for_emit(orphan, "progress")
    interpreter.close()
    with InterpreterProcess(jvm.gateway(attach=True)) as again:
        assert again.ready["facts"]["appId"] == application.strip("'")
        assert sql(again, "select * from kept")["data"] == [[5]]
        again.until(lambda: plain(again, "sc.statusTracker().getActiveJobsIds()") == "[]", "the orphan's job to end")
        assert plain(again, "sc.parallelize([1, 2]).map(lambda v: v + 1).collect()") == "[2, 3]"


def test_a_fresh_interpreter_finds_no_views_no_cache_and_no_jobs(jvm: SparkJvm) -> None:
    with InterpreterProcess(jvm.gateway(attach=True)) as before:
        sql(before, "create or replace temp view kept as select 5 as five")
        sql(before, "create or replace global temp view everywhere as select 6 as six")
        before.run(
            "spark.conf.set('spark.sql.shuffle.partitions', 77)\nspark.range(10).cache().count()\nsc.parallelize([1]).cache().count()"
        )
        before.run("q = spark.readStream.format('rate').load().writeStream.format('memory').queryName('ticks').start()")
    with InterpreterProcess(jvm.gateway(attach=True, fresh=True)) as fresh:
        assert sql(fresh, "show tables in global_temp")["data"] == []
        assert plain(fresh, "spark.conf.get('spark.sql.shuffle.partitions')") == "'2'"
        assert plain(fresh, "sc._jsc.getPersistentRDDs().size(), len(spark.streams.active)") == "(0, 0)"
        assert plain(fresh, "sc.parallelize([1, 2]).count()") == "2"
        assert plain(fresh, "SparkSession = type(spark)\nSparkSession.builder.getOrCreate().range(3).count()") == "3"


@pytest.mark.needs("numpy")
def test_nothing_of_numpy_is_imported_before_it_is_wanted_and_its_values_are_understood(jvm: SparkJvm) -> None:
    with InterpreterProcess(jvm.gateway(attach=True)) as process:
        assert plain(process, "spark.range(3).where('id > 0').count()") == "2"
        assert plain(process, "import sys; {'numpy', 'pandas'} & set(sys.modules)") == "set()"
        assert plain(process, "import numpy\nspark.range(3).limit(numpy.int64(2)).count()") == "2"
        assert plain(process, "sc._jvm.String.valueOf(numpy.int64(7))") == "'7'"


def test_a_gateway_that_is_not_there_is_a_failure_with_a_reason() -> None:
    with InterpreterProcess({"port": 1, "secret": "x", "attach": False}) as process:
        assert process.ready["is"] == "failed"
        assert "Connection refused" in process.ready["reason"]
