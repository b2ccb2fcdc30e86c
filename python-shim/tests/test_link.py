from __future__ import annotations

import base64
import json
import os
import random
import socket
from pathlib import Path
from typing import Callable, List, Optional

import pytest
from kit import DEADLINE_SECONDS, Client, Driver, wait_for

from spark_shim.link import Driver as LinkDriver
from spark_shim.link import Link, cut, proof_of
from spark_shim.listener import Listener
from spark_shim.loop import Loop
from spark_shim.pipe import LineBuffer, Message, encode
from spark_shim.protocol import PIECE_BYTES, PROTOCOL_VERSIONS
from spark_shim.record_log import RecordLog
from spark_shim.requests import RequestFailed


def closed(end: socket.socket) -> bool:
    end.settimeout(DEADLINE_SECONDS)
    try:
        while end.recv(65536):
            pass
    except ConnectionResetError:
        pass
    return True


def raw(driver: Driver) -> socket.socket:
    end = socket.socket(socket.AF_UNIX)
    end.connect(driver.socket_path)
    return end


def test_the_proof_is_the_one_the_protocol_describes() -> None:
    import hashlib
    import hmac

    versions = ",".join(map(str, PROTOCOL_VERSIONS)).encode()
    text = b"longwick-link\nserver\n%s\n1\nuid\nDN\nSN" % versions
    expected = base64.urlsafe_b64encode(hmac.new(b"k" * 32, text, hashlib.sha256).digest()).rstrip(b"=").decode()
    assert proof_of(b"k" * 32, "server", 1, "uid", "DN", "SN") == expected


def test_a_server_with_the_key_is_greeted_and_the_driver_proves_itself(driver: Driver) -> None:
    client = Client(driver)
    assert client.hello["frame"] == "hello" and client.hello["version"] == 1 and len(client.hello["epoch"]) == 32


def test_a_wrong_key_is_refused_and_the_connection_closed(driver: Driver) -> None:
    client = Client(driver, key=b"x" * 32)
    assert (client.hello["frame"], client.hello["code"]) == ("refused", "proof")
    with pytest.raises(EOFError):
        client.next_frame()


def test_a_version_nobody_speaks_is_refused_with_those_that_are(driver: Driver) -> None:
    client = Client(driver, version=0)
    assert (client.hello["frame"], client.hello["code"]) == ("refused", "version")
    assert "1" in client.hello["message"]


@pytest.mark.parametrize(
    "line",
    [b"GET / HTTP/1.1\r\n", b"[]\n", b'{"frame":"submit","request":1}\n', b"x" * 5000, b'{"frame":"prove","version":1}\n', b"\xff\n"],
)
def test_before_the_proof_nothing_else_is_accepted(driver: Driver, line: bytes) -> None:
    end = raw(driver)
    end.sendall(line)
    assert closed(end)


def test_a_proven_server_that_sends_no_json_is_hung_up_on(driver: Driver) -> None:
    client = Client(driver)
    client.send_bytes(b"{nonsense\n")
    with pytest.raises(EOFError):
        client.next_frame()


def test_a_request_with_bad_fields_is_answered_and_the_link_lives(driver: Driver) -> None:
    client = Client(driver)
    for frame in (
        {
            "frame": "submit",
            "key": "",
            "code": "1",
            "kind": "pyspark",
            "origin": None,
            "stopOnError": False,
            "silent": False,
            "stdin": False,
        },
        {
            "frame": "submit",
            "key": "k",
            "code": "1",
            "kind": ["pyspark"],
            "origin": None,
            "stopOnError": False,
            "silent": False,
            "stdin": False,
        },
        {"frame": "cancel", "statement": "0", "restart": False},
        {"frame": "cancel", "statement": True, "restart": False},
        {"frame": "attach", "epoch": None},
        {"frame": "no-such-request"},
        {"frame": 3},
    ):
        client.send({"request": 900, **frame})
        assert (client.next_frame()["code"]) == "invalid"
    client.send({"frame": "something from the future"})
    assert client.ask("touch", client="me") == {}


def test_a_frame_in_parts_is_put_together_and_others_may_go_between(driver: Driver) -> None:
    client = driver.connect()
    code = "x = %r" % ("é\n" * 300_000)
    frame = {"frame": "submit", "request": 71, "key": "parts", "code": code, "kind": "pyspark", "origin": None}
    pieces = cut(encode({**frame, "stopOnError": False, "silent": False, "stdin": False}), 5)
    assert len(pieces) > 2 and all(len(piece) < 8 * PIECE_BYTES for piece in pieces)
    for piece in pieces[:-1]:
        client.send_bytes(piece)
    client.ask("touch", client="me")
    client.send_bytes(pieces[-1])
    id = client.answer(71)["result"]["statement"]
    record = client.until(lambda record: record["type"] == "queued" and record["statement"] == id)
    assert record["code"] == code
    assert client.finished(id)["outcome"] == "ok"


def test_an_old_statements_records_can_be_read_piece_by_piece(driver: Driver) -> None:
    client = driver.connect()
    id, _ = client.run("for i in range(50): emit('display', data={'text/plain': 'x' * 50_000}, metadata={})")
    first, last = client.of(id)[0]["seq"], client.of(id)[-1]["seq"]
    read, at = [], first
    while at <= last:
        answer = client.ask("read", fromSeq=at, toSeq=last, limitBytes=300_000)
        assert 0 < len(answer["records"]) <= 8
        read += answer["records"]
        at = answer["nextSeq"]
    assert [record for record in read if record["type"] != "log"] == client.of(id)


def test_a_replay_goes_on_where_the_server_stopped_and_another_epoch_gets_a_reset(driver: Driver) -> None:
    one = driver.connect()
    id, _ = one.run("print('before')")
    last = one.records[-1]["seq"]
    two = Client(driver)
    assert two.attach(two.hello["epoch"], last)["mode"] == "replay"
    later, _ = two.run("print('after')")
    assert two.records[0]["seq"] == last + 1 and two.of(id) == []
    for epoch, after in ((None, 0), ("other", last), (two.hello["epoch"], 10**9), (two.hello["epoch"], -5)):
        three = Client(driver)
        answer = three.attach(epoch, after)
        assert answer["mode"] == "reset" and answer["snapshot"]["nextStatement"] == later + 1
        three.finished(later)
        assert three.records[0]["seq"] == three.hello["firstSeq"]
        assert three.text(id) == "before\n"


def test_a_link_that_does_not_read_slows_nobody_and_gets_everything_in_the_end() -> None:
    with Driver(memoryLimitBytes=200_000) as driver:
        driver.start()
        fast = driver.connect()
        fast.ready()
        slow = driver.connect()
        # It ends although the slow one does not begin to read before it has.
        id, outcome = fast.run("for i in range(30_000): print('%099d' % i)")
        assert outcome == "ok"
        expected = "".join("%099d\n" % number for number in range(30_000))
        assert fast.text(id) == expected
        slow.finished(id)
        assert slow.text(id) == expected
        kept = [record["seq"] for record in slow.records]
        assert kept == sorted(set(kept))


def test_control_does_not_wait_behind_bulk(driver: Driver) -> None:
    writer = driver.connect()
    reader = Client(driver)
    reader.attach()
    writer.run("for i in range(200): print('y' * 99_999)")
    # 20 MB stand ready for the reader; it asks before it reads them.
    number = reader.request("touch", client="me")
    reader.answer(number)
    assert sum(len(record.get("text", "")) for record in reader.records) < 3_000_000


def test_a_request_that_fails_inside_costs_no_other_in_the_same_piece() -> None:
    uri = "upload:/%s/a.jar" % ("0" * 36)
    with Driver(jars=[uri]) as driver:
        path = driver.path("uploads", "0" * 36, "a.jar")
        os.makedirs(os.path.dirname(path))
        open(path, "w").close()
        driver.start()
        client = driver.connect()
        client.ready()
        os.unlink(path)
        supply = {"upload": "0" * 36, "name": "a.jar", "offset": 0, "data": "", "last": True, "sha256": ""}
        client.send_bytes(encode({"frame": "supply", "request": 901, **supply}) + encode({"frame": "ping", "request": 902}))
        assert client.answer(901)["code"] == "internal"
        assert client.answer(902)["result"] == {}
        assert any("FileNotFoundError" in line for line in client.ask("log", fromLine=0, lines=1000)["lines"])


class _Echo(LinkDriver):
    """A driver without processes, for the codec alone."""

    def __init__(self, path: Path) -> None:
        self.session, self.key = "s", b"k" * 32
        self.log = RecordLog(str(path), 1 << 20, 1 << 20, lambda line: None, lambda first, last: None)
        self.log.load(lambda record, size: None)
        self.touched = 0

    def handle(self, link: Link, name: str, frame: Message) -> Optional[Message]:
        if name == "touch":
            self.touched += 1
            return {}
        raise RequestFailed("internal", "not here")

    def links_changed(self, proven: int) -> None:
        pass


def test_a_hundred_thousand_mangled_frames_neither_crash_nor_grow_the_driver(tmp_path: Path) -> None:
    seed = int.from_bytes(os.urandom(4), "big")
    print("seed", seed)
    dice = random.Random(seed)
    reports: List[str] = []
    loop = Loop(reports.append)
    path = str(tmp_path / "socket")
    echo = _Echo(tmp_path / "journal")
    listener = Listener(loop, path, echo)
    frames = [
        {"frame": "touch", "request": 1, "client": "x"},
        {"frame": "part", "of": 1, "text": '{"frame":"touch",', "last": False},
        {"frame": "part", "of": 1, "text": '"request":2,"client":""}', "last": True},
        {"frame": "attach", "request": 3, "epoch": None, "afterSeq": 0},
        {"frame": "submit", "request": 4, "key": "k", "code": "1", "kind": "sql", "origin": {"client": "c"}, "stopOnError": True},
        {"frame": "cancel", "request": 5, "statement": -1, "restart": False},
    ]

    def mangled() -> bytes:
        line = bytearray(encode(dice.choice(frames)))
        for _ in range(dice.choice((0, 0, 0, 0, 0, 0, 1, 1, 3, 20))):
            at = dice.randrange(len(line))
            change = dice.randrange(4)
            if change == 0:
                line[at] = dice.randrange(256)
            elif change == 1:
                del line[at : at + dice.randrange(5)]
            elif change == 2:
                line[at:at] = bytes(dice.randrange(256) for _ in range(dice.randrange(4)))
            else:
                line[at:at] = dice.choice((b"1e999", b"null", b"[[[[", b'"\\ud800"', b"-0", b"{}", b"\n", b"\x00"))
            if not line:
                break
        return bytes(line)

    def settle(condition: Callable[[], bool]) -> None:
        for _ in range(10_000):
            loop.after(0, loop.stop)
            loop._running = True
            loop.run()
            if condition():
                return
        raise AssertionError("the loop did not get there")

    def proven() -> socket.socket:
        end = socket.socket(socket.AF_UNIX)
        end.connect(path)
        end.setblocking(False)
        buffer, got = LineBuffer(), []

        def receive() -> bool:
            try:
                got.extend(buffer.feed(end.recv(65536)))
            except BlockingIOError:
                pass
            return bool(got)

        settle(receive)
        challenge = json.loads(got.pop())
        proof = proof_of(echo.key, "server", 1, "s", challenge["nonce"], "n")
        end.sendall(encode({"frame": "prove", "version": 1, "session": "s", "nonce": "n", "proof": proof}))
        settle(receive)
        return end

    end, sent, resets = proven(), 0, 0
    while sent < 100_000:
        batch = [mangled() for _ in range(dice.randrange(1, 8))]
        sent += len(batch)
        try:
            end.sendall(b"".join(batch))
            settle(lambda: True)
            while end.recv(1 << 20):
                pass
            raise ConnectionResetError
        except BlockingIOError:
            continue
        except OSError:
            end.close()
            settle(lambda: not listener._links)
            resets += 1
            end = proven()
    assert reports == []
    assert resets > 1000 and echo.touched > 3000
    assert len(listener._links) == 1
    end.close()
    settle(lambda: not listener._links)
    listener.close()
    loop.close()


def test_a_connection_that_says_nothing_is_closed_after_the_handshakes_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spark_shim.link.HANDSHAKE_SECONDS", 0.05)
    loop = Loop(lambda line: None)
    listener = Listener(loop, str(tmp_path / "socket"), _Echo(tmp_path / "journal"))
    end = socket.socket(socket.AF_UNIX)
    end.connect(str(tmp_path / "socket"))
    end.setblocking(False)

    def hear() -> None:
        try:
            heard = end.recv(4096)
        except BlockingIOError:
            loop.after(0.01, hear)
        else:
            loop.after(0.01, hear if heard else loop.stop)

    loop.after(DEADLINE_SECONDS, loop.stop)
    hear()
    loop.run()
    assert closed(end) and not listener._links
    listener.close()
    assert not os.path.exists(tmp_path / "socket")


def test_the_unix_socket_is_for_its_owner_alone_and_tcp_works_too(driver: Driver, tmp_path: Path) -> None:
    assert os.stat(driver.socket_path).st_mode & 0o077 == 0
    loop = Loop(lambda line: None)
    listener = Listener(loop, ("127.0.0.1", 0), _Echo(tmp_path / "journal"))
    end = socket.create_connection(listener.address)
    end.setblocking(False)
    heard = b""

    def hear() -> None:
        nonlocal heard
        try:
            heard = end.recv(4096)
            loop.stop()
        except BlockingIOError:
            loop.after(0.01, hear)

    loop.after(DEADLINE_SECONDS, loop.stop)
    hear()
    loop.run()
    assert json.loads(heard)["frame"] == "challenge"
    end.close()
    listener.close()


def test_out_of_connections_new_ones_are_closed_and_old_ones_served(driver: Driver) -> None:
    client = Client(driver)
    crowd = [raw(driver) for _ in range(80)]
    assert client.ask("touch", client="me") == {}
    for end in crowd:
        end.close()

    def welcome() -> bool:
        try:
            return bool(Client(driver).hello["frame"] == "hello")
        except (EOFError, OSError):
            return False

    wait_for(welcome)
