"""Why Spark stopped itself, from what Spark wrote."""

from __future__ import annotations

from typing import List

import pytest

from spark_shim.stop_reason import stop_reason

FAILURES = "26/11/22 02:00:00 ERROR ExecutorPodsLifecycleManager: Max number of executor failures (3) reached"
LOOP = [
    "26/11/22 02:00:00 ERROR DAGSchedulerEventProcessLoop: DAGSchedulerEventProcessLoop failed; shutting down SparkContext",
    "java.lang.IllegalStateException: no such stage.",
    "\tat org.apache.spark.scheduler.DAGScheduler.handle(DAGScheduler.scala:1)",
]


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([FAILURES], "Max number of executor failures (3) reached"),
        (
            [FAILURES, "26/11/22 02:00:01 WARN ExecutorPodsWatchSnapshotSource: closed", "text"],
            "Max number of executor failures (3) reached",
        ),
        (LOOP, "DAGSchedulerEventProcessLoop failed; shutting down SparkContext: java.lang.IllegalStateException: no such stage"),
        ([FAILURES, *LOOP[:1]], "DAGSchedulerEventProcessLoop failed; shutting down SparkContext"),
        (
            ["26/11/22 02:00:00 ERROR Utils: uncaught error in thread spark-listener-group-shared, stopping SparkContext", "a.b.C$D"],
            "uncaught error in thread spark-listener-group-shared, stopping SparkContext: a.b.C$D",
        ),
        (
            ["26/11/22 02:00:00 ERROR StandaloneSchedulerBackend: Application has been killed. Reason: All masters are unresponsive!"],
            "Application has been killed. Reason: All masters are unresponsive!",
        ),
        (["26/11/22 02:00:00 WARN TaskSetManager: Lost task 0.0", ""], ""),
        ([], ""),
    ],
)
def test_the_last_reason_that_spark_gives_is_told_with_its_exception(lines: List[str], reason: str) -> None:
    assert stop_reason(lines) == reason
