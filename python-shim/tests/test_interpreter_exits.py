"""Ends of the process that run nothing on their way: what a statement wrote just before is not lost, and they end it all the same."""

from __future__ import annotations

import signal

import pytest
from interpreter_kit import InterpreterProcess

#: The first line is sent at once, the second waits for more.
WRITTEN = "import os, signal, sys, threading, time\nprint('first')\nprint('last words', end='')\n"


def last_text(process: InterpreterProcess, code: str, name: str = "stdout") -> str:
    """What a statement wrote that ends its process."""
    number = process.start(code)
    ours = [message for message in process.rest() if message["is"] == "emit" and message["statement"] == number]
    return "".join(message["text"] for message in ours if message["type"] == "stream" and message["name"] == name)


@pytest.mark.parametrize(
    ("end", "status"),
    [
        ("os._exit(3)", 3),
        ("os._exit(status=4)", 4),
        ("threading.Thread(target=lambda: os._exit(5)).start()\ntime.sleep(3600)", 5),
        ("os.abort()", -signal.SIGABRT),
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("os.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(3600)", -signal.SIGTERM),
    ],
)
def test_what_was_written_last_is_sent_before_the_end(end: str, status: int) -> None:
    with InterpreterProcess() as process:
        assert last_text(process, WRITTEN + end) == "first\nlast words"
        assert process.exit_code() == status


def test_an_exit_in_a_signal_handler_that_strikes_in_a_write_ends_the_process() -> None:
    # What is written before may wait for the lock that the handler's thread holds.
    code = """
sys.stdout.flush()
signal.signal(signal.SIGALRM, lambda *_: os._exit(6))
signal.setitimer(signal.ITIMER_REAL, 0.05)
while True: print('flood ' * 2000)
"""
    with InterpreterProcess() as process:
        assert last_text(process, WRITTEN + code).startswith("first\nlast words")
        assert process.exit_code() == 6


def test_who_holds_the_stream_for_ever_does_not_keep_the_process_from_its_end() -> None:
    code = """
held = threading.Event()
def hold():
    with sys.stdout._outputs._lock:
        held.set()
        time.sleep(3600)
threading.Thread(target=hold).start()
held.wait()
os._exit(7)
"""
    with InterpreterProcess() as process:
        process.start(WRITTEN + code)
        assert process.exit_code() == 7


def test_a_forked_child_exits_as_ever_and_its_parents_text_comes_once() -> None:
    code = "pid = os.fork()\nif pid == 0:\n    print('of the child')\n    os._exit(8)\nos.WEXITSTATUS(os.waitpid(pid, 0)[1])"
    with InterpreterProcess() as process:
        outcome = process.run(WRITTEN + code)
        assert (outcome.text(), outcome.result) == ("first\nlast words", {"text/plain": "8"})
        assert "of the child\n" in process.fd_text(1)


def test_signals_for_others_and_pickled_exits_are_what_they_were() -> None:
    with InterpreterProcess() as process:
        code = "import os, subprocess\nchild = subprocess.Popen(['sleep', '3600'])\nos.kill(child.pid, 15)\nchild.wait()"
        assert process.run(code).result == {"text/plain": "-15"}
        assert process.run("import pickle\npickle.loads(pickle.dumps(os._exit)) is os._exit").result == {"text/plain": "True"}
        assert process.run("os.kill(os.getpid(), 0)\nos.kill()").error["ename"] == "TypeError"
