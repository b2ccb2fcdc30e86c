"""`python tests/measure.py [archive directory]`: the driver's hot numbers, with a real Spark and no server."""

from __future__ import annotations

import os
import sys
import time
from typing import Callable, List

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from kit import Client, Driver

CONF = {"spark.master": "local[2]", "spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false"}


def timed(act: Callable[[], object]) -> float:
    """Milliseconds."""
    started = time.perf_counter()
    act()
    return (time.perf_counter() - started) * 1000


def told(name: str, times: List[float]) -> None:
    times.sort()
    print("%-44s median %9.2f ms   p95 %9.2f ms" % (name, times[len(times) // 2], times[len(times) * 95 // 100]))


def restarted(client: Client) -> None:
    seen = len(client.records)
    client.ask("restart")
    while not any(record["type"] == "interpreter" and record["phase"] == "ready" for record in client.records[seen:]):
        client.pump()
    client.run("1 + 1")


with Driver(real=True, conf=CONF, archive=sys.argv[1] if len(sys.argv) > 1 else None) as driver:
    clients: List[Client] = []

    def started() -> None:
        driver.start()
        clients.append(driver.connect())

    told("start to listening and attached", [timed(started)])
    client = clients[0]
    told("  to ready", [timed(client.ready)])
    told("  to the first job's answer", [timed(lambda: client.run("spark.range(10).count()"))])
    client.run("1 + 1")
    told("1 + 1", [timed(lambda: client.run("1 + 1")) for _ in range(1000)])
    told("completion", [timed(lambda: client.ask("complete", code="spark.ra", kind="pyspark", cursor=8)) for _ in range(20)])
    told("10 MB printed in 10 kB pieces", [timed(lambda: client.run("for i in range(1000): print('y' * 9_999)")) for _ in range(5)])
    told(
        "10 MB to file descriptor 1",
        [timed(lambda: client.run("import os\nfor i in range(1000): os.write(1, b'y' * 10_000)")) for _ in range(5)],
    )
    told("restart in place, to the next answer", [timed(lambda: restarted(client)) for _ in range(4)])
    for pid, command in sorted(driver.processes().items()):
        with open("/proc/%d/statm" % pid) as file:
            name = next(word for word in ("SparkSubmit", "interpreter", "spark_shim", "daemon", "worker", "") if word in command)
            print("%-44s %6.1f MB" % ("resident: " + (name or "other"), int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6))
