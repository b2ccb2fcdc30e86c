"""What was sent in each version of the protocol, as the server's own tests read it: see test/protocol/golden.test.ts."""

from __future__ import annotations

import base64
import json
import socket
import threading
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

import pytest
from kit import DEADLINE_SECONDS

from spark_shim import link
from spark_shim.listener import Listener
from spark_shim.loop import Loop
from spark_shim.pipe import LineBuffer, Message, encode
from spark_shim.protocol import PROTOCOL_VERSIONS
from spark_shim.requests import RequestFailed, problem_of

FRAMES = Path(__file__).resolve().parents[2] / "test" / "fixtures" / "frames"
HANDSHAKE = ("challenge", "prove", "hello")


def lines_of(version: int) -> List[Dict[str, Any]]:
    text = (FRAMES / ("version-%d.jsonl" % version)).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.split("\n") if line]


def bytes_of(value: str) -> bytes:
    return base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))


LINES = [(version, number, line) for version in PROTOCOL_VERSIONS for number, line in enumerate(lines_of(version), 1)]
SERVER_REQUESTS = [
    pytest.param(line.get("whole", line["frame"]), id="%d-%d-%s" % (version, number, line["name"]))
    for version, number, line in LINES
    if line["from"] == "server" and line["name"] != "prove" and (line["name"] != "part" or "whole" in line)
]
DRIVER_FRAMES = [
    pytest.param(line["frame"], id="%d-%d-%s" % (version, number, line["name"]))
    for version, number, line in LINES
    if line["from"] == "driver"
]
HANDSHAKES = [pytest.param(version, line, id="%d-%d" % (version, number)) for version, number, line in LINES if line["name"] == "challenge"]


def handshake_of(version: int, challenge: Dict[str, Any]) -> List[Message]:
    lines = lines_of(version)
    at = lines.index(challenge)
    assert tuple(line["name"] for line in lines[at : at + 3]) == HANDSHAKE
    return [line["frame"] for line in lines[at : at + 3]]


@pytest.mark.parametrize("frame", SERVER_REQUESTS)
def test_a_servers_request_is_accepted(frame: Message) -> None:
    assert problem_of(frame) is None


@pytest.mark.parametrize("frame", DRIVER_FRAMES)
def test_a_drivers_frame_is_written_as_it_was(frame: Message) -> None:
    line = encode(frame)
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    assert json.loads(line) == frame


@pytest.mark.parametrize(("version", "challenge"), HANDSHAKES)
def test_the_proofs_are_those_of_the_sessions_key(version: int, challenge: Dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    first, prove, hello = handshake_of(version, challenge)
    monkeypatch.setattr(link, "PROTOCOL_VERSIONS", tuple(first["versions"]))
    for role, frame in (("server", prove), ("driver", hello)):
        proof = link.proof_of(bytes_of(challenge["key"]), role, version, prove["session"], first["nonce"], prove["nonce"])
        assert (frame["version"], frame["proof"]) == (version, proof)


class GoldenLog:
    def __init__(self, hello: Message) -> None:
        self.epoch, self.first_seq, self.last_seq = hello["epoch"], hello["firstSeq"], hello["lastSeq"]


class GoldenDriver(link.Driver):
    """Answers each request as its line in the file does, and keeps what it was asked."""

    def __init__(self, key: bytes, hello: Message, answers: Dict[int, Message]) -> None:
        self.key, self.session, self._answers = key, hello["session"], answers
        log: Any = GoldenLog(hello)
        self.log = log
        self.asked: List[Tuple[str, Message]] = []

    def handle(self, link: link.Link, name: str, frame: Message) -> Optional[Message]:
        self.asked.append((name, frame))
        answer = self._answers[frame["request"]]
        if answer["frame"] == "failure":
            raise RequestFailed(answer["code"], answer["message"])
        result: Message = answer["result"]
        return result

    def links_changed(self, proven: int) -> None:
        pass


def frames_from(end: socket.socket) -> Iterator[Message]:
    buffer = LineBuffer()
    for data in iter(lambda: end.recv(65536), b""):
        for line in buffer.feed(data):
            yield json.loads(line)


@pytest.mark.parametrize(("version", "challenge"), HANDSHAKES)
def test_a_link_lives_through_all_of_it(version: int, challenge: Dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    first, prove, hello = handshake_of(version, challenge)
    lines = lines_of(version)
    answers = {line["frame"]["request"]: line["frame"] for line in lines if line["name"] in ("reply", "failure")}
    sent = [line for line in lines if line["from"] == "server" and line["name"] != "prove"]
    wholes = [line.get("whole", line["frame"]) for line in sent if line["name"] != "part" or "whole" in line]
    monkeypatch.setattr(link, "PROTOCOL_VERSIONS", tuple(first["versions"]))
    monkeypatch.setattr("spark_shim.link.os.urandom", lambda size: bytes_of(first["nonce"])[:size])

    reports: List[str] = []
    loop = Loop(reports.append)
    driver = GoldenDriver(bytes_of(challenge["key"]), hello, answers)
    listener = Listener(loop, ("127.0.0.1", 0), driver)
    thread = threading.Thread(target=loop.run, daemon=True)
    thread.start()
    with socket.create_connection(listener.address, timeout=DEADLINE_SECONDS) as end:
        frames = frames_from(end)
        assert next(frames) == first
        end.sendall(encode(prove))
        assert next(frames) == hello
        end.sendall(b"".join(encode(line["frame"]) for line in sent))
        assert [next(frames) for _ in wholes] == [answers[whole["request"]] for whole in wholes]
    loop.after(0, loop.stop)
    # The connection's end wakes the loop.
    socket.create_connection(listener.address, timeout=DEADLINE_SECONDS).close()
    thread.join(DEADLINE_SECONDS)
    assert not thread.is_alive()
    listener.close()
    loop.close()
    assert reports == []
    assert driver.asked == [(whole["frame"], whole) for whole in wholes]
