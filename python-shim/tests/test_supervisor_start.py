"""How a driver comes up, and what it says when it cannot."""

from __future__ import annotations

import os

import pytest
from kit import Driver, Frame, let_go, wait_for


def test_the_driver_listens_long_before_spark_is_up() -> None:
    with Driver() as driver:
        let_go(driver.path("java-waits"))
        driver.start()
        client = driver.connect()
        assert client.ask("touch", client="me") == {}
        wait_for(lambda: os.path.exists(driver.path("java-started.json")), what="the JVM's process")
        assert not os.path.exists(driver.path("gateway"))
        os.unlink(driver.path("java-waits"))
        client.ready()


def test_statements_queue_while_spark_starts_and_run_in_order(fresh: Driver) -> None:
    client = fresh.connect()
    ids = [client.submit("print(%d)" % number) for number in range(5)]
    for number, id in enumerate(ids):
        assert client.finished(id)["outcome"] == "ok" and client.text(id) == "%d\n" % number


def test_completion_is_unavailable_before_the_interpreter_is_ready() -> None:
    with Driver() as driver:
        let_go(driver.path("java-waits"))
        driver.start()
        client = driver.connect()
        assert client.answer(client.request("complete", code="x", kind="pyspark", cursor=1))["code"] == "unavailable"
        os.unlink(driver.path("java-waits"))
        client.ready()
        assert client.ask("complete", code="x", kind="pyspark", cursor=1)["matches"] == ["xx"]


def test_a_jvm_that_does_not_start_ends_the_session_with_its_last_words() -> None:
    with Driver() as driver:
        open(driver.path("java-fails"), "w").close()
        driver.start()
        end = driver.termination()
        assert end["state"] == "dead" and end["reason"] == "Spark's JVM exited with code 3: this JVM does not start."
        assert end["logTail"].count(end["reason"]) == 1
        assert "Error: this JVM does not start" in end["logTail"]
        assert not driver.processes()


def test_a_spark_that_refuses_ends_the_session() -> None:
    with Driver() as driver:
        open(driver.path("interpreter-fails"), "w").close()
        driver.start()
        assert driver.termination()["reason"] == "Spark could not be started: Spark said no"


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
