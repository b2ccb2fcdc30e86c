"""How a driver ends, by request, signal or its own rules, and where it says so."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from typing import Any, Callable

import pytest
from kit import DEADLINE_SECONDS, Client, Driver, Frame


def test_close_ends_everything_and_says_so_on_the_link_and_in_the_file(fresh: Driver, client: Client) -> None:
    running = client.submit("import time; time.sleep(3600)")
    waiting = client.submit("pass")
    client.until(lambda record: record["type"] == "started")
    assert client.ask("close", state="killed", reason="because") == {}
    ending = client.until(lambda record: record["type"] == "ending")
    assert (ending["state"], ending["reason"]) == ("killed", "because")
    assert client.of(running, "finished") and client.of(waiting, "finished")
    assert fresh.termination() == {"state": "killed", "reason": "because", "logTail": ["because"], "appId": "app-1"}
    assert not fresh.processes() and not os.path.exists(fresh.socket_path)


def test_sigterm_ends_the_driver_in_order_and_its_exit_code_tells(fresh: Driver, client: Client) -> None:
    assert fresh.process is not None
    fresh.process.terminate()
    assert fresh.termination(128 + signal.SIGTERM)["state"] == "killed"


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
        assert driver.process is not None and driver.process.wait(DEADLINE_SECONDS) == 0
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
        # Where it takes longer to get here than the rule gives, the driver has ended by then.
        with contextlib.suppress(AssertionError, EOFError, OSError):
            client = driver.connect()
            client.ready()
            act(client)
        end = driver.termination()
        assert end["state"] == "dead" and words in end["reason"]


def test_no_rule_ends_a_driver_that_is_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    with Driver(idleTimeoutMs=4_000, heartbeatTimeoutMs=4_000, orphanTimeoutMs=4_000) as driver:
        monkeypatch.setenv("TEST_CLOCK", driver.path("clock"))

        def pass_by(seconds: int) -> None:
            with open(driver.path("clock"), "ab") as clock:
                clock.write(bytes(seconds))

        pass_by(0)
        driver.start()
        client = driver.connect()
        client.ready()
        for _ in range(5):
            pass_by(3)
            client.ask("touch", client="me")
            assert client.run("pass")[1] == "ok"
        pass_by(5)
        client.request("ping")  # it looks at its rules whenever it wakes
        assert driver.termination()["state"] == "dead"
