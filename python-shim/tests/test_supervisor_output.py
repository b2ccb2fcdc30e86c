"""What statements write: whose it is, how much of it is kept, and what they may do to their process and its pipes."""

from __future__ import annotations

import os
import time

import pytest
from kit import Client, Driver, let_go, wait_for

from spark_shim.child import BARRIER_SECONDS

#: Statements that together take less than one wait each, on a machine with much else to do too.
RUNS = 10


def test_what_reaches_the_file_descriptors_is_the_statements_and_the_logs(client: Client) -> None:
    id, _ = client.run("import os; os.write(1, b'one\\n'); os.system('echo two; echo three >&2'); print('mine')")
    assert client.text(id, via="process") == "one\ntwo\n" and client.text(id, via="process", name="stderr") == "three\n"
    assert client.text(id) == "mine\n"
    wait_for(lambda: {"one", "two", "three"} <= set(client.ask("log", fromLine=0, lines=1000)["lines"]))


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
        # Milliseconds where nothing else runs; a driver that is deaf while it is flooded is so to the flood's end.
        assert slowest < 10
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
    client.run("pass")
    started = time.monotonic()
    for _ in range(RUNS):
        id, outcome = client.run("print('next')")
        assert outcome == "ok" and client.text(id) == "next\n"
    assert time.monotonic() - started < RUNS * BARRIER_SECONDS, "a pipe that shows no marks is waited for once"


def test_late_output_keeps_its_statement(client: Client) -> None:
    first, _ = client.run(
        "import os, threading, time\n"
        "def late():\n"
        "  while not os.path.exists(%r): time.sleep(0.01)\n"
        "  pipe.send({'is': 'emit', 'type': 'stream', 'statement': 0, 'name': 'stdout', 'text': 'late'})\n"
        "threading.Thread(target=late).start()" % client.driver.path("gate")
    )
    let_go(client.driver.path("gate"))
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
