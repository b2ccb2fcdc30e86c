"""Both halves with a real Spark: what no stand-in can show."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Iterator

import pytest
from kit import SHIM, Client, Driver, wait_for

pytestmark = pytest.mark.spark

CONF = {
    "spark.master": "local[2]",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.sql.shuffle.partitions": "2",
}


@pytest.fixture(scope="module")
def driver() -> Iterator[Driver]:
    with Driver(real=True, conf=CONF) as driver:
        driver.start()
        yield driver


@pytest.fixture
def client(driver: Driver) -> Client:
    client = driver.connect()
    while client.until(lambda record: record["type"] == "interpreter")["phase"] != "ready":
        client.records = [record for record in client.records if record["type"] != "interpreter"]
    return client


def prints(client: Client, code: str) -> str:
    id, outcome = client.run(code)
    assert outcome == "ok", client.of(id)
    return client.text(id)


def test_a_session_answers(client: Client) -> None:
    assert "499999500000" in prints(client, "spark.range(10**6).selectExpr('sum(id)').show()")
    id, _ = client.run("1 + 1")
    assert client.of(id, "result")[0]["data"]["text/plain"] == "2"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import os; os._exit(3)", "exited with code 3"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "killed by SIGKILL"),
    ],
)
def test_temp_views_and_cache_survive_a_crash_and_the_queue_goes_on(driver: Driver, client: Client, code: str, words: str) -> None:
    app = prints(client, "spark.range(5).createOrReplaceTempView('kept'); kept = 1; print(sc.applicationId)")
    id = client.submit("print('so far'); print('last words')\n" + code)
    after = client.submit("print(spark.table('kept').count(), 'kept' in globals(), sc.applicationId)")
    assert client.finished(id)["outcome"] == "lost" and words in client.error(id)["evalue"]
    assert client.text(id) == "so far\nlast words\n"
    assert client.finished(after)["outcome"] == "ok" and client.text(after) == "5 False " + app
    assert "6" in prints(client, "print(sc.parallelize(range(4)).map(lambda x: x).sum())")


@pytest.mark.parametrize(
    "code",
    [
        "while True: pass",
        "import time; time.sleep(3600)",
        "input('blocked? ')",
        "spark.range(10**12).selectExpr('sum(id % 7)').collect()",
        "import time; sc.parallelize(range(2), 2).map(lambda x: time.sleep(3600)).collect()",
        "spark._jvm.java.lang.Thread.sleep(3600000)",
    ],
)
def test_interrupt_reaches_python_spark_and_the_jvm(client: Client, code: str) -> None:
    client.run("kept = 1; spark.range(5).createOrReplaceTempView('kept')")
    id = client.submit(code, stdin=True)
    client.until(lambda record: record["type"] == "started" and record["statement"] == id)
    time.sleep(1.0)  # so that mostly the job is under way; what is interrupted sooner ends the same
    client.ask("interrupt")
    end = client.finished(id)
    assert (end["outcome"], client.error(id)["ename"]) == ("cancelled", "KeyboardInterrupt"), client.of(id)
    assert prints(client, "print(kept, spark.table('kept').count())") == "1 5\n"


def test_a_stuck_c_call_is_ended_by_the_last_rung_and_temp_views_are_kept(client: Client) -> None:
    client.run("spark.range(5).createOrReplaceTempView('kept')")
    # A mutex taken twice, with Python's lock held: nothing in this process can answer any more, and no interrupt before keeps it from that.
    id = client.submit(
        "import ctypes; c = ctypes.PyDLL(None); m = ctypes.create_string_buffer(64)\n"
        "while True:\n"
        "  try:\n"
        "    print('go', flush=True)\n"
        "    while True: c.pthread_mutex_lock(m)\n"
        "  except KeyboardInterrupt: pass"
    )
    client.until(lambda record: record["type"] == "stream" and record["statement"] == id)
    client.ask("cancel", statement=id, restart=False)
    client.until(lambda record: record["type"] == "cancelling" and record["statement"] == id and record["rung"] == "signal")
    time.sleep(1.0)  # the rule: a second cancel counts one second after the first
    client.ask("cancel", statement=id, restart=False)
    assert client.finished(id)["rung"] == "restart" and "variables are lost" in client.error(id)["evalue"]
    assert prints(client, "print(spark.table('kept').count())") == "5\n"


def test_a_restart_clears_views_cache_and_variables(client: Client) -> None:
    app = prints(client, "spark.range(5).cache().createOrReplaceTempView('gone'); gone = 1; print(sc.applicationId)")
    seen = len(client.records)
    client.ask("restart")
    while not any(record["type"] == "interpreter" and record["phase"] == "ready" for record in client.records[seen:]):
        client.pump()
    code = "print('gone' in globals(), spark.catalog.tableExists('gone'), len(sc._jsc.getPersistentRDDs()), sc.applicationId)"
    assert prints(client, code) == "False False 0 " + app


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("import os\nif os.fork() == 0: os._exit(0)\nos.wait(); print('parent')", "parent\n"),
        ("import os\npid = os.fork()\nif pid: os.waitpid(pid, 0); print('parent')", "parent\n"),
        ("print('a\\ud800b')", "a\ufffdb\n"),
        ("import os; os.close(1); os.close(2)", ""),
        ("class Rude(Exception):\n  def __str__(self): raise ValueError\ntry: raise Rude()\nexcept Rude: print('caught')", "caught\n"),
    ],
)
def test_a_statement_that_hurts_its_own_process_leaves_a_driver_that_answers(client: Client, code: str, text: str) -> None:
    assert prints(client, code) == text
    for _ in range(3):
        assert prints(client, "print(spark.range(3).count())") == "3\n"


def test_what_the_shell_and_the_jvm_write_is_the_statements_but_not_pythons(client: Client) -> None:
    id, _ = client.run("import os; os.system('echo shell'); spark._jvm.System.out.println('from java'); print('python')")
    assert client.text(id) == "python\n"
    assert "shell\n" in client.text(id, via="process") and "from java\n" in client.text(id, via="process")


@pytest.mark.parametrize("code", ["import sys; sys.exit(3)", "raise SystemExit", "def f(): f()\nf()"])
def test_exits_and_deep_recursion_are_errors_of_the_statement(client: Client, code: str) -> None:
    id, outcome = client.run(code)
    assert outcome == "error" and client.of(id, "error")
    assert prints(client, "print(1)") == "1\n"


def test_a_hundred_megabytes_of_print_leave_a_driver_that_answers(client: Client) -> None:
    id, outcome = client.run("for i in range(1000): print('x' * 99_999)")
    assert outcome == "ok"
    dropped = sum(mark["bytes"] for mark in client.of(id, "dropped"))
    assert len(client.text(id)) + dropped == 100_000_000
    assert prints(client, "print(1)") == "1\n"


@pytest.mark.parametrize("code", ["import time; time.sleep(3600)", "sc._jvm.Thread.sleep(3600000)", "spark.range(10**12).count()"])
def test_when_the_jvm_is_killed_spark_comes_back(driver: Driver, client: Client, code: str) -> None:
    before = prints(client, "print(sc.applicationId)")
    id = client.submit(code)
    client.until(lambda record: record["type"] == "started" and record["statement"] == id)
    os.kill(driver.pid_of("SparkSubmit"), signal.SIGKILL)
    assert client.finished(id)["outcome"] == "lost" and "Spark's JVM was killed by SIGKILL" in client.error(id)["evalue"]
    assert [error["ename"] for error in client.of(id, "error")] == ["InterpreterLost"]
    later, outcome = client.run("print(sc.applicationId, spark.range(3).count())")
    assert outcome == "ok" and client.text(later).endswith(" 3\n") and not client.text(later).startswith(before.strip())


def test_all_killed_at_once_the_next_life_keeps_the_records_and_has_a_new_spark(driver: Driver, client: Client) -> None:
    done, _ = client.run("print('kept')", key="kept")
    running = client.submit("print('so far', flush=True); import time; time.sleep(3600)")
    client.until(lambda record: record["type"] == "stream" and "so far" in record["text"])
    driver.kill_all()
    driver.start()
    again = driver.connect()
    assert again.finished(running)["outcome"] == "lost" and again.text(done) == "kept\n"
    assert again.submit("pass", key="kept") == done
    assert prints(again, "print(spark.range(3).count())") == "3\n"


def test_a_supervisor_killed_with_9_leaves_neither_jvm_nor_interpreter_nor_workers(driver: Driver, client: Client) -> None:
    prints(client, "print(sc.parallelize(range(4)).map(lambda x: x).sum())")
    assert len(driver.processes()) >= 4, "Spark's Python workers are there"
    assert driver.process is not None
    driver.process.kill()
    driver.process.wait()
    wait_for(lambda: not driver.processes())
    driver.start()
    assert driver.connect().ready()


def test_settings_files_and_users_reach_spark(tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("value = 42\n")
    (tmp_path / "data.txt").write_text("data")
    with zipfile.ZipFile(tmp_path / "packed.zip", "w") as packed:
        packed.writestr("inside.txt", "inside")
    with zipfile.ZipFile(tmp_path / "some.jar", "w") as jar:
        jar.writestr("some.resource", "from the jar")
    conf = {**CONF, "spark.driver.memory": "777m", "spark.driver.extraJavaOptions": "-Dmine='a b'", "spark.my.secret": "hunter2"}
    with Driver(
        real=True,
        conf=conf,
        proxyUser="eve",
        pyFiles=[str(tmp_path / "helper.py")],
        files=[str(tmp_path / "data.txt")],
        archives=[str(tmp_path / "packed.zip") + "#packed"],
        jars=[str(tmp_path / "some.jar")],
    ) as driver:
        driver.start()
        client = driver.connect()
        assert client.ready()["facts"]["sparkUser"] == "eve"
        assert prints(client, "print(spark._jvm.Runtime.getRuntime().maxMemory() >> 20)").strip() in ("751", "777", "752")
        assert prints(client, "print(spark._jvm.System.getProperty('mine'), sc.getConf().get('spark.my.secret'))") == "a b hunter2\n"
        code = "from pyspark import SparkFiles\n"
        code += "def look(_):\n  import helper\n  return helper.value, open(SparkFiles.get('data.txt')).read()\n"
        assert prints(client, code + "print(sc.parallelize([0], 1).map(look).collect())") == "[(42, 'data')]\n"
        assert prints(client, "import helper; print(helper.value)") == "42\n"
        code = "import os\nfrom pyspark import SparkFiles\nprint(os.path.exists(SparkFiles.get('packed') + '/inside.txt'))"
        assert prints(client, code) == "True\n"
        loader = "spark._jvm.Thread.currentThread().getContextClassLoader()"
        assert prints(client, "print(%s.getResource('some.resource') is not None)" % loader) == "True\n"
        assert prints(client, "print(sc.sparkUser())") == "eve\n"
        user = "spark._jvm.org.apache.hadoop.security.UserGroupInformation.getCurrentUser().getShortUserName()"
        assert prints(client, "print(%s)" % user) == "eve\n"
        commands = " ".join(driver.processes().values())
        assert "hunter2" not in commands
        client.ask("close", state="success", reason="done")
        assert driver.termination()["appId"].startswith("local-")
        assert not driver.processes()


def test_an_archive_is_made_once_and_used(tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": SHIM}
    command = [sys.executable, "-m", "spark_shim.archive", "--cache", str(tmp_path)]
    first = subprocess.run(command, env=env, stdout=subprocess.PIPE, check=True)
    path = Path(first.stdout.decode().strip())
    made = path.stat().st_mtime_ns
    subprocess.run(command, env=env, stdout=subprocess.DEVNULL, check=True)
    assert path.stat().st_mtime_ns == made and sorted(each.suffix for each in tmp_path.iterdir()) == [".jsa", ".lock"]
    with Driver(real=True, conf=CONF, archive=str(tmp_path)) as driver:
        driver.start()
        client = driver.connect()
        client.ready()
        with open("/proc/%d/maps" % driver.pid_of("SparkSubmit")) as maps:
            assert str(path) in maps.read()
        assert prints(client, "print(spark.range(3).count())") == "3\n"


def test_a_spark_that_stops_itself_says_why_once_and_variables_stay() -> None:
    # Executors that end as soon as they come, which is when a job wants them.
    failing = {
        "spark.executor.memory": "600m",
        "spark.executor.extraJavaOptions": "-agentlib:nosuch",
        "spark.deploy.maxExecutorRetries": "0",
    }
    wanted = {"spark.dynamicAllocation.enabled": "true", "spark.dynamicAllocation.shuffleTracking.enabled": "true"}
    with Driver(real=True, conf={**CONF, "spark.master": "local-cluster[1,1,600]", **failing, **wanted}) as driver:
        driver.start()
        client = driver.connect()
        client.ready()
        client.run("kept = 1\nsc.parallelize([1]).count()")
        prints(client, "import time\nwhile not sc._jsc.sc().isStopped(): time.sleep(0.1)")
        for _ in range(2):
            id, outcome = client.run("sc.parallelize([1]).count()")
            assert (outcome, client.error(id)["traceback"][-1]) == ("error", "    spark.stop(); spark = spark.builder.getOrCreate()\n")
        (told,) = [line for line in client.ask("log", fromLine=0, lines=1000)["lines"] if line.startswith("Spark has stopped itself")]
        assert "Application has been killed. Reason: " in told
        assert prints(client, "print(kept)") == "1\n"
