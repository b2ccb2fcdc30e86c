from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from typing import Any, List, Optional

import pytest
from kit import HERE, Client, Driver, Frame, wait_for

from spark_shim.application import LastError

#: An application whose Spark has a UI, as far as the supervisor looks at it.
WITH_UI = """
import http.server, json, os, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        attempt = {"sparkUser": "ada", "appSparkVersion": "4.9.9"}
        told = [{"id": "app-7", "attempts": [attempt]}] if self.path == "/api/v1/applications" else {"mark": MARK}
        body = json.dumps(told).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
MARK = os.environ["MARK"] if MINE else "another"
def bound():
    # As Spark's does where somebody has taken the port meanwhile.
    for port in range(int(os.environ["PORT"]), int(os.environ["PORT"]) + 17):
        try:
            return http.server.HTTPServer(("127.0.0.1", port), Handler)
        except OSError:
            pass
server = bound()
print("UI at http://127.0.0.1:%d" % server.server_port, flush=True)
server.serve_forever()
"""


class Batch(Driver):
    """A driver with an application; the JVM that runs it is a stand-in."""

    def __init__(self, code: str, args: Optional[List[str]] = None, class_name: Optional[str] = None, **config: Any) -> None:
        super().__init__(**config)
        with open(self.path("java"), "w") as java, open(os.path.join(HERE, "stand_in_submit.py")) as source:
            java.write("#!%s\n%s" % (sys.executable, source.read()))
        with open(self.path("app.py"), "w") as file:
            file.write(code)
        self.config["application"] = {"file": "file://" + self.path("app.py"), "className": class_name, "args": args or []}

    def __enter__(self) -> Batch:
        return self

    def submitted(self) -> Frame:
        with open(self.path("submitted.json")) as file:
            told: Frame = json.load(file)
        return told

    def log(self, client: Client) -> List[str]:
        lines: List[str] = client.ask("log", fromLine=0, lines=1000)["lines"]
        return lines


def test_an_application_is_submitted_with_all_it_was_given_and_its_end_is_the_drivers() -> None:
    code = "import sys; print('hello', sys.argv[1:]); print('oops', file=sys.stderr)"
    with Batch(code, ["a b", "--flag"], "org.example.Main", conf={"spark.x": "y"}, proxyUser="eve") as driver:
        driver.start()
        end = driver.termination()
        assert (end["state"], end["exitCode"], end.get("cause")) == ("success", 0, None)
        assert end["logTail"] == ["hello ['a b', '--flag']", "oops", "The application has ended."]
        told = driver.submitted()
        assert told["arguments"][:2] == ["--proxy-user", "eve"]
        assert told["arguments"][2:4] == ["--class", "org.example.Main"]
        assert told["arguments"][4:] == ["file://" + driver.path("app.py"), "a b", "--flag"]
        assert told["conf"]["spark.x"] == "y" and told["conf"]["spark.longwick.session"] == driver.session


def test_credentials_of_addresses_are_neither_in_the_log_nor_in_the_reason_of_the_end() -> None:
    code = "print('Fetching https://ada:hush@host/x.jar?sig=hush2&v=1 to /tmp'); raise OSError('403 for https://ada:hush@host/x.jar')"
    hidden = {"://ada:hush@": "://(hidden)@", "sig=hush2": "sig=(hidden)"}
    with Batch(code, hidden=hidden) as driver:
        driver.start()
        end = driver.termination()
        assert end["logTail"][0] == "Fetching https://(hidden)@host/x.jar?sig=(hidden)&v=1 to /tmp"
        assert end["reason"] == "The application exited with code 1: OSError: 403 for https://(hidden)@host/x.jar."
        assert "hush" not in json.dumps(end)


@pytest.mark.parametrize(
    ("code", "exit_code", "reason"),
    [
        ("import sys; sys.exit(3)", 3, "The application exited with code 3."),
        ("print(1/0)", 1, "The application exited with code 1: ZeroDivisionError: division by zero."),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", 143, "The application was killed by SIGTERM."),
    ],
)
def test_one_that_fails_says_how(code: str, exit_code: int, reason: str) -> None:
    with Batch(code) as driver:
        driver.start()
        end = driver.termination()
        assert (end["state"], end["exitCode"], end["cause"], end["reason"]) == ("dead", exit_code, "non-zero-exit", reason)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "The application was killed by SIGKILL"),
        # As SparkSubmit ends when its Python is killed.
        ("import sys; sys.exit(137)", "The application exited with code 137"),
    ],
)
def test_one_that_is_killed_has_not_failed_but_is_lost(code: str, reason: str) -> None:
    with Batch(code) as driver:
        driver.start()
        end = driver.termination()
        assert (end["state"], end.get("exitCode"), end["cause"]) == ("dead", None, "driver-lost")
        assert end["reason"].startswith(reason)


@pytest.mark.parametrize(
    ("application", "reason"),
    [
        ({"file": "file:///no/such/app.py"}, "/no/such/app.py"),
        ({"file": "http://[x/app.py"}, "http://[x/app.py is no URI"),
        ({"args": ["\ud800"]}, "surrogates not allowed"),
    ],
)
def test_one_that_cannot_be_submitted_was_never_run(application: Frame, reason: str) -> None:
    with Batch("") as driver:
        driver.config["application"].update(application)
        driver.start()
        end = driver.termination()
        assert (end["state"], end["cause"], end.get("exitCode")) == ("dead", "submission-refused", None)
        assert reason in end["reason"]


def test_a_supervisor_that_dies_takes_it_along_and_the_next_one_does_not_run_it_again() -> None:
    with Batch("import os, time; open(os.path.dirname(__file__) + '/runs', 'a').write('x'); time.sleep(600)") as driver:
        driver.start()
        wait_for(lambda: os.path.exists(driver.path("runs")) and os.path.getsize(driver.path("runs")), what="the application to run")
        driver.kill_all()
        wait_for(lambda: not driver.processes(), what="the application to go")
        driver.start()
        end = driver.termination()
        assert (end["state"], end["cause"]) == ("dead", "driver-lost")
        with open(driver.path("runs")) as file:
            assert file.read() == "x"


@pytest.mark.parametrize("stubborn", [False, True])
def test_it_is_ended_with_what_it_started(stubborn: bool) -> None:
    ignore = "signal.signal(signal.SIGTERM, signal.SIG_IGN)" if stubborn else ""
    code = "import signal, subprocess, time\n%s\nsubprocess.Popen(['sleep', '601'])\nprint('up', flush=True)\ntime.sleep(600)" % ignore
    with Batch(code) as driver:
        driver.start()
        client = driver.connect()
        client.until(lambda record: record["type"] == "log" and "up" in record["lines"])
        client.ask("close", state="killed", reason="it was deleted")
        end = driver.termination()
        assert (end["state"], end["reason"], end.get("cause")) == ("killed", "it was deleted", None)
        assert not driver.processes()


@pytest.mark.parametrize("name", ["environment.tar.gz", "environment.zip"])
def test_a_packed_python_is_there_when_it_begins(name: str) -> None:
    """The stand-in runs the application in itself, which looks whether its Python could have been started."""
    code = "import os; print(os.access('environment/bin/python', os.X_OK), os.path.realpath('environment/bin/python'))"
    with Batch(code, conf={"spark.pyspark.python": "./environment/bin/python"}) as driver:
        os.makedirs(driver.path("made", "bin"))
        if name.endswith(".zip"):
            with open(driver.path("made", "bin", "python"), "w") as file:
                os.chmod(file.fileno(), 0o755)
            shutil.make_archive(driver.path("environment"), "zip", driver.path("made"))
        else:
            os.symlink(sys.executable, driver.path("made", "bin", "python"))
            shutil.make_archive(driver.path("environment"), "gztar", driver.path("made"))
        driver.config["archives"] = ["file://%s#environment" % driver.path(name)]
        driver.start()
        end = driver.termination()
        assert (end["state"], end["logTail"][0].split()[0]) == ("success", "True"), end
        assert driver.submitted()["conf"]["spark.archives"] == driver.config["archives"][0]


def test_a_packed_python_that_cannot_be_had_is_said() -> None:
    conf = {"spark.pyspark.python": "environment/bin/python"}
    with Batch("", conf=conf, archives=["https://host/environment.tar.gz#environment"]) as driver:
        driver.start()
        end = driver.termination()
        assert (end["state"], end["cause"]) == ("dead", "submission-refused") and "POST /uploads" in end["reason"]
    with Batch("", conf=conf) as driver:
        with open(driver.path("bad.tar.gz"), "w") as file:
            file.write("no archive")
        driver.config["archives"] = ["file://%s#environment" % driver.path("bad.tar.gz")]
        driver.start()
        end = driver.termination()
        assert (end["state"], end["exitCode"]) == ("dead", 1) and "cannot be unpacked" in end["reason"]


def test_a_signal_to_the_supervisor_ends_it() -> None:
    with Batch("import time; print('up', flush=True); time.sleep(600)") as driver:
        process = driver.start()
        driver.connect().until(lambda record: record["type"] == "log" and "up" in record["lines"])
        process.send_signal(signal.SIGTERM)
        assert driver.termination(128 + signal.SIGTERM)["state"] == "killed"


def test_it_takes_no_statements() -> None:
    with Batch("import time; time.sleep(600)") as driver:
        driver.start()
        client = driver.connect()
        fields = {"key": "k", "code": "1", "kind": "pyspark", "origin": None, "stopOnError": False, "silent": False, "stdin": False}
        assert client.answer(client.request("submit", **fields))["code"] == "invalid"
        assert client.answer(client.request("restart"))["code"] == "invalid"


def test_its_spark_is_known_by_its_ui_and_so_is_the_uis_end() -> None:
    with Batch("MINE = True\n" + WITH_UI, conf={"spark.ui.port": "0"}, env={"SPARK_LOCAL_IP": "127.0.0.1"}) as driver:
        driver.start()
        client = driver.connect()
        facts = client.ready()["facts"]
        assert (facts["appId"], facts["spark"], facts["sparkUser"]) == ("app-7", "4.9.9", "ada")
        assert "UI at %s" % facts["uiUrl"] in driver.log(client)
        driver.connect(attach=False).join().close()


def test_the_ui_of_another_spark_on_the_same_port_is_not_taken_for_its_own() -> None:
    with Batch("MINE = False\n" + WITH_UI, conf={"spark.ui.port": "0"}, env={"SPARK_LOCAL_IP": "127.0.0.1"}) as driver:
        driver.start()
        other = driver.connect(attach=False)
        wait_for(lambda: os.path.exists(driver.path("submitted.json")), what="the application to run")
        for _ in range(3):
            assert other.answer(other.request("forward", to="ui"))["code"] == "unavailable"


@pytest.mark.parametrize(
    ("path", "app_id"),
    [
        ("file:/tmp/events/eventlog_v2_local-17952/events_1_local-17952.zstd", "local-17952"),
        ("s3a://logs/spark/spark-0a1b.zstd.inprogress", "spark-0a1b"),
        ("hdfs://nn:8020/events/app-2026_1.inprogress", "app-2026_1"),
        ("file:/spark-7", "spark-7"),
    ],
)
def test_a_spark_without_a_ui_is_known_by_its_event_log(path: str, app_id: str) -> None:
    writer = "RollingEventLogFilesWriter" if "_v2_" in path else "SingleEventLogFileWriter"
    code = "import sys, time; print('26/11/21 22:16:30 INFO %s: Logging events to %s', file=sys.stderr); time.sleep(600)" % (writer, path)
    with Batch(code, conf={"spark.ui.enabled": "false"}) as driver:
        driver.start()
        facts = driver.connect().ready()["facts"]
        assert (facts["appId"], facts["uiUrl"]) == (app_id, None)


def test_the_last_error_is_the_one_that_ended_it() -> None:
    error = LastError()
    hear = error.heard(lambda text: None)
    hear("Traceback (most recent call last):\n  File x\n    y\nKeyError: 'handled'\nmore\n")
    hear('Traceback (most recent call last):\n  File "x", line 1\nValueError: of all\nINFO ShutdownHookManager: called\n')
    assert str(error) == "ValueError: of all"
    hear('Exception in thread "main" org.x.Failure: no\n\tat org.x\nCaused by: java.io.IOException: disk\n')
    assert str(error) == "org.x.Failure: no, caused by java.io.IOException: disk"
