"""Interrupts: each ends its statement, and nothing else of the process."""

from __future__ import annotations

from textwrap import dedent

import pytest
from interpreter_kit import InterpreterProcess, alive
from kit import held, let_go


@pytest.mark.parametrize(
    "code",
    [
        "import time\nkept = 1\nprint('go')\ntime.sleep(3600)",
        "kept = 1\nprint('go')\nwhile True: pass",
        "kept = 1\nprint('go')\nwhile True: print('flood ' * 20)",
        "kept = 1\nimport threading\nprint('go')\nthreading.Event().wait()",
        "kept = 1\nimport subprocess\nprint('go')\nsubprocess.run(['sleep', '3600'])",
        "kept = 1\nimport asyncio\nprint('go')\nawait asyncio.sleep(3600)",
        "kept = 1\nimport time\nprint('go')\ntry:\n    time.sleep(3600)\nexcept Exception:\n    pass",
    ],
)
def test_an_interrupt_ends_the_statement_and_keeps_the_variables(interpreter: InterpreterProcess, code: str) -> None:
    number = interpreter.start(code)
    interpreter.wait_for_emit(number, "stream")
    # Once: nothing else ends it.
    interpreter.cancel(number)
    outcome = interpreter.finish(number)
    assert (outcome.outcome, outcome.error["ename"]) == ("cancelled", "KeyboardInterrupt")
    assert interpreter.run("kept").result == {"text/plain": "1"}
    assert alive(interpreter)


def test_an_interrupt_ends_a_blocked_input(interpreter: InterpreterProcess) -> None:
    number = interpreter.start("input('Who? ')", stdin=True)
    interpreter.wait_for_emit(number, "input")
    interpreter.cancel(number)
    assert interpreter.finish(number).outcome == "cancelled"
    assert alive(interpreter)


def test_no_interrupt_tears_a_line_of_the_pipe(interpreter: InterpreterProcess) -> None:
    for _ in range(15):
        number = interpreter.start("while True: print('x' * 70_000)")
        interpreter.wait_for_emit(number, "stream")
        interpreter.cancel(number)
        assert interpreter.finish(number).outcome == "cancelled"
    assert alive(interpreter)


def test_a_signal_for_a_statement_that_is_over_does_not_hit_the_next(interpreter: InterpreterProcess) -> None:
    number = interpreter.start("1")
    interpreter.finish(number)
    interpreter.cancel(number)
    following = interpreter.start("import time\nfor _ in range(20): time.sleep(0.01)\n'whole'")
    interpreter.cancel(number)
    interpreter.signal()
    assert interpreter.finish(following).result == {"text/plain": "'whole'"}


def test_one_cancel_is_one_interrupt_however_many_signals_come(interpreter: InterpreterProcess) -> None:
    number = interpreter.start("try: input('one')\nexcept KeyboardInterrupt: pass\ninput('two')", stdin=True)
    interpreter.wait_for_emit(number, "input")
    interpreter.cancel(number)
    asked = interpreter.wait_for_emit(number, "input", lambda emit: emit["prompt"] == "two")
    # As one that was on its way when what it was for had been done already.
    interpreter.signal()
    interpreter.send({"do": "answer", "question": asked["question"], "value": "whole"})
    assert interpreter.finish(number).result == {"text/plain": "'whole'"}
    assert alive(interpreter)


def test_a_cancel_that_comes_before_its_statement_begins_is_not_lost(interpreter: InterpreterProcess) -> None:
    gate = interpreter.path("before")
    first = interpreter.start("print('go')\n" + held(gate))
    second = interpreter.start("while True: pass")
    interpreter.wait_for_emit(first, "stream")
    interpreter.cancel(second)
    let_go(gate)
    assert interpreter.finish(first).outcome == "ok"
    assert interpreter.finish(second).outcome == "cancelled"


def test_an_interrupt_that_strikes_in_a_finalizer_comes_once_more(interpreter: InterpreterProcess) -> None:
    code = """
        import time
        class Finalized:
            def __del__(self):
                print('go')
                time.sleep(3600)
        Finalized()
        while True: pass
    """
    number = interpreter.start(dedent(code))
    interpreter.wait_for_emit(number, "stream")
    interpreter.cancel(number)
    outcome = interpreter.finish(number)
    assert (outcome.outcome, outcome.error["ename"], outcome.text("stderr")) == ("cancelled", "KeyboardInterrupt", "")


@pytest.mark.parametrize(
    ("handler", "ename"),
    [("library.wait()", "KeyboardInterrupt"), ("try: library.wait()\nexcept BaseException: raise OSError('mine')", "OSError")],
)
def test_what_library_code_makes_of_an_interrupt_is_the_interrupt(interpreter: InterpreterProcess, handler: str, ename: str) -> None:
    code = """
        import time, types
        library = types.ModuleType('library')
        text = 'def wait():\\n  try: sleep(3600)\\n  finally: never_assigned.close()'
        exec(compile(text, 'library.py', 'exec'), library.__dict__)
        def sleep(seconds):
            print('go')  # whoever reads it knows that the library waits
            time.sleep(seconds)
        library.sleep = sleep
    """
    number = interpreter.start(dedent(code) + handler)
    interpreter.wait_for_emit(number, "stream")
    interpreter.cancel(number)
    outcome = interpreter.finish(number)
    assert (outcome.outcome, outcome.error["ename"]) == ("cancelled", ename)
    assert 'File "library.py", line 3, in wait' in outcome.traceback
    assert ("never_assigned" in outcome.traceback) == (ename == "OSError")


def test_code_that_swallows_an_interrupt_goes_on_until_the_next_one(interpreter: InterpreterProcess) -> None:
    code = """
        import time
        try:
            print('go')
            time.sleep(3600)
        except KeyboardInterrupt:
            print('swallowed')
        while True: pass
    """
    number = interpreter.start(dedent(code))
    interpreter.wait_for_emit(number, "stream")
    interpreter.cancel(number)
    interpreter.wait_for_text(number, "swallowed\n")
    interpreter.cancel(number)
    assert interpreter.finish(number).outcome == "cancelled"


@pytest.mark.needs("IPython")
def test_what_is_interrupted_again_at_its_end_tells_of_one_interrupt() -> None:
    code = """
        import time
        def at_end():
            print('end')
            time.sleep(3600)
        get_ipython().events.register('post_execute', at_end)
        print('go')
        while True: pass
    """
    with InterpreterProcess() as process:
        number = process.start(dedent(code))
        emits = [process.wait_for_emit(number, "stream")]
        process.cancel(number)
        process.wait_for_text(number, "end\n")
        process.cancel(number)
        outcome = process.finish(number, emits=emits)
        assert (outcome.outcome, outcome.error["ename"], outcome.text("stderr")) == ("cancelled", "KeyboardInterrupt", "")


def test_a_users_own_signal_handler_lasts_no_longer_than_its_statement(interpreter: InterpreterProcess) -> None:
    interpreter.run("import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)")
    number = interpreter.start("print('go')\nwhile True: pass")
    interpreter.wait_for_emit(number, "stream")
    interpreter.cancel(number)
    assert interpreter.finish(number).outcome == "cancelled"
