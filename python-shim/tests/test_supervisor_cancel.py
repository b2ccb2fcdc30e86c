"""Interrupts, cancels with their rungs, and the restart of an interpreter that somebody asks for."""

from __future__ import annotations

import os
import time

import pytest
from kit import Client, Driver, held, let_go, wait_for


@pytest.mark.parametrize("code", ["while True: pass", "import time; time.sleep(3600)", "input()"])
def test_interrupt_ends_what_runs_and_variables_stay(client: Client, code: str) -> None:
    client.run("kept = 1")
    id = client.submit(code, stdin=True)
    client.until(lambda record: record["type"] == "started" and record["statement"] == id)
    assert client.ask("interrupt") == {"statement": id}
    end = client.finished(id)
    assert (end["outcome"], end["rung"]) == ("cancelled", "signal")
    assert [record["rung"] for record in client.of(id, "cancelling")] == ["jobs", "signal"]
    assert client.error(id)["ename"] == "KeyboardInterrupt"
    assert client.run("print(kept)") == (id + 1, "ok")


def test_interrupt_reaches_a_shell_command_too(monkeypatch: pytest.MonkeyPatch) -> None:
    # Another signal would interrupt what follows.
    monkeypatch.setenv("TEST_REPEAT_SECONDS", "3600")
    with Driver() as driver:
        driver.start()
        client = driver.connect()
        client.ready()
        id = client.submit("import os; print('status', os.system('sleep 3600'))")
        # Whoever sees the command knows that Python is in os.system.
        wait_for(lambda: any("sleep 3600" in command for command in driver.processes().values()))
        client.ask("interrupt")
        # As in a terminal: the command dies, os.system returns its status, and what follows goes on.
        assert client.finished(id)["outcome"] == "ok" and client.text(id) == "status 2\n"


def test_interrupt_of_nothing_says_so(client: Client) -> None:
    assert client.ask("interrupt") == {"statement": None}


def test_a_queued_statement_is_cancelled_before_it_ran_and_says_so(client: Client) -> None:
    gate = client.driver.path("gate")
    running = client.submit(held(gate))
    waiting = client.submit("print('never')")
    assert client.ask("cancel", statement=waiting, restart=False) == {"state": "cancelled"}
    end = client.finished(waiting)
    assert (end["outcome"], end["rung"]) == ("cancelled", "queue")
    assert "before it ran" in client.error(waiting)["evalue"]
    let_go(gate)
    assert client.finished(running)["outcome"] == "ok"
    assert client.ask("cancel", statement=running, restart=False) == {"state": "available"}
    assert client.ask("cancel", statement=99, restart=False) == {"state": None}


DEAF = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print('deaf')\nwhile True: time.sleep(1)"


def deaf(client: Client) -> int:
    """A statement that does not hear signals any more."""
    id = client.submit(DEAF)
    client.until(lambda record: record["type"] == "stream" and record["statement"] == id)
    return id


def ends_with_a_restart(client: Client, id: int) -> None:
    end = client.finished(id)
    assert (end["outcome"], end["rung"]) == ("cancelled", "restart")
    error = client.error(id)
    assert error["ename"] == "KeyboardInterrupt" and "variables are lost, temp views are kept" in error["evalue"]
    later, outcome = client.run("print('kept' in globals(), gateway['attach'], gateway['fresh'])")
    assert outcome == "ok" and client.text(later) == "False True False\n"


def test_a_statement_deaf_to_signals_is_ended_by_a_second_cancel_a_second_later(client: Client) -> None:
    client.run("kept = 1")
    id = deaf(client)
    assert client.ask("cancel", statement=id, restart=False) == {"state": "cancelling"}
    client.until(lambda record: record["type"] == "cancelling" and record["rung"] == "signal")
    time.sleep(1.0)  # the rule itself, see test_cancellation.py
    client.ask("cancel", statement=id, restart=False)
    ends_with_a_restart(client, id)


def test_a_cancel_may_ask_for_the_last_rung_at_once(client: Client) -> None:
    id = deaf(client)
    waiting = client.submit("print('still runs')")
    client.ask("cancel", statement=id, restart=True)
    ends_with_a_restart(client, id)
    assert client.text(waiting) == "still runs\n"


def test_policy_may_take_the_last_rung_after_a_while() -> None:
    with Driver(cancelForceMs=400) as driver:
        driver.start()
        client = driver.connect()
        id = deaf(client)
        client.ask("interrupt")
        ends_with_a_restart(client, id)


def test_a_restart_is_in_place_quick_and_forgets_everything(fresh: Driver, client: Client) -> None:
    client.run("kept = 1")
    java = fresh.pid_of("SparkSubmit")
    running = client.submit("import time; time.sleep(3600)")
    waiting = client.submit("print('never')")
    client.until(lambda record: record["type"] == "started" and record["statement"] == running)
    seen = len(client.records)
    started = time.monotonic()
    client.ask("restart")
    while not any(record["type"] == "interpreter" and record["phase"] == "ready" for record in client.records[seen:]):
        client.pump()
    # A second is promised, and measured by the benchmarks; who waits for something to run out takes longer than this.
    assert time.monotonic() - started < 10
    assert (client.finished(running)["outcome"], client.finished(waiting)["outcome"]) == ("cancelled", "cancelled")
    id, _ = client.run("print('kept' in globals(), gateway['attach'], gateway['fresh'])")
    assert client.text(id) == "False True True\n" and fresh.pid_of("SparkSubmit") == java


def test_restarts_on_request_are_no_failures_however_many_come_while_spark_is_slow(fresh: Driver, client: Client) -> None:
    open(fresh.path("jvm-is-sick"), "w").close()
    for _ in range(5):
        seen = len(client.records)
        client.ask("restart")
        while not any(record.get("phase") == "exited" for record in client.records[seen:]):
            client.pump()
    os.unlink(fresh.path("jvm-is-sick"))
    client.ask("restart")
    assert client.run("pass")[1] == "ok"
