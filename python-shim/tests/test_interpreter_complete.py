"""Completion and inspection, which change nothing and need no free interpreter."""

from __future__ import annotations

from typing import Any

from interpreter_kit import InterpreterProcess


def complete(interpreter: InterpreterProcess, code: str, kind: str = "pyspark") -> Any:
    return interpreter.request({"do": "complete", "code": code, "kind": kind, "cursor": len(code)})["result"]


def test_completion_works_while_a_statement_runs(interpreter: InterpreterProcess) -> None:
    interpreter.run("größe_one, größe_two, number = 1, 2, 3")
    running = interpreter.start("import time\nprint('go')\ntime.sleep(3600)")
    interpreter.wait_for_emit(running, "stream")
    reply = complete(interpreter, "x = größe_")
    assert (reply["matches"], reply["start"], reply["end"]) == (["größe_one", "größe_two"], 4, 10)
    assert "bit_length" in str(complete(interpreter, "number.bit")["matches"])
    assert interpreter.request({"do": "inspect", "code": "len(", "kind": "pyspark", "cursor": 4, "detail": 0})["result"]["found"]
    interpreter.cancel(running)
    interpreter.finish(running)


def test_completion_of_attributes_names_them_without_the_dot_and_says_which_are_methods(interpreter: InterpreterProcess) -> None:
    interpreter.run("class Frame:\n    id = 1\n    def ignite(self): pass\nframe = Frame()")
    reply = complete(interpreter, "x = frame.i")
    assert (reply["matches"], reply["start"], reply["end"]) == (["id", "ignite"], 10, 11)
    types = reply["metadata"].get("_jupyter_types_experimental")
    if types is not None:  # IPython's are told
        assert [(each["text"], each["start"], each["type"] == "function") for each in types] == [("id", 10, False), ("ignite", 10, True)]


def test_completion_of_attributes_of_attributes_and_of_nothing(interpreter: InterpreterProcess) -> None:
    interpreter.run("import os")
    assert (complete(interpreter, "str.uppe")["matches"], complete(interpreter, "str.uppe")["start"]) == (["upper"], 4)
    assert any(name.endswith("join") for name in complete(interpreter, "os.path.jo")["matches"])
    assert complete(interpreter, "nosuch.x")["matches"] == []
    assert complete(interpreter, "1 +", "spark")["matches"] == []


def test_completion_calls_nothing(interpreter: InterpreterProcess) -> None:
    interpreter.run("called = []\nclass C:\n    def make(self): called.append(1); return self\nc = C()")
    complete(interpreter, "c.make().ma")
    assert interpreter.run("called").result == {"text/plain": "[]"}


def test_completion_survives_a_hostile_object(interpreter: InterpreterProcess) -> None:
    interpreter.run(
        "class H:\n    def __dir__(self): raise ValueError('no')\n    def __getattr__(self, name): raise RuntimeError(name)\nh = H()"
    )
    assert isinstance(complete(interpreter, "h.x")["matches"], list)


def test_inspection_tells_signature_docstring_and_source(interpreter: InterpreterProcess) -> None:
    interpreter.run("def told(a, b=2):\n    '''What it does.'''\n    return a + b")
    code = "x = told(1, "
    for cursor in (6, len(code)):
        reply = interpreter.request({"do": "inspect", "code": code, "kind": "pyspark", "cursor": cursor, "detail": 0})["result"]
        assert reply["found"]
        assert "told(a, b=2)" in reply["data"]["text/plain"] and "What it does." in reply["data"]["text/plain"]
    source = interpreter.request({"do": "inspect", "code": code, "kind": "pyspark", "cursor": 6, "detail": 1})["result"]
    assert "return a + b" in source["data"]["text/plain"]
    nothing = interpreter.request({"do": "inspect", "code": "nosuch", "kind": "pyspark", "cursor": 3, "detail": 0})["result"]
    assert nothing == {"found": False, "data": {}, "metadata": {}}
