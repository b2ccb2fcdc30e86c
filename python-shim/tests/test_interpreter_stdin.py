"""What statements ask of whoever sent them."""

from __future__ import annotations

from interpreter_kit import InterpreterProcess


def test_input_asks_and_takes_the_answer(interpreter: InterpreterProcess) -> None:
    number = interpreter.start("print('first')\nname = input('Who? ')\nprint('Hello', name)", stdin=True)
    asked = interpreter.wait_for_emit(number, "input")
    assert (asked["prompt"], asked["password"]) == ("Who? ", False)
    interpreter.send({"do": "answer", "question": asked["question"], "value": "wörld"})
    assert interpreter.finish(number).text() == "Hello wörld\n"


def test_getpass_says_that_it_wants_a_password(interpreter: InterpreterProcess) -> None:
    number = interpreter.start("import getpass\ngetpass.getpass()", stdin=True)
    asked = interpreter.wait_for_emit(number, "input")
    assert asked["password"] is True
    interpreter.send({"do": "answer", "question": asked["question"], "value": "s"})
    assert interpreter.finish(number).result == {"text/plain": "'s'"}


def test_an_answer_nobody_asked_for_is_dropped(interpreter: InterpreterProcess) -> None:
    interpreter.send({"do": "answer", "question": 0, "value": "stale"})
    number = interpreter.start("try: input('one')\nexcept KeyboardInterrupt: pass\ninput('two')", stdin=True)
    first = interpreter.wait_for_emit(number, "input")
    interpreter.cancel(number)
    second = interpreter.wait_for_emit(number, "input", lambda emit: emit["prompt"] == "two")
    interpreter.send({"do": "answer", "question": first["question"], "value": "late"})
    interpreter.send({"do": "answer", "question": second["question"], "value": "fresh"})
    assert interpreter.finish(number).result == {"text/plain": "'fresh'"}


def test_a_thread_that_asks_on_keeps_no_later_statement_from_asking(interpreter: InterpreterProcess) -> None:
    code = (
        "import threading\ngot = []\n"
        "def ask():\n    try: input('still?')\n    except EOFError as error: got.append(str(error))\n"
        "thread = threading.Thread(target=ask)\nthread.start()\nthreading.Event().wait(60)"
    )
    number = interpreter.start(code, stdin=True)
    interpreter.wait_for_emit(number, "input")
    interpreter.cancel(number)
    interpreter.finish(number)
    number = interpreter.start("name = input('Who?')\nthread.join(60)\nprint(name, got)", stdin=True)
    asked = interpreter.wait_for_emit(number, "input")
    interpreter.send({"do": "answer", "question": asked["question"], "value": "Ann"})
    assert interpreter.finish(number).text() == "Ann ['EOF when reading a line: the statement that asks has ended']\n"


def test_without_stdin_input_raises_at_once(interpreter: InterpreterProcess) -> None:
    outcome = interpreter.run("input('Who? ')")
    assert outcome.error["ename"] == "EOFError"
    assert outcome.error["evalue"].startswith("EOF when reading a line")
    assert interpreter.run("import sys; sys.stdin.readline()").result == {"text/plain": "''"}
    assert outcome.of("input") == []
