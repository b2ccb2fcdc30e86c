"""Files that a driver waits for before it starts Spark."""

from __future__ import annotations

import base64
import hashlib
import os
from pathlib import Path
from typing import Tuple

import pytest
from kit import Client, Driver

from spark_shim.awaited import Awaited, placed
from spark_shim.requests import RequestFailed, problem_of

ID = "0199f3a2-4c1e-7d02-8a6b-5e1f0c9d7b34"
NAME = "größe 1.whl"
URI = "upload:/%s/gr%%C3%%B6%%C3%%9Fe%%201.whl" % ID
CONTENT = b"PK\x00\xff" * 100
SHA = hashlib.sha256(CONTENT).hexdigest()


def supply(awaited: Awaited, offset: int, piece: bytes, last: bool = False, sha256: str = SHA) -> int:
    return awaited.supply(ID, NAME, offset, base64.b64encode(piece).decode(), last, sha256)


def refusal(awaited: Awaited, offset: int, piece: bytes, last: bool = False, sha256: str = SHA) -> Tuple[str, str]:
    with pytest.raises(RequestFailed) as failed:
        supply(awaited, offset, piece, last, sha256)
    return failed.value.code, str(failed.value)


def test_an_uploads_uri_is_that_of_a_file_below_the_directory_and_others_stay() -> None:
    assert placed(URI + "#env", "/d r") == "file:///d%20r/uploads/" + ID + "/gr%C3%B6%C3%9Fe%201.whl#env"
    for other in ("s3a://b/c", "file:///upload:/x", "upload:/../x", "upload:/%s/a/b" % ID):
        assert placed(other, "/d") == other


def test_pieces_become_the_file_whoever_sends_them(tmp_path: Path) -> None:
    awaited = Awaited(str(tmp_path), [URI, URI, "hdfs:///a"])
    assert awaited.missing == [{"upload": ID, "name": NAME, "offset": 0}]
    assert supply(awaited, 0, CONTENT[:100]) == 100
    # Another server begins at the beginning, and is told how far the file is.
    assert supply(awaited, 0, CONTENT[:60]) == 100
    assert supply(awaited, 60, CONTENT[60:300]) == 300
    assert awaited.missing[0]["offset"] == 300
    path = tmp_path / "uploads" / ID / NAME
    assert not path.exists()
    assert supply(awaited, 300, CONTENT[300:]) == len(CONTENT)
    assert supply(awaited, len(CONTENT), b"", True) == len(CONTENT)
    assert awaited.missing == [] and path.read_bytes() == CONTENT and os.listdir(path.parent) == [NAME]
    assert os.stat(path).st_mode & 0o077 == 0
    # Late pieces of the slower server.
    assert supply(awaited, 100, CONTENT[100:200]) == len(CONTENT)
    assert path.read_bytes() == CONTENT


def test_what_is_there_whole_is_not_waited_for_and_what_is_there_in_part_begins_anew(tmp_path: Path) -> None:
    supply(Awaited(str(tmp_path), [URI]), 0, CONTENT[:100])
    awaited = Awaited(str(tmp_path), [URI])
    assert awaited.missing[0]["offset"] == 0
    assert refusal(awaited, 100, CONTENT[100:])[0] == "invalid"
    supply(awaited, 0, CONTENT, True)
    assert Awaited(str(tmp_path), [URI]).missing == []


def test_a_file_that_did_not_arrive_as_it_was_stored_begins_anew(tmp_path: Path) -> None:
    awaited = Awaited(str(tmp_path), [URI])
    supply(awaited, 0, CONTENT[:-1] + b"!")
    assert refusal(awaited, len(CONTENT), b"", True) == ("invalid", "%s did not arrive as it was stored." % NAME)
    assert awaited.missing[0]["offset"] == 0
    supply(awaited, 0, CONTENT)
    supply(awaited, len(CONTENT), b"", True)
    assert awaited.missing == []


def test_what_nobody_waits_for_a_gap_and_what_is_no_base64_are_refused(tmp_path: Path) -> None:
    awaited = Awaited(str(tmp_path), [URI])
    assert refusal(awaited, 1, b"a") == ("invalid", "A piece before this one is missing.")
    for upload, name in ((ID, "../" + NAME), (ID.replace("0", "1"), NAME), ("..", "x")):
        with pytest.raises(RequestFailed, match="does not wait"):
            awaited.supply(upload, name, 0, "", True, SHA)
    with pytest.raises(RequestFailed, match="base64"):
        awaited.supply(ID, NAME, 0, "é", False, SHA)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_does_not_take_it_is_told(tmp_path: Path) -> None:
    (tmp_path / "uploads").write_text("no directory")
    awaited = Awaited(str(tmp_path), [URI])
    assert refusal(awaited, 0, CONTENT) == ("full", "The driver cannot keep %s: Not a directory." % NAME)
    (tmp_path / "uploads").unlink()
    assert supply(awaited, 0, CONTENT) == len(CONTENT)


@pytest.mark.parametrize("field, value", [("upload", 1), ("offset", -1), ("data", None), ("last", 1), ("sha256", 5)])
def test_malformed_requests_are_told_apart(field: str, value: object) -> None:
    good = {"frame": "supply", "request": 1, "upload": ID, "name": "x", "offset": 0, "data": "", "last": True, "sha256": SHA}
    assert problem_of(good) is None
    assert problem_of({**good, field: value}) == "supply: %s is not valid" % field


WHEEL = "upload:/%s/lib-1-py3-none-any.whl" % ID


def send(client: Client, name: str, content: bytes) -> None:
    data = base64.b64encode(content).decode()
    for offset, piece, last in ((0, data, False), (len(content), "", True)):
        sha256 = hashlib.sha256(content).hexdigest()
        client.ask("supply", upload=ID, name=name, offset=offset, data=piece, last=last, sha256=sha256)


def test_spark_is_started_once_all_is_there_and_is_told_where() -> None:
    with Driver(jars=[URI], pyFiles=[WHEEL], archives=[WHEEL + "#env"]) as driver:
        driver.start()
        client = driver.connect()
        assert {file["name"] for file in client.ask("awaited")["files"]} == {NAME, "lib-1-py3-none-any.whl"}
        statement = client.submit("print('at last')")
        send(client, NAME, CONTENT)
        assert not os.path.exists(driver.path("java-started.json"))
        # Killed meanwhile, it keeps what is whole.
        driver.kill_all()
        driver.start()
        client = driver.connect()
        assert client.ask("awaited")["files"] == [{"upload": ID, "name": "lib-1-py3-none-any.whl", "offset": 0}]
        send(client, "lib-1-py3-none-any.whl", b"PK")
        client.ready()
        assert client.ask("awaited")["files"] == []
        assert client.finished(statement)["outcome"] == "lost"
        told = Path(driver.path("spark.properties")).read_text()
        place = "file\\://" + driver.path("uploads", ID)
        for line in ("spark.jars=%s/gr%%C3%%B6%%C3%%9Fe%%201.whl" % place, "spark.archives=%s/lib-1-py3-none-any.whl#env" % place):
            assert line.replace("\\", "") in told.replace("\\", "").splitlines()
        assert "spark.submit.pyFiles=file://%s.zip" % driver.path("wheels", "lib-1-py3-none-any.whl") in told.replace("\\", "")
        assert Path(driver.path("wheels", "lib-1-py3-none-any.whl.zip")).read_bytes() == b"PK"


def test_a_driver_that_waits_can_be_ended() -> None:
    with Driver(jars=[URI]) as driver:
        driver.start()
        client = driver.connect()
        client.ask("close", state="killed", reason="enough")
        assert driver.termination()["reason"] == "enough"
        assert not os.path.exists(driver.path("java-started.json"))
