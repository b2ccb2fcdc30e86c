"""What notebooks ask for besides running code. Each test runs with an embedded IPython and without."""

from __future__ import annotations

import base64
from typing import Any, Dict, List

import pytest
from interpreter_kit import InterpreterProcess

from spark_shim.interpreter.sql_magic import html_table, text_table
from spark_shim.pipe import Message


def returned(emits: List[Message]) -> Dict[str, Any]:
    return next((each for each in emits if each["type"] == "returned"), {})


def comms(emits: List[Message]) -> List[Message]:
    return [each for each in emits if each["type"] == "comm"]


def test_expressions_are_evaluated_when_the_cell_ended_well(interpreter: InterpreterProcess) -> None:
    told = returned(interpreter.run_cell("x = 20", expressions={"good": "x + 1", "bad": "nope"}).emits)["expressions"]
    assert told["good"] == {"status": "ok", "data": {"text/plain": "21"}, "metadata": {}}
    assert (told["bad"]["status"], told["bad"]["ename"]) == ("error", "NameError")
    assert returned(interpreter.run_cell("1/0", expressions={"good": "x"}).emits) == {}


def test_numbers_are_those_of_the_history(interpreter: InterpreterProcess) -> None:
    def next_after(stored: bool) -> int:
        return int(interpreter.run_cell("1", stored=stored).done["next"])

    first = next_after(True)
    assert [next_after(True), next_after(False), next_after(False), next_after(True)] == [first + 1, first + 1, first + 1, first + 2]


@pytest.mark.parametrize(
    ("code", "status", "indent"),
    [
        ("", "complete", ""),
        ("1 + 1", "complete", ""),
        ("await x", "complete", ""),
        ("for i in x:", "incomplete", "    "),
        ("if x:\n    y = (1,", "incomplete", "    "),
        ("1 1", "invalid", ""),
        ("x = (", "incomplete", ""),
    ],
)
def test_code_is_complete_or_not(interpreter: InterpreterProcess, code: str, status: str, indent: str) -> None:
    told = interpreter.request({"do": "parse", "code": code})["result"]
    assert told["status"] == status
    assert status != "incomplete" or told["indent"] in (indent, indent + "    ")


def test_input_without_anybody_to_answer_says_so_in_jupyters_words(interpreter: InterpreterProcess) -> None:
    error = interpreter.run_cell("input()").emits[-1]
    assert error["ename"] == "StdinNotImplementedError"


@pytest.mark.needs("IPython")
def test_pages_and_next_inputs_are_for_the_front_end() -> None:
    with InterpreterProcess() as interpreter:
        payload = returned(interpreter.run_cell("len?").emits)["payload"]
        assert payload[0]["source"] == "page" and "len" in payload[0]["data"]["text/plain"]
        # A statement of another face prints it.
        assert "len" in interpreter.run("len?").text("stdout")
        next_input = returned(interpreter.run_cell("get_ipython().set_next_input('1 + 1')").emits)["payload"]
        assert next_input == [{"source": "set_next_input", "text": "1 + 1", "replace": False}]


def test_a_warning_is_shown_in_the_cell(interpreter: InterpreterProcess) -> None:
    outcome = interpreter.run_cell("import warnings\nwarnings.warn('careful')")
    assert "UserWarning: careful" in outcome.text("stderr")


@pytest.mark.needs("IPython")
def test_values_are_laid_out_for_notebooks_and_on_one_line_for_others() -> None:
    code = "print('IPKernelApp' in get_ipython().config)\n{'one': 'x' * 60, 'two': int}"
    laid_out = "{'one': '%s',\n 'two': int}" % ("x" * 60)
    one_line = "{'one': '%s', 'two': <class 'int'>}" % ("x" * 60)
    with InterpreterProcess() as interpreter:
        for notebook in (False, True, False):
            outcome = interpreter.run_cell(code) if notebook else interpreter.run(code)
            assert outcome.result == {"text/plain": laid_out if notebook else one_line}
            assert outcome.text("stdout") == "%s\n" % notebook
        assert "..." in str(interpreter.run_cell("list(range(2000))").result)


@pytest.mark.needs("IPython")
def test_how_a_user_wants_values_laid_out_outlives_the_cell() -> None:
    with InterpreterProcess() as interpreter:
        interpreter.run_cell("%pprint")
        assert interpreter.run_cell("int").result == {"text/plain": "<class 'int'>"}
        interpreter.run_cell("%pprint\n%precision 2")
        assert interpreter.run_cell("3.14159").result == {"text/plain": "3.14"}


def test_an_unknown_target_is_closed_without_a_word(interpreter: InterpreterProcess) -> None:
    outcome = interpreter.comm("open", "c1", "nobody")
    assert outcome.outcome == "ok"
    assert [(each["event"], each["comm"]) for each in comms(outcome.emits)] == [("close", "c1")]
    assert [each["type"] for each in outcome.emits] == ["comm"]
    assert interpreter.comm("msg", "c1").emits == []


@pytest.mark.needs("comm")
def test_comms_go_both_ways(interpreter: InterpreterProcess) -> None:
    code = """
import comm
def opened(channel, message):
    channel.on_msg(lambda m: channel.send({"back": m["content"]["data"]}, buffers=[bytes(b)[::-1] for b in m["buffers"]]))
comm.get_comm_manager().register_target("echo", opened)
own = comm.create_comm(target_name="theirs", data={"n": 1})
"""
    outcome = interpreter.run_cell(code)
    assert [(each["event"], each["target"], each["data"]) for each in comms(outcome.emits)] == [("open", "theirs", {"n": 1})]
    assert interpreter.comm("open", "c2", "echo").outcome == "ok"
    assert interpreter.request({"do": "comms"})["result"]["comms"]["c2"] == "echo"
    (answer,) = comms(interpreter.comm("msg", "c2", data={"x": "😀"}, buffers=[base64.b64encode(b"\x00\x01\xff").decode()]).emits)
    assert (answer["event"], answer["data"], base64.b64decode(answer["buffers"][0])) == ("msg", {"back": {"x": "😀"}}, b"\xff\x01\x00")
    assert interpreter.comm("close", "c2").outcome == "ok"
    assert "c2" not in interpreter.request({"do": "comms"})["result"]["comms"]


@pytest.mark.needs("comm")
def test_a_handler_that_raises_is_told_of_and_harms_nobody(interpreter: InterpreterProcess) -> None:
    code = "import comm\ndef bad(c, m): c.on_msg(lambda m: 1/0)\ncomm.get_comm_manager().register_target('bad', bad)"
    assert interpreter.run_cell(code).outcome == "ok"
    interpreter.comm("open", "c3", "bad")
    outcome = interpreter.comm("msg", "c3")
    assert outcome.outcome == "error" and outcome.emits[-1]["ename"] == "ZeroDivisionError"
    assert interpreter.run_cell("1").outcome == "ok"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("%%sql -o 1x\nselect 1", "-o 1x is no name of a variable"),
        ("%%sql -n many\nselect 1", "invalid int value"),
        ("%%sql --nope\nselect 1", "unrecognized arguments"),
        ("%%sql\n;", "there is no query"),
    ],
)
def test_sql_says_how_it_is_used(interpreter: InterpreterProcess, code: str, said: str) -> None:
    error = interpreter.run_cell(code).emits[-1]
    assert error["ename"] == "UsageError" and said in error["evalue"]


def test_tables_take_nothing_for_markup() -> None:
    html = html_table(["<a>"], [["<script>"], [None]], more=True)
    numbers = html_table(["id", "word"], [[1, "x"], [None, "y"], [2.5, None]], more=False)
    assert '<th style="text-align:right">id</th>' in numbers and '<td style="text-align:left">y</td>' in numbers
    assert "<script>" not in html and "&lt;script&gt;" in html and '<td style="text-align:left">NULL</td>' in html
    assert "Only the first 2 rows" in html
    assert text_table(["a", "long"], [[1, "x"], [22, "y\nz"]], more=False) == "a   long\n1   x\n22  y z"
