from __future__ import annotations

import json
import os
import random
import socket
import threading
from typing import List

import pytest

from spark_shim.pipe import LINE_LIMIT_BYTES, LineBuffer, LineTooLong, Message, MessageBuffer, Pipe, encode, pack


def test_what_json_cannot_say_is_replaced_instead_of_raising() -> None:
    endless: list = []  # type: ignore[type-arg]
    endless.append(endless)

    class Rude:
        def __str__(self) -> str:
            raise ValueError

    line = encode({"a": "x\ud800y", "b": float("nan"), "c": [float("inf"), (1, 2)], 3: b"z", "d": Rude(), "e": endless})
    message = json.loads(line)
    assert message["a"] == "x\ufffdy"
    assert message["b"] is None
    assert message["c"] == [None, [1, 2]]
    assert message["3"] == "b'z'"
    assert message["d"] == "<Rude>"


def test_lines_come_out_whole_however_the_bytes_are_cut() -> None:
    seed = int.from_bytes(os.urandom(4), "big")
    print("seed", seed)
    dice = random.Random(seed)
    messages = [{"text": "".join(dice.choice('a\n\u00e9\U0001f600"') for _ in range(dice.randrange(200)))} for _ in range(500)]
    data = b"".join(map(encode, messages))
    lines, buffer, at = [], LineBuffer(), 0
    while at < len(data):
        size = dice.randrange(1, 300)
        lines += buffer.feed(data[at : at + size])
        at += size
    assert [json.loads(line) for line in lines] == messages


@pytest.mark.parametrize("pieces", [[b"x" * 11], [b"x" * 6, b"x" * 6], [b"x" * 11 + b"\n"]])
def test_a_line_beyond_the_limit_is_refused_before_its_end(pieces: list[bytes]) -> None:
    buffer = LineBuffer(10)
    with pytest.raises(LineTooLong):
        for piece in pieces:
            buffer.feed(piece)


def test_messages_and_their_texts_come_out_whole_however_the_bytes_are_cut() -> None:
    seed = int.from_bytes(os.urandom(4), "big")
    print("seed", seed)
    dice = random.Random(seed)
    words = ["a", "\n", "\u00e9", "\U0001f600", '"', "{", "\\"]
    texts = ["".join(dice.choice(words) for _ in range(dice.randrange(200))) for _ in range(500)]
    messages: List[Message] = [{"is": "x", "text": text} if dice.randrange(2) else {"is": text, "n": dice.randrange(9)} for text in texts]
    data = b"".join(map(pack, messages))
    found: List[Message] = []
    buffer, at = MessageBuffer(), 0
    while at < len(data):
        size = dice.randrange(1, 300)
        found += buffer.feed(data[at : at + size])
        at += size
    # An empty text is no bytes and its length.
    assert [{**message, "text": message.get("text") or ""} for message in found] == [
        {**message, "text": message.get("text", "")} for message in messages
    ]


def test_what_a_text_cannot_say_is_replaced() -> None:
    assert list(MessageBuffer().feed(pack({"text": "x\ud800y"}))) == [{"text": "x\ufffdy"}]
    assert list(MessageBuffer().feed(b'{"text":3}\n\xff\xfeb')) == [{"text": "\ufffd\ufffdb"}]


@pytest.mark.parametrize("data", [b"nonsense\n", b"\n", b"[" * 100_000 + b"\n", b"x" * (LINE_LIMIT_BYTES + 1)])
def test_what_is_no_message_is_refused_after_those_before_it(data: bytes) -> None:
    buffer = MessageBuffer()
    messages = buffer.feed(pack({"text": "before"}) + b"3\n[]\n" + data)
    assert next(messages) == {"text": "before"}
    with pytest.raises((LineTooLong, ValueError, RecursionError)):
        next(messages)


def test_a_text_beyond_the_limit_is_refused_before_its_end() -> None:
    buffer = MessageBuffer()
    assert list(buffer.feed(b'{"text":%d}\n' % (1 << 60))) == []
    with pytest.raises(LineTooLong):
        for _ in range(LINE_LIMIT_BYTES // (1 << 20) + 1):
            assert list(buffer.feed(b"x" * (1 << 20))) == []


@pytest.mark.parametrize(
    ("message", "instead"),
    [
        ({"is": "emit", "type": "result", "statement": 1, "data": {"text/plain": "x" * 5000}, "metadata": {}}, "result"),
        ({"is": "emit", "type": "display", "statement": 1, "data": {}, "metadata": {"a": "x" * 5000}, "displayId": "d"}, "display"),
        ({"is": "emit", "type": "comm", "statement": 1, "comm": "c", "data": {}, "buffers": ["x" * 5000]}, "log"),
        ({"is": "emit", "type": "returned", "statement": 1, "payload": [{"text": "x" * 5000}], "expressions": {}}, "log"),
        ({"is": "reply", "request": 7, "result": {"matches": ["x" * 5000]}}, "reply"),
        ({"is": "log", "lines": ["x" * 5000]}, "log"),
    ],
)
def test_a_message_too_large_for_a_line_is_replaced_by_one_that_says_so(
    message: Message, instead: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spark_shim.pipe.LINE_LIMIT_BYTES", 1000)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        Pipe(theirs).send(message)
        (got,) = MessageBuffer().feed(ours.recv(65536))
    assert got.get("type", got["is"]) == instead
    assert "too large" in json.dumps(got)
    assert {name: got.get(name) for name in ("request", "displayId")} == {name: message.get(name) for name in ("request", "displayId")}


def test_the_interpreters_end_may_be_written_from_many_threads() -> None:
    ours, theirs = socket.socketpair()
    pipe = Pipe(theirs)

    def write() -> None:
        for _ in range(100):
            pipe.send({"text": "x" * 1000})

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    buffer, count = MessageBuffer(), 0
    while count < 800:
        for message in buffer.feed(ours.recv(65536)):
            assert message["text"] == "x" * 1000
            count += 1
    for thread in threads:
        thread.join()
    ours.close()
    theirs.close()
