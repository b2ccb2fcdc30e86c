"""What a statement answers: results, errors, displays, magics. Each test runs with an embedded IPython and without."""

from __future__ import annotations

from textwrap import dedent
from typing import Any, Dict, List

import pytest
from interpreter_kit import InterpreterProcess

from spark_shim.pipe import Message


def text_of(interpreter: InterpreterProcess, code: str) -> Any:
    outcome = interpreter.run(code)
    assert outcome.outcome == "ok", outcome.emits
    return outcome.result["text/plain"] if outcome.result else None


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("1+1", "2"),
        ("None", None),
        ("x = 41", None),
        ("1\n2\n3", "3"),
        ("1; 2; 3", "3"),
        ("'it'", "'it'"),
        ("'日本語'", "'日本語'"),
        ("'\\ud800'", "'\\ud800'"),
        ("", None),
        ("   \n  ", None),
        ("# nothing", None),
        ("\n\n1+1", "2"),
        ("10**30", "1000000000000000000000000000000"),
        ("b'\\xff'", "b'\\xff'"),
        ("5;", None),
        ("5;  # quiet", None),
        ("'ä;'", "'ä;'"),
        ("größe = 3\ngröße", "3"),
        ("list(range(2000))", str(list(range(2000)))),
        ("__name__", "'__main__'"),
        ("import sys; sys.modules['__main__'].__dict__ is globals()", "True"),
        ("async def f():\n    return 7\nawait f()", "7"),
        ("import asyncio\nawait asyncio.sleep(0)\n8", "8"),
        ("def f():\n    '''x\r\ny'''\nf.__doc__", "'x\\ny'"),
    ],
)
def test_the_last_expression_is_shown(interpreter: InterpreterProcess, code: str, shown: str) -> None:
    assert text_of(interpreter, code) == shown


def test_state_is_kept_and_underscore_is_the_last_value(interpreter: InterpreterProcess) -> None:
    interpreter.run("x = 41")
    assert text_of(interpreter, "x + 1") == "42"
    assert text_of(interpreter, "_") == "42"


def test_the_namespace_holds_nothing_of_ours(interpreter: InterpreterProcess) -> None:
    names = text_of(interpreter, "[n for n in globals() if not n.startswith('_') and n not in ('In', 'Out', 'get_ipython', 'open', 'n')]")
    assert not any(name in names for name in ("magic", "longwick", "outputs", "display", "exit"))


def test_a_future_import_holds_for_the_statements_after_it(interpreter: InterpreterProcess) -> None:
    interpreter.run("from __future__ import annotations")
    assert text_of(interpreter, "def f(x: nosuch): pass\nf.__annotations__") == "{'x': 'nosuch'}"


def test_silent_code_shows_no_result_but_runs(interpreter: InterpreterProcess) -> None:
    assert interpreter.run("quiet = 3\nquiet", silent=True).result is None
    assert text_of(interpreter, "quiet") == "3"


@pytest.mark.parametrize("kind", ["spark", "sparkr"])
def test_kinds_this_driver_lacks_are_refused_with_what_is_missing(interpreter: InterpreterProcess, kind: str) -> None:
    outcome = interpreter.run("1 + 1", kind)
    assert outcome.outcome == "error"
    assert outcome.error["ename"] == "InterpreterError"
    assert ("Scala" if kind == "spark" else "R ") in outcome.error["evalue"]


# ── Errors ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_traceback_shows_source_lines_and_no_frame_of_ours(interpreter: InterpreterProcess) -> None:
    outcome = interpreter.run("def f():\n    g()\ndef g():\n    raise ValueError('bad ✓')\nf()")
    assert outcome.outcome == "error"
    assert (outcome.error["ename"], outcome.error["evalue"]) == ("ValueError", "bad ✓")
    lines: List[str] = outcome.error["traceback"]
    assert lines[0] == "Traceback (most recent call last):\n"
    assert lines[-1] == "ValueError: bad ✓\n"
    assert all(line.endswith("\n") and line.count("\n") == 1 for line in lines)
    assert [line.strip() for line in lines if line.startswith("    ") and "^" not in line] == ["f()", "g()", "raise ValueError('bad ✓')"]
    assert "spark_shim" not in outcome.traceback and "IPython" not in outcome.traceback


def test_a_function_of_an_earlier_cell_shows_its_own_source(interpreter: InterpreterProcess) -> None:
    interpreter.run("def earlier():\n    return 1/0  # here")
    assert "return 1/0  # here" in interpreter.run("earlier()").traceback
    assert "return 1/0  # here" in text_of(interpreter, "import inspect; inspect.getsource(earlier)")


def test_a_syntax_error_has_a_caret_and_no_traceback_line(interpreter: InterpreterProcess) -> None:
    outcome = interpreter.run("a = 1\nb = = 2")
    assert outcome.error["ename"] == "SyntaxError"
    assert outcome.error["evalue"].endswith(", line 2)")
    assert outcome.error["traceback"][0].startswith("  File")
    assert "    b = = 2\n" in outcome.error["traceback"]
    assert "^" in outcome.traceback


def test_a_syntax_error_inside_called_code_has_its_calls(interpreter: InterpreterProcess) -> None:
    outcome = interpreter.run("def f():\n    compile('1 +', 'inner', 'eval')\nf()")
    assert outcome.error["traceback"][0] == "Traceback (most recent call last):\n"
    assert ", in f\n" in outcome.traceback


def test_causes_are_told(interpreter: InterpreterProcess) -> None:
    outcome = interpreter.run("try:\n    1/0\nexcept Exception as e:\n    raise KeyError('k') from e")
    assert outcome.error["ename"] == "KeyError"
    assert "ZeroDivisionError: division by zero\n" in outcome.traceback
    assert "direct cause" in outcome.traceback


@pytest.mark.needs("asyncio.taskgroups")  # exception groups came with it, in Python 3.11
def test_exception_groups_show_their_members(interpreter: InterpreterProcess) -> None:
    outcome = interpreter.run("raise ExceptionGroup('g', [ValueError(1), TypeError(2)])")
    assert outcome.error["evalue"] == "g (2 sub-exceptions)"
    assert "ValueError: 1" in outcome.traceback and "TypeError: 2" in outcome.traceback


@pytest.mark.parametrize(
    ("code", "evalue"), [("import sys; sys.exit()", ""), ("import sys; sys.exit(3)", "3"), ("exit()", "None"), ("quit()", "None")]
)
def test_exit_is_an_error_and_the_interpreter_lives_on(interpreter: InterpreterProcess, code: str, evalue: str) -> None:
    outcome = interpreter.run(code)
    assert outcome.outcome == "error"
    assert (outcome.error["ename"], outcome.error["evalue"]) == ("SystemExit", evalue)
    assert text_of(interpreter, "'still here'") == "'still here'"


def test_a_keyboard_interrupt_of_the_code_itself_is_an_error(interpreter: InterpreterProcess) -> None:
    outcome = interpreter.run("raise KeyboardInterrupt()")
    assert (outcome.outcome, outcome.error["ename"]) == ("error", "KeyboardInterrupt")


@pytest.mark.parametrize(
    "code",
    [
        "class W(Exception):\n    def __str__(self): raise RuntimeError('inner')\nraise W()",
        "class W(Exception):\n    def __str__(self): return 7\nraise W()",
        "class W(Exception):\n    __class__ = property(lambda self: 1/0)\nraise W()",
        "def f(): f()\nf()",
        "def f(n): g(n)\ndef g(n): f(n)\nf(1)",
        "raise ValueError('x' * 50_000_000)",
        "e = None\nfor i in range(2000):\n    n = ValueError(i); n.__cause__ = e; e = n\nraise e",
        "raise ValueError('\\ud800')",
        "class Meta(type):\n    def __repr__(self): raise ValueError('meta')\nclass W(Exception, metaclass=Meta): pass\nraise W()",
    ],
)
def test_hostile_exceptions_are_bounded_errors(interpreter: InterpreterProcess, code: str) -> None:
    outcome = interpreter.run(code)
    assert outcome.outcome == "error"
    assert outcome.error["ename"] in ("W", "RecursionError", "ValueError")
    assert len(outcome.traceback) < 600_000 and len(outcome.error["evalue"]) < 300_000
    assert text_of(interpreter, "1+1") == "2"


def test_a_repr_that_fails_is_the_statements_error(interpreter: InterpreterProcess) -> None:
    outcome = interpreter.run("class P:\n    def __repr__(self): raise ValueError('bad repr')\nP()")
    assert (outcome.outcome, outcome.error["evalue"], outcome.result) == ("error", "bad repr", None)


def test_output_before_an_error_is_kept(interpreter: InterpreterProcess) -> None:
    outcome = interpreter.run("print('before')\n1/0")
    assert outcome.order == ["stream", "error"]


def test_warnings_go_to_the_log(interpreter: InterpreterProcess) -> None:
    interpreter.logs.clear()
    outcome = interpreter.run("import warnings\nwarnings.warn('careful')")
    assert outcome.of("stream") == []
    assert any("UserWarning: careful" in line for line in interpreter.logs)


# ── Displays ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_html_reprs_come_with_the_text(interpreter: InterpreterProcess) -> None:
    code = """
        class P:
            def __repr__(self): return 'P!'
            def _repr_html_(self): return '<b>P</b>'
            def _repr_png_(self): return b'png'
        P()
    """
    assert interpreter.run(dedent(code)).result == {"text/plain": "P!", "text/html": "<b>P</b>", "image/png": "cG5n"}


def test_a_class_is_not_asked_for_its_instances_html(interpreter: InterpreterProcess) -> None:
    code = "class Q:\n    def _repr_html_(self): return '<b>Q</b>'\nQ"
    assert list(interpreter.run(code).result) == ["text/plain"]


def test_a_mimebundle_is_taken(interpreter: InterpreterProcess) -> None:
    code = "class M:\n    def _repr_mimebundle_(self, include=None, exclude=None): return {'x/y': {'a': 1}}, {'x/y': {'m': 2}}\nM()"
    outcome = interpreter.run(code)
    assert outcome.result["x/y"] == {"a": 1}
    assert outcome.of("result")[0]["metadata"] == {"x/y": {"m": 2}}


def test_display_shows_in_order_with_what_is_printed(interpreter: InterpreterProcess) -> None:
    outcome = interpreter.run("print('a')\ndisplay({'k': 1})\nprint('b')\n7")
    assert outcome.order == ["stream", "display", "stream", "result"]
    assert outcome.of("display")[0]["data"] == {"text/plain": "{'k': 1}"}


def test_a_display_can_be_updated(interpreter: InterpreterProcess) -> None:
    outcome = interpreter.run("handle = display('one', display_id='here')\nhandle.update('two')")
    shown = [(emit["data"]["text/plain"], emit["displayId"], emit["update"]) for emit in outcome.of("display")]
    assert shown == [("'one'", "here", False), ("'two'", "here", True)]


def test_a_bundle_beyond_the_limit_is_left_out_with_a_note(interpreter: InterpreterProcess) -> None:
    code = "class B:\n    def __repr__(self): return 'B'\n    def _repr_html_(self): return 'x' * 40_000_000\nB()"
    data: Dict[str, Any] = interpreter.run(code).result
    assert list(data) == ["text/plain"]
    assert "text/html of 40000000 bytes is not shown" in data["text/plain"]


@pytest.mark.needs("pandas")
def test_a_pandas_frame_is_a_table(interpreter: InterpreterProcess) -> None:
    data = interpreter.run("import pandas as pd\npd.DataFrame({'a': [1, 2], 'b': ['x', 'y']})").result
    assert data["text/plain"] == "   a  b\n0  1  x\n1  2  y"
    assert "<table" in data["text/html"]


PLOT = "import matplotlib.pyplot as plt\nlines = plt.plot([1, 2])\n"
needs_matplotlib = pytest.mark.needs("matplotlib")


@needs_matplotlib
def test_open_figures_are_shown_once_at_the_end_of_a_statement(interpreter: InterpreterProcess) -> None:
    outcome = interpreter.run(PLOT)
    assert [list(emit["data"]) for emit in outcome.of("display")] == [["text/plain", "image/png"]]
    assert outcome.of("display")[0]["data"]["image/png"].startswith("iVBORw0KGgo")
    assert interpreter.run("1").of("display") == []


@needs_matplotlib
def test_show_shows_at_once(interpreter: InterpreterProcess) -> None:
    outcome = interpreter.run(PLOT + "plt.show()\nprint('after')")
    assert outcome.order == ["display", "stream"]


@needs_matplotlib
@pytest.mark.parametrize("code", [PLOT + "%matplot plt", PLOT + "%matplot plt.gcf()"])
def test_matplot_answers_the_picture(interpreter: InterpreterProcess, code: str) -> None:
    outcome = interpreter.run(code)
    assert outcome.result["image/png"].startswith("iVBORw0KGgo")


@needs_matplotlib
def test_matplot_shows_its_figure_only_once(interpreter: InterpreterProcess) -> None:
    assert [emit["type"] for emit in interpreter.run(PLOT + "%matplot plt").emits] == ["result"]


@needs_matplotlib
def test_matplot_in_the_next_statement_finds_the_figure(interpreter: InterpreterProcess) -> None:
    shown = interpreter.run(PLOT + "plt.title('a figure that is not empty')").of("display")
    assert len(shown) == 1
    empty = interpreter.run("plt.figure()\n%matplot plt").result["image/png"]
    interpreter.run(PLOT)
    again = interpreter.run("%matplot plt").result["image/png"]
    assert len(again) > len(empty)


# ── Magics ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

TABLE = "application/vnd.livy.table.v1+json"


def test_json(interpreter: InterpreterProcess) -> None:
    assert interpreter.run("j = {'a': [1, None, 1.5], 'b': 'é'}\n%json j").result == {"application/json": {"a": [1, None, 1.5], "b": "é"}}
    assert interpreter.run("%json  j").result == {"application/json": {"a": [1, None, 1.5], "b": "é"}}


def test_json_says_what_json_has_no_word_for(interpreter: InterpreterProcess) -> None:
    code = """
        import datetime, decimal
        v = [float('nan'), float('-inf'), 2**53 + 1, decimal.Decimal('1.50'), datetime.date(2020, 1, 2), b'ab', {3: (1,)}]
    """
    said = ["NaN", "-Infinity", "9007199254740993", "1.50", "2020-01-02", "YWI=", {"3": [1]}]
    interpreter.run(dedent(code))
    assert interpreter.run("%json v").result == {"application/json": said}


def test_a_magic_may_stand_before_and_between_code(interpreter: InterpreterProcess) -> None:
    outcome = interpreter.run("j = 1\nprint('p')\n%json j\nk = 2\n%json k")
    assert outcome.text() == "p\n"
    assert outcome.result == {"application/json": 2}
    assert interpreter.run("%json j\n1+1").result == {"text/plain": "2"}


def test_percent_in_valid_python_is_python(interpreter: InterpreterProcess) -> None:
    assert text_of(interpreter, "a, json, x = 17, 5, 3\n(a\n%json)") == "2"
    assert text_of(interpreter, "s = '''\n%json x\n'''\ns") == "'\\n%json x\\n'"
    assert interpreter.run("t = '''\n%json x\n'''\n%json t").result == {"application/json": "\n%json x\n"}


@pytest.mark.parametrize(
    ("code", "ename"),
    [
        ("%json nosuch", "NameError"),
        ("%table nosuch", "NameError"),
        ("%matplot nosuch", "NameError"),
        ("o = object()\n%json o", "TypeError"),
        ("o = []\no.append(o)\n%json o", "RecursionError"),
        ("m = [{'a': 1}, {'a': 'x'}]\n%table m", "TypeError"),
        ("s = 5\n%matplot s", "TypeError"),
        ("%nosuch a", "UnknownMagic"),
        ("%", "UnknownMagic"),
        ("%table", "UnknownMagic"),
    ],
)
def test_a_magic_that_cannot_is_an_error(interpreter: InterpreterProcess, code: str, ename: str) -> None:
    outcome = interpreter.run(code)
    assert (outcome.outcome, outcome.error["ename"], outcome.result) == ("error", ename, None)
    assert "spark_shim" not in outcome.traceback


def test_unknown_magics_say_livys_words(interpreter: InterpreterProcess) -> None:
    error: Message = interpreter.run("%nosuch a").error
    assert (error["evalue"], error["traceback"]) == ("unknown magic command 'nosuch'", ["UnknownMagic: unknown magic command 'nosuch'\n"])


@pytest.mark.parametrize(
    ("value", "headers", "data"),
    [
        ("[{'a': 1, 'b': 'x'}, {'a': 2, 'b': None}]", [("a", "INT_TYPE"), ("b", "STRING_TYPE")], [[1, "x"], [2, None]]),
        ("[[1, 'a'], [2, 'b']]", [("0", "INT_TYPE"), ("1", "STRING_TYPE")], [[1, "a"], [2, "b"]]),
        ("5", [("0", "INT_TYPE")], [[5]]),
        ("[]", [], []),
        ("[{'a': 1}, {'b': 'x'}]", [("a", "INT_TYPE"), ("b", "STRING_TYPE")], [[1, None], [None, "x"]]),
        ("[{'a': [1, 2], 'm': {'k': 1}}]", [("a", "ARRAY_TYPE"), ("m", "MAP_TYPE")], [[[1, 2], {"k": 1}]]),
        ("[[1], [1.5]]", [("0", "DOUBLE_TYPE")], [[1], [1.5]]),
        ("[[True, None]]", [("0", "BOOLEAN_TYPE"), ("1", "NULL_TYPE")], [[True, None]]),
        ("[[float('nan')]]", [("0", "DOUBLE_TYPE")], [["NaN"]]),
        (
            "[[dt.datetime(2020, 1, 2, 3), dt.date(2020, 1, 2), decimal.Decimal('1.50')]]",
            [("0", "TIMESTAMP_TYPE"), ("1", "DATE_TYPE"), ("2", "DECIMAL_TYPE")],
            [["2020-01-02T03:00:00", "2020-01-02", "1.50"]],
        ),
    ],
)
def test_table(interpreter: InterpreterProcess, value: str, headers: Any, data: Any) -> None:
    outcome = interpreter.run("import datetime as dt, decimal\nt = %s\n%%table t" % value)
    assert outcome.result == {TABLE: {"headers": [{"name": name, "type": kind} for name, kind in headers], "data": data}}


@pytest.mark.needs("pandas")
def test_table_of_a_pandas_frame(interpreter: InterpreterProcess) -> None:
    code = "import pandas as pd\nf = pd.DataFrame({'n': [1, 2], 's': ['x', None], 't': pd.to_datetime(['2020-01-02', None])})\n%table f"
    table = interpreter.run(code).result[TABLE]
    assert [(header["name"], header["type"]) for header in table["headers"]] == [
        ("n", "INT_TYPE"),
        ("s", "STRING_TYPE"),
        ("t", "TIMESTAMP_TYPE"),
    ]
    assert table["data"] == [[1, "x", "2020-01-02T00:00:00"], [2, None, None]]


@pytest.mark.needs("IPython")
def test_ipythons_magics_work_where_it_is() -> None:
    with InterpreterProcess() as process:
        assert process.run("!echo from the shell").text() == "from the shell\n"
        assert "Wall time" in process.run("%%time\nx = 1").text()
        assert "Docstring" in process.run("print?").text()
        assert process.run("from IPython.display import HTML, display\ndisplay(HTML('<i>'))").of("display")[0]["data"]["text/html"] == "<i>"
        assert process.run("from IPython.display import clear_output\nclear_output(wait=True)").of("clear")[0]["wait"] is True
        assert "bad formatter" in process.run("class F:\n    def _repr_html_(self): raise ValueError('bad formatter')\nF()").text("stderr")
        assert process.run("Out[1] if 1 in Out else In[1]").outcome == "ok"
