from __future__ import annotations

import json
import os
import shutil
import signal
import time
from typing import Any, Callable, Iterator

import pytest
from kit import Client, Driver, Frame, wait_for


@pytest.fixture
def driver() -> Iterator[Driver]:
    with Driver() as driver:
        driver.start()
        yield driver


@pytest.fixture
def client(driver: Driver) -> Client:
    client = driver.connect()
    client.ready()
    return client


def types(client: Client, id: int) -> list[str]:
    return [record["type"] for record in client.of(id)]


def test_the_driver_listens_long_before_spark_is_up() -> None:
    with Driver() as driver:
        started = time.monotonic()
        driver.start()
        driver.connect(attach=False)
        assert time.monotonic() - started < 1.0


def test_a_statement_is_queued_started_and_finished_with_its_output_between(client: Client) -> None:
    id, outcome = client.run("print('hello'); import sys; print('oops', file=sys.stderr)")
    assert (id, outcome) == (0, "ok")
    assert types(client, id)[:2] == ["queued", "started"] and types(client, id)[-1] == "finished"
    assert client.text(id) == "hello\n" and client.text(id, name="stderr") == "oops\n"


def test_statements_queue_while_spark_starts_and_run_in_order(driver: Driver) -> None:
    client = driver.connect()
    ids = [client.submit("print(%d)" % number) for number in range(5)]
    for number, id in enumerate(ids):
        assert client.finished(id)["outcome"] == "ok" and client.text(id) == "%d\n" % number


def test_the_same_key_answers_the_same_statement_and_runs_once(client: Client) -> None:
    ids = {client.submit("print('once')", key="same") for _ in range(3)}
    assert len(ids) == 1
    id = ids.pop()
    client.finished(id)
    assert client.submit("something else", key="same") == id
    client.run("pass")
    assert client.text(id) == "once\n"


def test_a_silent_statement_takes_no_number_from_the_others(client: Client) -> None:
    assert [client.run("pass", silent=silent)[0] for silent in (False, True, False, True)] == [0, -1, 1, -2]


def test_an_error_is_an_output_and_the_session_goes_on(client: Client) -> None:
    id, outcome = client.run("1/0")
    assert outcome == "error" and client.error(id)["ename"] == "ZeroDivisionError"
    assert client.run("pass")[1] == "ok"


def test_stop_on_error_drops_what_the_same_client_queued_behind_and_nothing_else(client: Client) -> None:
    mine, yours = {"client": "me"}, {"client": "you"}
    failing = client.submit("import time; time.sleep(0.2); 1/0", origin=mine, stopOnError=True)
    behind = client.submit("print('never')", origin=mine)
    other = client.submit("print('other')", origin=yours)
    nobodys = client.submit("print('nobody')")
    assert client.finished(failing)["outcome"] == "error"
    end = client.finished(behind)
    assert (end["outcome"], end["rung"]) == ("cancelled", "queue")
    assert "before this one failed" in client.error(behind)["evalue"] and "started" not in types(client, behind)
    assert client.finished(other)["outcome"] == client.finished(nobodys)["outcome"] == "ok"


def test_the_queue_is_bounded_by_count_and_by_bytes() -> None:
    with Driver(queueLimit=3, queueLimitBytes=10_000) as driver:
        driver.start()
        client = driver.connect()
        client.ready()
        client.submit("import time; time.sleep(1)")
        whole = {"kind": "pyspark", "origin": None, "stopOnError": False, "silent": False, "stdin": False}
        big = client.answer(client.request("submit", key="big", code="#" * 10_001, **whole))
        assert big["code"] == "full" and "bytes" in big["message"]
        ids = [client.submit("pass") for _ in range(3)]
        refused = client.answer(client.request("submit", key="late", code="pass", **whole))
        assert refused["code"] == "full"
        client.finished(ids[-1])
        assert client.submit("pass", key="late") == ids[-1] + 1


def test_ten_thousand_queued_statements_all_run(client: Client) -> None:
    numbers = [
        client.request("submit", key=str(n), code="n = %d" % n, kind="pyspark", origin=None, stopOnError=False, silent=False, stdin=False)
        for n in range(10_000)
    ]
    assert client.answer(numbers[-1])["result"]["statement"] == 9_999
    client.until(lambda record: record["type"] == "finished" and record["statement"] == 9_999)
    assert client.run("print(n)")[1] == "ok" and client.text(10_000) == "9999\n"


def test_what_reaches_the_file_descriptors_is_the_statements_and_the_logs(client: Client) -> None:
    id, _ = client.run("import os; os.write(1, b'one\\n'); os.system('echo two; echo three >&2'); print('mine')")
    assert client.text(id, via="process") == "one\ntwo\n" and client.text(id, via="process", name="stderr") == "three\n"
    assert client.text(id) == "mine\n"
    wait_for(lambda: {"one", "two", "three"} <= set(client.ask("log", fromLine=0, lines=1000)["lines"]))


def test_input_is_asked_for_and_answered(client: Client) -> None:
    id = client.submit("print('got', input('name? '))", stdin=True)
    wanted = client.until(lambda record: record["type"] == "input")
    assert (wanted["statement"], wanted["prompt"], wanted["password"]) == (id, "name? ", False)
    assert client.ask("answer", statement=id + 1, value="x") == {"taken": False}
    assert client.ask("answer", statement=id, value="Ann") == {"taken": True}
    assert client.ask("answer", statement=id, value="twice") == {"taken": False}
    client.finished(id)
    assert client.text(id) == "got Ann\n"
    assert [record["statement"] for record in client.records if record["type"] == "answered"] == [id]


def test_an_answer_to_a_question_before_is_not_taken(client: Client) -> None:
    id = client.submit("print(input('one? ') + input('two? '))", stdin=True)
    first = client.until(lambda record: record["type"] == "input")["seq"]
    assert client.ask("answer", statement=id, question=first, value="a") == {"taken": True}
    second = client.until(lambda record: record["type"] == "input" and record["prompt"] == "two? ")["seq"]
    assert client.ask("answer", statement=id, question=first, value="late") == {"taken": False}
    assert client.ask("answer", statement=id, question=second, value="b") == {"taken": True}
    client.finished(id)
    assert client.text(id) == "ab\n"


def test_completion_and_inspection_answer_while_a_statement_runs(client: Client) -> None:
    id = client.submit("import time\nwhile True: time.sleep(0.01)")
    client.until(lambda record: record["type"] == "started")
    assert client.ask("complete", code="sp", kind="pyspark", cursor=2)["matches"] == ["spx"]
    assert client.ask("inspect", code="sp", kind="pyspark", cursor=2, detail=0)["found"] is False
    client.ask("interrupt")
    client.finished(id)


def test_completion_is_unavailable_before_the_interpreter_is_ready(driver: Driver) -> None:
    os.mkfifo(driver.path("block"))
    client = driver.connect()
    number = client.request("complete", code="x", kind="pyspark", cursor=1)
    answer = client.answer(number)
    assert answer["frame"] == "reply" or answer["code"] == "unavailable"


@pytest.mark.parametrize("code", ["while True: pass", "import time; time.sleep(3600)", "input()"])
def test_interrupt_ends_what_runs_and_variables_stay(client: Client, code: str) -> None:
    client.run("kept = 1")
    id = client.submit(code, stdin=True)
    client.until(lambda record: record["type"] == "started" and record["statement"] == id)
    asked = time.monotonic()
    assert client.ask("interrupt") == {"statement": id}
    end = client.finished(id)
    assert time.monotonic() - asked < 2
    assert (end["outcome"], end["rung"]) == ("cancelled", "signal")
    assert [record["rung"] for record in client.of(id, "cancelling")] == ["jobs", "signal"]
    assert client.error(id)["ename"] == "KeyboardInterrupt"
    assert client.run("print(kept)") == (id + 1, "ok")


def test_interrupt_reaches_a_shell_command_too(client: Client) -> None:
    id = client.submit("import os; print('status', os.system('sleep 3600'))")
    client.until(lambda record: record["type"] == "started" and record["statement"] == id)
    client.ask("interrupt")
    # As in a terminal: the command dies, os.system returns its status, and what follows goes on.
    assert client.finished(id)["outcome"] == "ok" and client.text(id) == "status 2\n"


def test_interrupt_of_nothing_says_so(client: Client) -> None:
    assert client.ask("interrupt") == {"statement": None}


def test_a_queued_statement_is_cancelled_before_it_ran_and_says_so(client: Client) -> None:
    running = client.submit("import time; time.sleep(0.5)")
    waiting = client.submit("print('never')")
    assert client.ask("cancel", statement=waiting, restart=False) == {"state": "cancelled"}
    end = client.finished(waiting)
    assert (end["outcome"], end["rung"]) == ("cancelled", "queue")
    assert "before it ran" in client.error(waiting)["evalue"]
    assert client.finished(running)["outcome"] == "ok"
    assert client.ask("cancel", statement=running, restart=False) == {"state": "available"}
    assert client.ask("cancel", statement=99, restart=False) == {"state": None}


DEAF = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: time.sleep(1)"


def ends_with_a_restart(client: Client, id: int) -> None:
    end = client.finished(id)
    assert (end["outcome"], end["rung"]) == ("cancelled", "restart")
    error = client.error(id)
    assert error["ename"] == "KeyboardInterrupt" and "variables are lost, temp views are kept" in error["evalue"]
    later, outcome = client.run("print('kept' in globals(), gateway['attach'], gateway['fresh'])")
    assert outcome == "ok" and client.text(later) == "False True False\n"


def test_a_statement_deaf_to_signals_is_ended_by_a_second_cancel_a_second_later(client: Client) -> None:
    client.run("kept = 1")
    id = client.submit(DEAF)
    client.until(lambda record: record["type"] == "started" and record["statement"] == id)
    assert client.ask("cancel", statement=id, restart=False) == {"state": "cancelling"}
    client.ask("cancel", statement=id, restart=False)
    client.until(lambda record: record["type"] == "cancelling" and record["rung"] == "signal")
    time.sleep(1.0)  # the rule itself: a second cancel counts only one second after the first
    assert not client.of(id, "finished")
    client.ask("cancel", statement=id, restart=False)
    ends_with_a_restart(client, id)


def test_a_cancel_may_ask_for_the_last_rung_at_once(client: Client) -> None:
    id = client.submit(DEAF)
    client.until(lambda record: record["type"] == "started")
    waiting = client.submit("print('still runs')")
    client.ask("cancel", statement=id, restart=True)
    ends_with_a_restart(client, id)
    assert client.text(waiting) == "still runs\n"


def test_policy_may_take_the_last_rung_after_a_while() -> None:
    with Driver(cancelForceMs=400) as driver:
        driver.start()
        client = driver.connect()
        id = client.submit(DEAF)
        client.until(lambda record: record["type"] == "started")
        client.ask("interrupt")
        ends_with_a_restart(client, id)


def test_a_restart_is_in_place_quick_and_forgets_everything(driver: Driver, client: Client) -> None:
    client.run("kept = 1")
    java = driver.pid_of("SparkSubmit")
    running = client.submit("import time; time.sleep(3600)")
    waiting = client.submit("print('never')")
    client.until(lambda record: record["type"] == "started" and record["statement"] == running)
    seen = len(client.records)
    started = time.monotonic()
    client.ask("restart")
    while not any(record["type"] == "interpreter" and record["phase"] == "ready" for record in client.records[seen:]):
        client.pump()
    assert time.monotonic() - started < 1
    assert (client.finished(running)["outcome"], client.finished(waiting)["outcome"]) == ("cancelled", "cancelled")
    id, _ = client.run("print('kept' in globals(), gateway['attach'], gateway['fresh'])")
    assert client.text(id) == "False True True\n" and driver.pid_of("SparkSubmit") == java


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import os; os._exit(3)", "exited with code 3"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "killed by SIGKILL"),
        ("import ctypes; ctypes.string_at(0)", "SIGSEGV"),
        ("pipe._end.shutdown(2); import time; time.sleep(3600)", "The interpreter"),
        ("import os; os.write(pipe._end.fileno(), b'no json\\n'); import time; time.sleep(3600)", "lost its connection"),
    ],
)
def test_a_crash_costs_the_statement_and_nothing_else(client: Client, code: str, words: str) -> None:
    client.run("print('before')")
    id = client.submit("print('so far')\n" + code)
    waiting = client.submit("print('gateway attached:', gateway['attach'])")
    end = client.finished(id)
    assert (end["outcome"], end["rung"]) == ("lost", None)
    assert client.error(id)["ename"] == "InterpreterLost" and words in client.error(id)["evalue"]
    assert client.text(id) == "so far\n"
    assert client.finished(waiting)["outcome"] == "ok" and client.text(waiting) == "gateway attached: True\n"
    exited = client.until(lambda record: record["type"] == "interpreter" and record["phase"] == "exited")
    assert words in exited["reason"]


def test_a_crash_with_stop_on_error_drops_the_clients_queue(client: Client) -> None:
    id = client.submit("import os, time; time.sleep(0.2); os._exit(1)", origin={"client": "me"}, stopOnError=True)
    waiting = client.submit("print(1)", origin={"client": "me"})
    assert client.finished(id)["outcome"] == "lost" and client.finished(waiting)["rung"] == "queue"


def test_what_a_dead_interpreter_left_running_is_killed_even_when_it_hides(driver: Driver, client: Client) -> None:
    client.run("import subprocess\nfor hide in (False, True): subprocess.Popen(['sleep', '4321'], start_new_session=hide)")
    # The kernel shows the environment of a process a moment after whoever started it goes on.
    wait_for(lambda: sum("sleep 4321" in command for command in driver.processes().values()) == 2)
    client.run("import os; os._exit(1)")
    client.run("pass")
    wait_for(lambda: not any("sleep 4321" in command for command in driver.processes().values()))


def test_when_the_jvm_dies_both_are_started_anew_and_the_statement_says_why(driver: Driver, client: Client) -> None:
    id = client.submit("import time; time.sleep(3600)")
    client.until(lambda record: record["type"] == "started")
    os.kill(driver.pid_of("SparkSubmit"), signal.SIGKILL)
    assert client.finished(id)["outcome"] == "lost"
    assert "Spark's JVM was killed by SIGKILL" in client.error(id)["evalue"]
    later, outcome = client.run("print(gateway['attach'])")
    assert outcome == "ok" and client.text(later) == "False\n"


def test_a_jvm_that_no_longer_answers_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_ATTACH_SECONDS", "0.3")
    with Driver() as driver:
        driver.start()
        client = driver.connect()
        client.ready()
        sick = driver.pid_of("SparkSubmit")
        open(driver.path("jvm-is-sick"), "w").close()
        client.run("import os; os._exit(1)")
        id, outcome = client.run("print(gateway['attach'])")
        assert outcome == "ok" and client.text(id) == "False\n" and driver.pid_of("SparkSubmit") != sick
        wait_for(lambda: any("did not answer a new interpreter" in line for line in client.ask("log", fromLine=0, lines=100)["lines"]))


def test_restarts_on_request_are_no_failures_however_many_come_while_spark_is_slow(driver: Driver, client: Client) -> None:
    open(driver.path("jvm-is-sick"), "w").close()
    for _ in range(5):
        seen = len(client.records)
        client.ask("restart")
        while not any(record.get("phase") == "exited" for record in client.records[seen:]):
            client.pump()
    os.unlink(driver.path("jvm-is-sick"))
    client.ask("restart")
    assert client.run("pass")[1] == "ok"


def test_a_jvm_that_does_not_start_ends_the_session_with_its_last_words() -> None:
    with Driver() as driver:
        open(driver.path("java-fails"), "w").close()
        driver.start()
        end = driver.termination()
        assert end["state"] == "dead" and end["reason"] == "Spark's JVM exited with code 3: this JVM does not start."
        assert "Error: this JVM does not start" in end["logTail"]
        assert not driver.processes()


def test_a_spark_that_refuses_ends_the_session() -> None:
    with Driver() as driver:
        open(driver.path("interpreter-fails"), "w").close()
        driver.start()
        assert driver.termination()["reason"] == "Spark could not be started: Spark said no"


def test_a_journal_that_somebody_deletes_costs_what_it_held_and_nothing_else() -> None:
    with Driver(memoryLimitBytes=50_000) as driver:
        driver.start()
        client = driver.connect()
        client.ready()
        for _ in range(5):
            client.run("print('x' * 50_000)")
        shutil.rmtree(driver.path("journal"))
        late = driver.connect()
        with pytest.raises(EOFError):
            # Its past is gone, as that of a link that is too slow: a server attaches anew.
            late.until(lambda record: False)
        fresh = driver.connect()
        assert fresh.run("print('still here')") == (5, "ok")
        assert fresh.text(5) == "still here\n"
        lines = fresh.ask("log", fromLine=0, lines=1000)["lines"]
        assert not any("Traceback" in line for line in lines)
    assert fresh.records[0]["seq"] > 1


def test_a_file_that_is_not_there_ends_the_session_and_is_named() -> None:
    with Driver(files=["s3a://bucket/x", "file:///nowhere/a%20b.txt#c"]) as driver:
        driver.start()
        assert driver.termination()["reason"].endswith("where the driver runs there is no /nowhere/a b.txt.")


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"conf": {"spark.driver.extraJavaOptions": "-Dx='y"}}, "spark.driver.extraJavaOptions cannot be read: No closing quotation."),
        ({"env": {"SPARK_SUBMIT_OPTS": "-Dx=\\"}}, "SPARK_SUBMIT_OPTS cannot be read: No escaped character."),
        ({"jars": ["http://[x/y.jar"]}, "http://[x/y.jar is no URI: Invalid IPv6 URL."),
        ({"env": {"A": "b\0c"}}, "embedded null byte"),
        ({"conf": {"spark.driver.extraClassPath": "\ud800"}}, "surrogates not allowed"),
    ],
)
def test_what_nothing_can_be_started_with_ends_the_session_and_is_named(asked: Frame, reason: str) -> None:
    with Driver(**asked) as driver:
        driver.start()
        end = driver.termination()
        assert end["state"] == "dead" and reason in end["reason"]


def test_a_missing_java_ends_the_session_and_says_what_to_do() -> None:
    with Driver(java="/nowhere/java") as driver:
        driver.start()
        assert "No Java" in driver.termination()["reason"]


def test_close_ends_everything_and_says_so_on_the_link_and_in_the_file(driver: Driver, client: Client) -> None:
    running = client.submit("import time; time.sleep(3600)")
    waiting = client.submit("pass")
    client.until(lambda record: record["type"] == "started")
    assert client.ask("close", state="killed", reason="because") == {}
    ending = client.until(lambda record: record["type"] == "ending")
    assert (ending["state"], ending["reason"]) == ("killed", "because")
    assert client.of(running, "finished") and client.of(waiting, "finished")
    assert driver.termination() == {"state": "killed", "reason": "because", "logTail": ["because"], "appId": "app-1"}
    assert not driver.processes() and not os.path.exists(driver.socket_path)


def test_sigterm_ends_the_driver_in_order_and_its_exit_code_tells(driver: Driver, client: Client) -> None:
    assert driver.process is not None
    driver.process.terminate()
    assert driver.termination(128 + signal.SIGTERM)["state"] == "killed"


def test_a_driver_that_is_started_again_after_its_time_ends_in_order() -> None:
    with Driver(ttlMs=50, createdMs=1) as driver:
        driver.start()
        end = driver.termination()
        assert end["state"] == "dead" and "time to live of 0.05 s" in end["reason"]
        assert driver.processes() == {}


def test_an_end_is_told_in_place_too_and_as_much_of_the_log_as_fits() -> None:
    with Driver(echo=True) as driver:
        message = driver.config["terminationMessage"] = driver.path("message")
        with open(message, "w"):
            pass
        inode = os.stat(message).st_ino
        driver.start()
        client = driver.connect()
        client.ready()
        client.run("import os; os.write(1, b''.join(b'line %d \\xe2\\x82\\xac\\n' % n for n in range(1000)))")
        client.ask("close", state="killed", reason="because")
        whole = driver.termination()
        with open(message, "rb") as file:
            told = file.read()
        assert os.stat(message).st_ino == inode and len(told) <= 4096
        end = json.loads(told)
        assert (end["state"], end["reason"]) == ("killed", "because")
        tail = end["logTail"]
        assert tail and tail == whole["logTail"][-len(tail) :]
        assert "line 999 €" in driver.output()


def test_an_end_that_one_place_does_not_take_is_told_in_the_other() -> None:
    with Driver() as driver:
        os.mkdir(driver.path("full"))
        message = driver.config["terminationMessage"] = driver.path("message")
        driver.config["termination"] = driver.path("full")
        driver.start()
        client = driver.connect()
        client.ready()
        client.ask("close", state="killed", reason="because")
        assert driver.process is not None and driver.process.wait(20) == 0
        with open(message, "rb") as file:
            assert json.loads(file.read())["reason"] == "because"


@pytest.mark.parametrize(
    ("config", "act", "words"),
    [
        ({"idleTimeoutMs": 600}, lambda client: client.run("import time; time.sleep(0.9)"), "idle for 0.6 s"),
        ({"ttlMs": 1200}, lambda client: client.submit("import time; time.sleep(3600)"), "time to live of 1.2 s"),
        ({"heartbeatTimeoutMs": 600}, lambda client: client.ask("touch", client="me"), "no heartbeat for 0.6 s"),
        ({"orphanTimeoutMs": 600}, lambda client: client.close(), "no server was attached for 0.6 s"),
    ],
)
def test_a_driver_ends_by_its_own_rules(config: Frame, act: Callable[[Client], Any], words: str) -> None:
    with Driver(**config) as driver:
        driver.start()
        client = driver.connect()
        client.ready()
        act(client)
        end = driver.termination()
        assert end["state"] == "dead" and words in end["reason"]


def test_no_rule_ends_a_driver_that_is_in_use() -> None:
    with Driver(idleTimeoutMs=500, heartbeatTimeoutMs=500, orphanTimeoutMs=500) as driver:
        driver.start()
        client = driver.connect()
        client.ready()
        until = time.monotonic() + 1.6
        while time.monotonic() < until:
            client.ask("touch", client="me")
            assert client.run("import time; time.sleep(0.1)")[1] == "ok"


def test_output_beyond_a_statements_bound_is_dropped_in_the_middle_and_marked() -> None:
    with Driver(statementLimitBytes=1_000_000) as driver:
        driver.start()
        client = driver.connect()
        client.ready()
        id, outcome = client.run("for i in range(100_000): print('%099d' % i)\nprint('the end')\n1/0")
        assert outcome == "error" and client.error(id)["ename"] == "ZeroDivisionError"
        text = client.text(id)
        marks = client.of(id, "dropped")
        assert text.startswith("%099d\n" % 0) and text.endswith("the end\n")
        assert len(text) < 1_200_000 and len(marks) == 2
        assert len(text) + sum(mark["bytes"] for mark in marks) == 10_000_008
        again, _ = client.run("print('fresh')")
        assert client.text(again) == "fresh\n"


def test_a_hundred_megabytes_leave_a_driver_that_answers_and_a_bounded_journal() -> None:
    with Driver(journalLimitBytes=8 << 20, memoryLimitBytes=1 << 20) as driver:
        driver.start()
        client = driver.connect()
        client.ready()
        flood = "import os\nfor i in range(%d):\n  print('x' * 500_000)\n  os.write(2, b'y' * 499_999 + b'\\n')"
        id = client.submit(flood % 100)
        slowest, other = 0.0, driver.connect(attach=False)
        while not client.of(id, "finished"):
            asked = time.monotonic()
            other.ask("touch", client="me")
            slowest = max(slowest, time.monotonic() - asked)
            client.pump()
        assert slowest < 2
        for _ in range(6):
            assert client.run(flood % 10)[1] == "ok"
        size = sum(
            os.path.getsize(os.path.join(path, name)) for path, _, names in os.walk(driver.path("journal", "records")) for name in names
        )
        assert size <= 9 << 20
        with open("/proc/%d/status" % driver.pid_of("run_supervisor")) as file:
            peak = next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
        assert peak < 80_000
        late = driver.connect()
        late.finished(id + 6)
        snapshot = Client(driver).attach()["snapshot"]
        assert snapshot["statements"][0]["statement"] == id and snapshot["statements"][0]["state"] == "available"


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("import os; os.close(1); os.close(2)", ""),
        ("import os; os.closerange(1, 3); print('still')", "still\n"),
        ("import os\nif os.fork() == 0: os._exit(0)\nos.wait(); print('parent')", "parent\n"),
        ("print('a\\ud800b')", "a\ufffdb\n"),
        ("import os; os.write(1, b'\\xff\\x1eM\\x1f\\x1e'); print('odd')", "odd\n"),
    ],
)
def test_a_statement_that_hurts_its_own_process_leaves_a_driver_that_answers(client: Client, code: str, text: str) -> None:
    id, outcome = client.run(code)
    assert outcome == "ok" and client.text(id) == text
    for _ in range(3):
        started = time.monotonic()
        id, outcome = client.run("print('next')")
        assert outcome == "ok" and client.text(id) == "next\n"
    assert time.monotonic() - started < 0.5, "a pipe that shows no marks is waited for once"


def test_late_output_keeps_its_statement(client: Client) -> None:
    first, _ = client.run(
        "import threading, time\n"
        "def late():\n"
        "  time.sleep(0.3)\n"
        "  pipe.send({'is': 'emit', 'type': 'stream', 'statement': 0, 'name': 'stdout', 'text': 'late'})\n"
        "threading.Thread(target=late).start()"
    )
    client.until(lambda record: record["type"] == "stream" and record["text"] == "late")
    assert client.of(first)[-1]["type"] == "stream"


def test_what_user_code_writes_to_the_pipe_is_not_taken_on_trust(client: Client) -> None:
    id, outcome = client.run(
        "for message in ({'is': 'emit', 'type': 'result', 'statement': 0, 'data': 3}, {'is': 'emit', 'type': 'finished', 'statement': 0},"
        " {'is': 'emit', 'type': 'stream', 'statement': 77, 'text': 'x'}, {'is': 'done', 'statement': 5}, {'is': 'reply', 'request': 'x'},"
        " {'is': ['odd']}, {'is': 'emit', 'type': 'error', 'statement': 0, 'ename': None, 'evalue': 3, 'traceback': [1]},"
        " {'is': 'emit', 'type': 'progress', 'statement': 0, 'fraction': 'x', 'jobs': [3, {'job': True, 'stages': [{}]}]},"
        " {'is': 'emit', 'type': 'stream', 'statement': 0, 'text': -7}, {'is': 'emit', 'type': 'stream', 'statement': 0, 'text': [1]},"
        " {'is': 'executors', 'count': True}, {'is': 'ready', 'facts': {'python': 3}}):\n"
        "  pipe.send(message)\n"
        "pipe._end.sendall(b'3\\n[]\\n')"
    )
    assert outcome == "ok" and client.of(id, "result")[0]["data"] == {}
    error = client.error(id)
    assert (error["ename"], error["evalue"], error["traceback"]) == ("", "3", ["1"])
    stage = {"name": "", "stage": 0, "tasks": 0, "active": 0, "completed": 0, "failed": 0}
    progress = client.of(id, "progress")[0]
    assert (progress["fraction"], progress["jobs"]) == (0.0, [{"job": 0, "status": "", "stages": [stage]}])
    assert client.until(lambda record: record["type"] == "executors")["count"] == 0
    assert client.run("pass")[1] == "ok"


def test_the_log_counts_its_lines_and_reads_old_ones_back(client: Client) -> None:
    client.run("import os\nfor i in range(5000): os.write(2, b'line %d\\n' % i)")
    wait_for(lambda: client.ask("log", fromLine=0, lines=1)["total"] >= 5000)
    whole = client.ask("log", fromLine=0, lines=100_000)
    start = whole["lines"].index("line 0")
    assert whole["fromLine"] == 0 and whole["lines"][start : start + 5000] == ["line %d" % number for number in range(5000)]
    tail = client.ask("log", fromLine=whole["total"] - 3, lines=10)
    assert tail["lines"] == whole["lines"][-3:]
    for record in client.records:
        if record["type"] == "log":
            assert record["lines"] == whole["lines"][record["line"] : record["line"] + len(record["lines"])]
