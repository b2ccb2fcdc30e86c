from __future__ import annotations

import hashlib
import os
import socket
import threading
from typing import Callable, Iterator, List

import pytest
from kit import DEADLINE_SECONDS, Client, Driver, wait_for

from spark_shim.forward import FORWARD_LIMIT, ui_host, ui_port
from spark_shim.requests import RequestFailed


class Place:
    """A UI: each connection is served by a thread of its own."""

    def __init__(self, serve: Callable[[socket.socket], None]) -> None:
        self._serve = serve
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.served: List[threading.Thread] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                end, _ = self._socket.accept()
            except OSError:
                return
            end.settimeout(DEADLINE_SECONDS)
            self.served.append(threading.Thread(target=self._serve, args=(end,), daemon=True))
            self.served[-1].start()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def echo(end: socket.socket) -> None:
    while True:
        data = end.recv(65536)
        if not data:
            end.close()
            return
        end.sendall(data)


@pytest.fixture
def client(driver: Driver) -> Iterator[Client]:
    client = driver.connect()
    yield client
    client.close()


def ui_at(client: Client, url: object) -> None:
    """As an interpreter tells of another SparkContext."""
    facts = {"python": "3", "spark": "4", "appId": "app-2", "uiUrl": url, "sparkUser": "me", "ipython": None}
    assert client.run("pipe.send({'is': 'facts', 'facts': %r})" % facts)[1] == "ok"
    client.until(lambda record: record["type"] == "interpreter" and (record["facts"] or {}).get("uiUrl") == url)


def read_all(end: socket.socket) -> bytes:
    end.settimeout(DEADLINE_SECONDS)
    pieces: List[bytes] = []
    while True:
        data = end.recv(1 << 20)
        if not data:
            return b"".join(pieces)
        pieces.append(data)


def test_a_joined_connection_carries_bytes_both_ways_and_the_driver_goes_on(driver: Driver, client: Client) -> None:
    place = Place(echo)
    ui_at(client, "http://wherever.example:%d" % place.port)
    end = Client(driver).join()
    end.settimeout(DEADLINE_SECONDS)
    sent, came = os.urandom(24 << 20), hashlib.sha256()
    sender = threading.Thread(target=end.sendall, args=(sent,))
    sender.start()
    left = len(sent)
    while left:
        data = end.recv(1 << 20)
        came.update(data)
        left -= len(data)
    sender.join(DEADLINE_SECONDS)
    assert came.digest() == hashlib.sha256(sent).digest()
    assert client.ask("touch", client="me") == {}
    end.close()
    wait_for(lambda: not place.served[0].is_alive(), what="the place to see the end")
    place.close()


def test_what_the_place_said_last_arrives_before_the_end(driver: Driver, client: Client) -> None:
    page = os.urandom(3 << 20)

    def answer(end: socket.socket) -> None:
        end.recv(100)
        end.sendall(page)
        end.close()

    place = Place(answer)
    ui_at(client, "http://localhost:%d/" % place.port)
    end = Client(driver).join()
    end.sendall(b"GET / HTTP/1.0\r\n\r\n")
    assert read_all(end) == page
    place.close()


def test_a_reader_that_stops_holds_up_its_place_and_nobody_else(driver: Driver, client: Client) -> None:
    sent = [0]

    def flood(end: socket.socket) -> None:
        try:
            while True:
                sent[0] += end.send(bytes(65536))
        except OSError:
            end.close()

    place = Place(flood)
    ui_at(client, "http://localhost:%d/" % place.port)
    end = Client(driver).join()
    before = -1

    def stands_still() -> bool:
        nonlocal before
        client.ask("touch", client="me")
        before, same = sent[0], sent[0] == before > 0
        return same

    wait_for(stands_still, what="the flood to be held up")
    assert client.run("1 + 1")[1] == "ok"
    assert sent[0] < 64 << 20
    end.close()
    wait_for(lambda: not place.served[0].is_alive(), what="the flood to end")
    place.close()


def test_without_a_ui_or_with_one_that_is_gone_the_reason_is_told(driver: Driver, client: Client) -> None:
    other = Client(driver)
    for url in (None, "nonsense", "http://localhost:99999999", "http://localhost/"):
        ui_at(client, url)
        answer = other.answer(other.request("forward", to="ui"))
        assert (answer["frame"], answer["code"]) == ("failure", "unavailable"), url
    place = Place(echo)
    place.close()
    ui_at(client, "http://localhost:%d/" % place.port)
    answer = other.answer(other.request("forward", to="ui"))
    assert answer["code"] == "unavailable" and "refused" in answer["message"]
    assert other.answer(other.request("forward", to="elsewhere"))["code"] == "invalid"
    assert other.ask("touch", client="me") == {}


def test_a_connection_with_records_on_it_is_not_joined(client: Client) -> None:
    answer = client.answer(client.request("forward", to="ui"))
    assert (answer["frame"], answer["code"]) == ("failure", "invalid")


def test_so_many_connections_and_no_more(driver: Driver, client: Client) -> None:
    place = Place(echo)
    ui_at(client, "http://localhost:%d/" % place.port)
    ends = [Client(driver).join() for _ in range(FORWARD_LIMIT)]
    late = Client(driver)
    assert late.answer(late.request("forward", to="ui"))["code"] == "full"
    # They count among nobody's links.
    assert Client(driver).hello["frame"] == "hello"
    for end in ends:
        end.close()
    wait_for(lambda: late.answer(late.request("forward", to="ui"))["frame"] == "reply", what="room for another")
    late.close()
    place.close()


def test_joined_connections_end_with_the_driver() -> None:
    place = Place(echo)
    with Driver() as driver:
        driver.start()
        client = driver.connect()
        client.ready()
        ui_at(client, "http://localhost:%d/" % place.port)
        end = Client(driver).join()
        client.ask("close", state="dead", reason="enough")
        assert driver.termination()["reason"] == "enough"
        assert read_all(end) == b""
    place.close()


@pytest.mark.parametrize(
    ("given", "host"),
    [("", "127.0.0.1"), ("127.0.0.3", "127.0.0.3"), ("0.0.0.0", "127.0.0.1"), ("::", "127.0.0.1"), ("[::1]", "::1"), ("db", "127.0.0.1")],
)
def test_the_ui_is_looked_for_where_spark_is_told_to_listen(given: str, host: str) -> None:
    assert ui_host({"SPARK_LOCAL_IP": given}) == host


def test_a_port_is_all_that_is_taken_of_the_uis_address() -> None:
    assert ui_port("http://169.254.169.254:4041/latest") == 4041
    with pytest.raises(RequestFailed):
        ui_port(4040)
