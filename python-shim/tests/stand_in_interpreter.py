"""Runs statements with `exec` and nothing else: what tests of the supervisor need of an interpreter when there is no Spark."""

from __future__ import annotations

import ctypes
import os
import queue
import signal
import sys
import threading
import traceback
from typing import Any, Dict, Optional

from spark_shim.pipe import Message, Pipe, barrier_token

pipe = Pipe.inherited()
statements: queue.Queue[Optional[Message]] = queue.Queue()
answers: queue.Queue[str] = queue.Queue()
current: Dict[str, Any] = {"statement": None, "gate": False}


class Stream:
    def __init__(self, name: str) -> None:
        self.name = name

    def write(self, text: str) -> int:
        for at in range(0, len(text), 65536):
            emit("stream", name=self.name, text=text[at : at + 65536])
        return len(text)

    def flush(self) -> None:
        pass


def emit(kind: str, **fields: Any) -> None:
    pipe.send({"is": "emit", "type": kind, "statement": current["statement"], **fields})


def ask(prompt: str = "") -> str:
    emit("input", prompt=prompt, password=False)
    while True:
        try:
            return answers.get(timeout=0.05)
        except queue.Empty:
            continue


def interrupted(*_: object) -> None:
    if current["gate"]:
        raise KeyboardInterrupt


def read() -> None:
    for message in pipe.messages():
        if message["do"] == "gateway":
            # A name that every life of an interpreter in the same "Spark" can see.
            namespace["gateway"] = message
            facts = {"python": sys.version.split()[0], "spark": "none", "appId": "app-1", "uiUrl": None, "sparkUser": "me", "ipython": None}
            if message["attach"] and os.path.exists("../jvm-is-sick"):
                continue
            if os.path.exists("../interpreter-fails"):
                pipe.send({"is": "failed", "reason": "Spark said no"})
            else:
                pipe.send({"is": "ready", "facts": facts})
        elif message["do"] == "run":
            statements.put(message)
        elif message["do"] == "cancelJobs":
            pipe.send({"is": "reply", "request": message["request"], "result": {"jobs": 0}})
        elif message["do"] == "complete":
            result = {"matches": [message["code"] + "x"], "start": 0, "end": message["cursor"], "metadata": {}}
            pipe.send({"is": "reply", "request": message["request"], "result": result})
        elif message["do"] == "inspect":
            pipe.send({"is": "reply", "request": message["request"], "result": {"found": False, "data": {}, "metadata": {}}})
        elif message["do"] == "answer":
            answers.put(message["value"])
    os._exit(0)


namespace: Dict[str, Any] = {"__name__": "__main__", "emit": emit, "input": ask, "pipe": pipe}
signal.signal(signal.SIGINT, interrupted)
sys.stdout, sys.stderr = Stream("stdout"), Stream("stderr")
threading.Thread(target=read, daemon=True).start()
barrier = 0
while True:
    statement = statements.get()
    assert statement is not None
    current["statement"] = statement["statement"]
    outcome = "ok"
    try:
        current["gate"] = True
        try:
            exec(statement["code"], namespace)
        finally:
            current["gate"] = False
    except KeyboardInterrupt:
        outcome = "cancelled"
        emit("error", ename="KeyboardInterrupt", evalue="", traceback=[])
    except BaseException as error:
        outcome = "error"
        emit("error", ename=type(error).__name__, evalue=str(error), traceback=traceback.format_exc().splitlines(True))
    barrier += 1
    ctypes.CDLL(None).fflush(None)
    for fd in (1, 2):
        try:
            os.write(fd, barrier_token(barrier))
        except OSError:
            pass
    pipe.send({"is": "done", "statement": statement["statement"], "outcome": outcome, "next": 2, "barrier": barrier, "jvm": False})
