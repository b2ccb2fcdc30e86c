"""What the death of an interpreter or of Spark's JVM, or the loss of the journal, costs: little, and it is said."""

from __future__ import annotations

import os
import shutil
import signal
from typing import List

import pytest
from kit import Client, Driver, held, let_go, wait_for


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
    gate = client.driver.path("gate")
    id = client.submit(held(gate) + "os._exit(1)", origin={"client": "me"}, stopOnError=True)
    waiting = client.submit("print(1)", origin={"client": "me"})
    let_go(gate)
    assert client.finished(id)["outcome"] == "lost" and client.finished(waiting)["rung"] == "queue"


def test_what_a_dead_interpreter_left_running_is_killed_even_when_it_hides(fresh: Driver, client: Client) -> None:
    client.run("import subprocess\nfor hide in (False, True): subprocess.Popen(['sleep', '4321'], start_new_session=hide)")
    # The kernel shows the environment of a process a moment after whoever started it goes on.
    wait_for(lambda: sum("sleep 4321" in command for command in fresh.processes().values()) == 2)
    client.run("import os; os._exit(1)")
    client.run("pass")
    wait_for(lambda: not any("sleep 4321" in command for command in fresh.processes().values()))


def test_when_the_jvm_dies_both_are_started_anew_and_the_statement_says_why(fresh: Driver, client: Client) -> None:
    id = client.submit("import time; time.sleep(3600)")
    client.until(lambda record: record["type"] == "started")
    os.kill(fresh.pid_of("SparkSubmit"), signal.SIGKILL)
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


def test_a_spark_that_stopped_itself_is_told_of_in_the_log_once_with_its_reason(client: Client) -> None:
    def told() -> List[str]:
        return [line for line in client.ask("log", fromLine=0, lines=1000)["lines"] if line.startswith("Spark has stopped itself")]

    stopped = "pipe.send({'is': 'stopped'})"
    client.run(r"import os; os.write(2, b'26/11/22 02:00:00 ERROR ExecutorPodsAllocator: Max number of executor failures (3) reached\n')")
    for _ in range(3):
        client.run(stopped)
    reason = "Spark has stopped itself: Max number of executor failures (3) reached. "
    assert [line[: len(reason)] for line in told()] == [reason]
    client.run("pipe.send({'is': 'facts', 'facts': {'appId': 'app-2'}})")
    client.run(stopped)
    assert len(told()) == 2 and told()[1].startswith("Spark has stopped itself. ")
