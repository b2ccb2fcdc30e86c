"""What goes wrong, in one line."""

from __future__ import annotations

import pytest

from spark_shim.interpreter.errors import root_cause

REFUSED = """An error occurred while calling None.org.apache.spark.api.java.JavaSparkContext.
: org.apache.spark.SparkException: External scheduler cannot be instantiated
\tat org.apache.spark.SparkContext$.createTaskScheduler(SparkContext.scala:3389)
\t... 15 more
Caused by: java.lang.reflect.InvocationTargetException
\tat java.base/jdk.internal.reflect.NativeConstructorAccessorImpl.newInstance0(Native Method)
Caused by: io.fabric8.kubernetes.client.KubernetesClientException: Failure executing: GET at: https://x/pods/p. Message: pods "p" is \
forbidden: User "u" cannot get resource "pods". Received status: Status(apiVersion=v1, code=403, details=StatusDetails(causes=[])).
\tat io.fabric8.kubernetes.client.dsl.internal.OperationSupport.requestFailure(OperationSupport.java:671)
"""


class Py4JJavaError(Exception):
    pass


@pytest.mark.parametrize(
    "error, line",
    [
        (
            Py4JJavaError(REFUSED),
            "SparkException: External scheduler cannot be instantiated. Caused by KubernetesClientException: Failure executing: GET at: "
            'https://x/pods/p. Message: pods "p" is forbidden: User "u" cannot get resource "pods"',
        ),
        (Py4JJavaError("calling o1.\n: java.lang.OutOfMemoryError: Java heap space\n\tat x\n"), "OutOfMemoryError: Java heap space"),
        (ConnectionRefusedError(111, "Connection refused"), "ConnectionRefusedError: [Errno 111] Connection refused"),
        (ValueError("one\ntwo"), "ValueError: one"),
    ],
    ids=["causes", "no cause", "Python", "several lines"],
)
def test_the_root_cause_is_one_line(error: Exception, line: str) -> None:
    assert root_cause(error) == line
