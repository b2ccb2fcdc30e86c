"""What statements write: order, attribution, bounds, and what user code may do to the streams and to the process."""

from __future__ import annotations

import time
from textwrap import dedent

import pytest
from interpreter_kit import InterpreterProcess, alive
from kit import held, let_go


def test_stdout_and_stderr_keep_their_order(interpreter: InterpreterProcess) -> None:
    outcome = interpreter.run("import sys\nprint('a')\nprint('b', file=sys.stderr)\nsys.stdout.write('c')\nprint('d', file=sys.stderr)")
    joined = [(emit["name"], emit["text"]) for emit in outcome.of("stream")]
    assert "".join(text for _, text in joined) == "a\nb\ncd\n"
    assert all(emit["via"] == "python" for emit in outcome.of("stream"))
    assert outcome.text("stderr") == "b\nd\n"


def test_the_first_line_comes_while_the_statement_runs(interpreter: InterpreterProcess) -> None:
    gate = interpreter.path("line")
    number = interpreter.start("print('first')\n" + held(gate) + "print('second')")
    interpreter.wait_for_text(number, "first\n")
    let_go(gate)
    assert interpreter.finish(number).text() == "second\n"


def test_text_without_a_newline_comes_while_the_statement_runs(interpreter: InterpreterProcess) -> None:
    gate = interpreter.path("text")
    number = interpreter.start("print('...', end='')\n" + held(gate))
    assert interpreter.wait_for_emit(number, "stream")["text"] == "..."
    let_go(gate)
    assert interpreter.finish(number).text() == ""


def test_text_without_a_newline_is_not_held_back_after_a_pause(interpreter: InterpreterProcess) -> None:
    number = interpreter.start("import sys, time\nwhile True:\n    sys.stdout.write('%f ' % time.time())\n    time.sleep(0.1)")

    def late() -> float:
        emit = interpreter.wait_for_emit(number, "stream")
        return time.time() - float(emit["text"].split()[-1])

    # Text that is held back comes 50 ms late or more each time, however quick the machine is; this one may be busy, but not each time.
    assert any(late() < 0.04 for _ in range(100))
    interpreter.cancel(number)
    interpreter.finish(number)


def test_many_small_prints_become_few_records(interpreter: InterpreterProcess) -> None:
    outcome = interpreter.run("for i in range(100_000): print(i)")
    assert outcome.text() == "".join("%d\n" % i for i in range(100_000))
    # One for each 64 KiB, and some twenty a second where the machine is slow.
    assert len(outcome.of("stream")) < 5_000


def test_a_hundred_megabytes_pass_in_pieces_and_leave_no_memory_behind(interpreter: InterpreterProcess) -> None:
    before = resident_kib(interpreter)
    outcome = interpreter.run("for i in range(100): print('ä' * 499_999 + 'x')")
    assert sum(len(emit["text"].encode()) for emit in outcome.of("stream")) == 100 * 1_000_000
    assert max(len(emit["text"].encode()) for emit in outcome.of("stream")) <= 256 * 1024
    assert resident_kib(interpreter) - before < 60_000


def resident_kib(interpreter: InterpreterProcess) -> int:
    with open("/proc/%d/status" % interpreter.process.pid) as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))


def test_odd_text_arrives(interpreter: InterpreterProcess) -> None:
    assert interpreter.run("print('a\\x00b\\x1b[31mred\\r😀')").text() == "a\x00b\x1b[31mred\r😀\n"
    assert interpreter.run("print('a\\ud800b')").text() == "a\ufffdb\n"


def test_streams_behave_as_streams(interpreter: InterpreterProcess) -> None:
    assert interpreter.run("import sys\nsys.stdout.write(b'x')").error["ename"] == "TypeError"
    assert interpreter.run("sys.stdout.write('abc')").result == {"text/plain": "3"}
    asked = "(sys.stdout.fileno(), sys.stderr.fileno(), sys.stdout.isatty(), sys.stdout.encoding, sys.stdout.writable(), sys.stdout.closed)"
    assert interpreter.run(asked).result == {"text/plain": "(1, 2, False, 'utf-8', True, False)"}
    assert interpreter.run("sys.stdout.buffer.write('ä'.encode()[:1]); sys.stdout.buffer.write('ä\\n'.encode()[1:]); None").text() == "ä\n"
    assert interpreter.run("import logging\nlogging.warning('told')").text("stderr") == "WARNING:root:told\n"


def test_bytes_on_the_file_descriptors_come_before_the_mark(interpreter: InterpreterProcess) -> None:
    outcome = interpreter.run(
        "import os, subprocess\nos.write(1, b'raw one\\n')\nsubprocess.run(['echo', 'from a child'])\nos.write(2, b'raw two\\n')"
    )
    assert outcome.of("stream") == []
    mark = "\x1eM%d\x1f" % outcome.done["barrier"]
    assert interpreter.fd_text(1).partition(mark)[0].endswith("raw one\nfrom a child\n")
    assert interpreter.fd_text(2).partition(mark)[0].endswith("raw two\n")


def test_what_c_code_buffered_comes_before_the_mark(interpreter: InterpreterProcess) -> None:
    outcome = interpreter.run("import ctypes\nctypes.CDLL(None).printf(b'from C')")
    assert interpreter.fd_text(1).partition("\x1eM%d\x1f" % outcome.done["barrier"])[0].endswith("from C")


@pytest.mark.parametrize(
    "code",
    [
        "import sys; sys.stdout.close(); sys.stderr.close()",
        "import sys; sys.stdout = None",
        "import io, sys; sys.stdout = io.StringIO(); sys.stdout.close()",
        "import sys; sys.stdin.close()",
        "import os; os.close(1); os.close(2)",
        "import os; os.close(0)",
        "import sys; sys.stdout = sys.__stdout__",
    ],
)
def test_broken_streams_are_mended_for_the_next_statement(interpreter: InterpreterProcess, code: str) -> None:
    interpreter.run(code)
    assert alive(interpreter)


def test_a_file_that_took_descriptor_1_gets_no_mark(interpreter: InterpreterProcess) -> None:
    interpreter.run("import os\nsaved = os.dup(1)\nos.close(1)\nfile = open('taken', 'w')\nfile.fileno()")
    assert alive(interpreter)
    assert interpreter.run("file.write('mine'); file.flush(); content = open('taken').read(); os.dup2(saved, 1); content").result == {
        "text/plain": "'mine'"
    }


def test_a_stream_of_the_users_own_stays(interpreter: InterpreterProcess) -> None:
    interpreter.run("import io, sys\nmine = sys.stdout = io.StringIO()")
    assert interpreter.run("print('caught')").text() == ""
    assert interpreter.run("sys.stdout = sys.__stdout__\nmine.getvalue()").result == {"text/plain": "'caught\\n'"}
    assert alive(interpreter)


def test_a_threads_late_output_belongs_to_the_statement_that_started_it(interpreter: InterpreterProcess) -> None:
    code = """
        import threading
        go = threading.Event()
        def late():
            go.wait(30)
            print('late')
        thread = threading.Thread(target=late)
        thread.start()
        print('now')
    """
    first = interpreter.start(dedent(code))
    assert interpreter.finish(first).text() == "now\n"
    second = interpreter.start("go.set(); thread.join(); print('later')")
    interpreter.wait_for_text(first, "late\n")
    assert interpreter.finish(second).text() == "later\n"


def test_interleaved_threads_lose_no_line(interpreter: InterpreterProcess) -> None:
    code = """
        import sys, threading
        def work(n):
            for i in range(2000): sys.stdout.write('%d-%d\\n' % (n, i))
        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
    """
    text = interpreter.run(dedent(code)).text()
    assert sorted(text.split()) == sorted("%d-%d" % (n, i) for n in range(8) for i in range(2000))


@pytest.mark.parametrize(
    "code",
    [
        "import sys; del sys.stdout, sys.stderr, sys.stdin",
        "import io, sys; sys.stdout = io.TextIOWrapper(io.BytesIO()); sys.stdout.detach()",
        "import io, sys; sys.stdin = io.TextIOWrapper(io.BytesIO()); sys.stdin.detach()",
        "import sys; sys.__stdout__ = 1; del sys.__stderr__",
    ],
)
def test_whatever_a_statement_makes_of_the_streams_the_next_one_runs(code: str) -> None:
    with InterpreterProcess() as process:
        process.run(code)
        outcome = process.run("import sys; print('out'); print('err', file=sys.stderr)")
        assert (outcome.outcome, outcome.text(), outcome.text("stderr")) == ("ok", "out\n", "err\n")


# ── Processes ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_forked_child_is_no_second_interpreter(interpreter: InterpreterProcess) -> None:
    code = """
        import os
        print('before')
        pid = os.fork()
        print('parent' if pid else 'child')
        if pid: os.waitpid(pid, 0)
        pid and 'waited'
    """
    outcome = interpreter.run(dedent(code))
    assert outcome.text() == "before\nparent\n"
    assert outcome.result == {"text/plain": "'waited'"}
    assert "child\n" in interpreter.fd_text(1) and "before" not in interpreter.fd_text(1)
    assert alive(interpreter)


def test_a_forked_childs_error_is_its_own(interpreter: InterpreterProcess) -> None:
    outcome = interpreter.run("import os\npid = os.fork()\nif not pid: raise ValueError('in the child')\nos.waitpid(pid, 0)[1] >> 8")
    assert (outcome.outcome, outcome.result) == ("ok", {"text/plain": "1"})
    assert "ValueError: in the child" in interpreter.fd_text(2)
    assert alive(interpreter)


def test_a_forked_child_has_nobody_to_ask(interpreter: InterpreterProcess) -> None:
    number = interpreter.start("import os\npid = os.fork()\nif not pid: input('who? ')\nos.waitpid(pid, 0)[1] >> 8", stdin=True)
    outcome = interpreter.finish(number)
    assert (outcome.outcome, outcome.result, outcome.of("input")) == ("ok", {"text/plain": "1"}, [])
    assert "EOFError" in interpreter.fd_text(2)
    assert alive(interpreter)


def test_multiprocessing_works(interpreter: InterpreterProcess) -> None:
    code = """
        import multiprocessing
        def square(n):
            return n * n
        with multiprocessing.get_context('fork').Pool(2) as pool:
            got = pool.map(square, range(5))
        got
    """
    assert interpreter.run(dedent(code)).result == {"text/plain": "[0, 1, 4, 9, 16]"}
    assert alive(interpreter)


def test_exit_runs_exit_handlers() -> None:
    with InterpreterProcess() as process:
        process.run("import atexit, os\natexit.register(lambda: os.write(1, b'good bye'))")
        process.send({"do": "exit"})
        assert process.exit_code() == 0
        process.until(lambda: "good bye" in process.fd_text(1), "the exit handler's words")


def test_the_interpreter_ends_when_the_supervisor_is_gone() -> None:
    with InterpreterProcess() as process:
        process.start("import time\ntime.sleep(3600)")
        process.hang_up()
        assert process.exit_code() == 1
