"""What is left when processes die: of the supervisor's work everything, of its processes nothing."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any, Iterator

import pytest
from kit import Driver, wait_for

from spark_shim.pipe import encode


@pytest.fixture
def driver() -> Iterator[Driver]:
    with Driver() as driver:
        driver.start()
        yield driver


def test_a_supervisor_killed_with_9_leaves_no_process(driver: Driver) -> None:
    client = driver.connect()
    client.ready()
    client.submit("import subprocess, time; subprocess.Popen(['sleep', '4321']); time.sleep(3600)")
    wait_for(lambda: any("sleep 4321" in command for command in driver.processes().values()))
    assert driver.process is not None
    driver.process.kill()
    driver.process.wait()
    wait_for(lambda: not [command for command in driver.processes().values() if "sleep" not in command])
    # What user code started on its own cannot be tied to the supervisor's life; the next start finds and kills it.
    driver.start()
    driver.connect()
    wait_for(lambda: not any("sleep 4321" in command for command in driver.processes().values()))


def test_a_statement_is_on_disk_before_it_runs(driver: Driver) -> None:
    client = driver.connect()
    client.ready()
    look = "import glob; print(any('\\x22key-0\\x22' in open(file).read() for file in glob.glob(%r)))"
    fields = {"kind": "pyspark", "origin": None, "stopOnError": False, "silent": False, "stdin": False}
    # The supervisor is busy with what follows in the same bytes while the first one runs.
    codes = [look % driver.path("journal", "records", "*.seg")] + ["pass"] * 200
    frames = [{"frame": "submit", "request": 1000 + n, "key": "key-%d" % n, "code": code, **fields} for n, code in enumerate(codes)]
    client.send_bytes(b"".join(map(encode, frames)))
    first = client.answer(1000)["result"]["statement"]
    client.finished(first)
    assert client.text(first) == "True\n"


@pytest.mark.parametrize("torn", [False, True])
def test_after_all_processes_were_killed_at_once_a_new_supervisor_goes_on(driver: Driver, torn: bool) -> None:
    client = driver.connect()
    client.ready()
    done, _ = client.run("print('kept'); 1/0", origin={"header": [1, {"x": None}]})
    silent, _ = client.run("pass", silent=True)
    running = client.submit("print('so far'); import time; time.sleep(3600)", key="running")
    waiting = client.submit("print('never')", key="waiting")
    client.until_text(running, "so far\n")
    epoch, last = client.hello["epoch"], client.records[-1]["seq"]
    driver.kill_all()
    if torn:
        records = driver.path("journal", "records")
        with open(os.path.join(records, sorted(os.listdir(records))[-1]), "ab") as file:
            file.write(b'99 {"frame":"record","seq":99,"ty')

    driver.start()
    again = driver.connect(attach=False)
    assert again.hello["epoch"] != epoch and again.hello["lastSeq"] >= last
    snapshot = again.attach(epoch, last)
    assert snapshot["mode"] == "reset" and snapshot["snapshot"]["nextStatement"] == waiting + 1
    for id, words in ((running, "while it ran"), (waiting, "before it ran")):
        assert again.finished(id)["outcome"] == "lost"
        assert again.error(id)["ename"] == "DriverLost" and words in again.error(id)["evalue"]
    assert again.text(running) == "so far\n"
    assert again.text(done) == "kept\n" and again.error(done)["ename"] == "ZeroDivisionError"
    assert again.of(done, "queued")[0]["origin"] == {"header": [1, {"x": None}]}
    assert again.submit("print('never')", key="waiting") == waiting
    assert again.run("print('next')") == (waiting + 1, "ok")
    assert again.run("pass", silent=True)[0] == silent - 1
    seqs = [record["seq"] for record in again.records]
    assert seqs == sorted(set(seqs))
    total = again.ask("log", fromLine=0, lines=0)["total"]
    assert (
        total > 0
        and again.ask("log", fromLine=0, lines=total)["lines"].count("The driver was started again; its statements so far are kept.") == 1
    )


def test_ten_lives_in_a_row_never_give_an_id_or_a_key_twice() -> None:
    with Driver(journalLimitBytes=600_000) as driver:
        for life in range(10):
            driver.start()
            client = driver.connect()
            client.ready()
            assert client.run("print('x' * 100_000)", key="life %d" % life) == (life, "ok")
            for earlier in range(life):
                assert client.submit("pass", key="life %d" % earlier) == earlier
            driver.kill_all()


def test_a_full_disk_is_said_in_the_log_and_the_driver_goes_on(tmp_path: Any) -> None:
    unshare = shutil.which("unshare")
    assert unshare, "this test needs util-linux's unshare for a small tmpfs in a mount namespace of its own"
    with Driver() as driver:
        journal = driver.path("journal")
        os.mkdir(journal)
        # The namespace is entered as root of a user namespace when we are not root.
        flags = "-m" if os.geteuid() == 0 else "-Urm"
        mount = 'mount -t tmpfs -o size=1m,mode=700 none "$0" && exec "$@"'
        driver.start(unshare, flags, "sh", "-c", mount, journal)
        client = driver.connect()
        client.ready()
        id, outcome = client.run("for i in range(300): print('z' * 9_999)")
        assert outcome == "ok" and len(client.text(id)) == 3_000_000
        for number in range(5):
            assert client.run("print(%d)" % number)[1] == "ok"
        log = client.ask("log", fromLine=0, lines=1000)["lines"]
        assert sum("The journal cannot be written (No space left on device): going on from memory." in line for line in log) == 1
        late = driver.connect()
        late.finished(id + 5)
        assert late.text(id) == client.text(id)


def test_processes_of_a_driver_carry_its_session(driver: Driver) -> None:
    client = driver.connect()
    client.ready()
    id, _ = client.run("import os; print(os.environ['LONGWICK_SESSION'], 'LONGWICK_PIPE' in os.environ)")
    assert client.text(id) == "%s False\n" % driver.session
    assert len(driver.processes()) == 3


def test_an_adopted_zombie_is_reaped(driver: Driver) -> None:
    client = driver.connect()
    client.ready()
    client.run("import os\nif os.fork() == 0:\n  if os.fork() == 0: os.execvp('sleep', ['sleep', '0.1'])\n  os._exit(0)\nos.wait()")

    def zombies() -> str:
        done = subprocess.run(
            ["ps", "-o", "stat=,comm=", "--ppid", str(driver.pid_of("run_supervisor"))], stdout=subprocess.PIPE, check=False
        )
        return "".join(line for line in done.stdout.decode().splitlines() if line.startswith("Z") or "sleep" in line)

    wait_for(lambda: not zombies())


def test_what_java_gets_reaches_it(driver: Driver) -> None:
    driver.kill_all()
    driver.config.update(
        conf={"spark.driver.memory": "640m", "spark.secret": "hunter2"},
        jars=["/a.jar", "/b.jar"],
        pyFiles=["/c.py"],
        files=["/d"],
        archives=["/e.zip#e"],
        proxyUser="eve",
        env={"EXTRA": "1"},
    )
    driver.start()
    driver.connect().ready()
    with open(driver.path("java-started.json")) as file:
        import json

        started = json.load(file)
    assert "-Xmx640m" in started["argv"] and started["argv"][-3:] == ["--proxy-user", "eve", "pyspark-shell"]
    assert "hunter2" not in " ".join(started["argv"])
    env = started["env"]
    assert (env["SPARK_USER"], env["EXTRA"], env["PYTHONHASHSEED"], env["SPARK_HOME"]) == ("eve", "1", "0", driver.path("spark"))
    with open(driver.path("spark.properties")) as file:
        lines = set(file.read().splitlines())
    assert {
        "spark.jars=/a.jar,/b.jar",
        "spark.submit.pyFiles=/c.py",
        "spark.files=/d",
        "spark.archives=/e.zip#e",
        "spark.secret=hunter2",
    } <= lines
    assert os.stat(driver.path("spark.properties")).st_mode & 0o777 == 0o400


@pytest.mark.parametrize("scheme", ["file", "local"])
def test_a_wheel_of_the_image_is_given_to_executors_as_what_pyspark_imports(driver: Driver, scheme: str, tmp_path: Path) -> None:
    wheel = tmp_path / "lib-1-py3-none-any.whl"
    wheel.write_bytes(b"PK")
    driver.kill_all()
    driver.config.update(pyFiles=["%s://%s" % (scheme, wheel)])
    driver.start()
    driver.connect().ready()
    link = Path(driver.path("wheels", "lib-1-py3-none-any.whl.zip"))
    assert link.read_bytes() == b"PK"
    assert "spark.submit.pyFiles=file://%s" % link in Path(driver.path("spark.properties")).read_text().replace("\\", "")


def test_signals_of_a_terminal_do_not_reach_spark(driver: Driver) -> None:
    client = driver.connect()
    client.ready()
    groups = {os.getpgid(pid) for pid in driver.processes()}
    assert len(groups) == 3
    os.kill(driver.pid_of("stand_in_interpreter"), signal.SIGINT)
    assert client.run("print('unmoved')")[1] == "ok"
