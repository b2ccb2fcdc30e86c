"""What Jupyter's own client sees of an installed kernelspec: `kernel_cases.py OUT CASES…`, with the kernelspec's name in KERNEL.

Runs the cases of the classes named and writes to OUT, as JSON, how each ended: null when it held, else what was wrong.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.request
from queue import Empty
from typing import Any, Dict, List, Optional, Tuple

import jupyter_kernel_test
import zmq
from jupyter_client import BlockingKernelClient, KernelManager

KERNEL = os.environ["KERNEL"]
#: Drivers do not begin while this file is there.
HOLD = os.environ.get("HOLD_DRIVERS", "")
START_S = 60
CELL_S = 20
#: Jupyter's own patience with a kernel that is to go is five seconds; a machine with much else to do has its own pace.
GONE_S = 20
POD_S = 180

Message = Dict[str, Any]


def started(cwd: Optional[str] = None, **options: Any) -> KernelManager:
    env = {**os.environ, **options.pop("env", {})}
    manager = KernelManager(kernel_name=KERNEL, shutdown_wait_time=GONE_S, **options)
    manager.start_kernel(env=env, cwd=cwd)
    return manager


def connected(manager: KernelManager) -> BlockingKernelClient:
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=START_S)
    return client


def patient(client: BlockingKernelClient) -> BlockingKernelClient:
    """Jupyter's own checks give what is published a tenth of a second after the reply: far more is fair where others run too."""
    channel = client.iopub_channel
    once = channel.get_msg
    channel.get_msg = lambda timeout=None: once(timeout=None if timeout is None else max(timeout, CELL_S))
    return client


def pid_of(manager: KernelManager) -> int:
    return manager.provisioner.process.pid


def has_gone(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return " Z " in file.read()
    except OSError:  # between the file's opening and its reading too
        return True


def until(what: str, seconds: float, holds: Any) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.05)


class Gate:
    """Where code in a driver on this machine waits until the test lets it go on, in place of sleeping: `python` with `wait()` behind it."""

    def __init__(self) -> None:
        self._directory = tempfile.mkdtemp()
        path = os.path.join(self._directory, "open")
        self.python = f"import os, time\ndef wait():\n    while not os.path.exists({path!r}): time.sleep(0.02)\n"

    def open(self) -> None:
        open(os.path.join(self._directory, "open"), "w", encoding="utf-8").close()

    def __enter__(self) -> "Gate":
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)


class Cell:
    """One execute_request and all that came of it."""

    def __init__(self, client: BlockingKernelClient, code: str, **options: Any) -> None:
        self.client = client
        self.id = client.execute(code, **options)
        self.messages: List[Message] = []

    def read(self, seconds: float = CELL_S, stop: Optional[Any] = None) -> "Cell":
        """Up to its idle, or to the first message that `stop` wants."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                message = self.client.get_iopub_msg(timeout=max(0, deadline - time.monotonic()))
            except Empty:
                raise AssertionError(f"no end of the cell within {seconds} s; so far {[m['msg_type'] for m in self.messages][-20:]}") from None
            if message["parent_header"].get("msg_id") != self.id:
                continue
            self.messages.append(message)
            if stop is not None and stop(message):
                return self
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                return self

    def whole_reply(self, seconds: float = CELL_S) -> Message:
        while True:
            message = self.client.get_shell_msg(timeout=seconds)
            if message["parent_header"].get("msg_id") == self.id:
                return message

    def reply(self, seconds: float = CELL_S) -> Dict[str, Any]:
        return self.whole_reply(seconds)["content"]

    def of(self, kind: str) -> List[Dict[str, Any]]:
        return [message["content"] for message in self.messages if message["msg_type"] == kind]

    def text(self, name: str = "stdout") -> str:
        return "".join(content["text"] for content in self.of("stream") if content["name"] == name)


def following(client: BlockingKernelClient, request: Message) -> Cell:
    """What comes of a request that somebody has sent."""
    cell = Cell.__new__(Cell)
    cell.client, cell.id, cell.messages = client, request["header"]["msg_id"], []
    return cell


def run(client: BlockingKernelClient, code: str, seconds: float = CELL_S, **options: Any) -> Tuple[Dict[str, Any], Cell]:
    cell = Cell(client, code, **options)
    reply = cell.reply(seconds)
    return reply, cell.read(seconds)


class WithKernel(unittest.TestCase):
    """The cases of a class share one kernel."""

    options: Dict[str, Any] = {}
    manager: KernelManager
    client: BlockingKernelClient

    @classmethod
    def setUpClass(cls) -> None:
        cls.manager = started(**cls.options)
        cls.client = connected(cls.manager)
        run(cls.client, "1", START_S)

    @classmethod
    def tearDownClass(cls) -> None:
        cls.client.stop_channels()
        cls.manager.shutdown_kernel()

    def lives(self) -> None:
        reply, cell = run(self.client, "print('still', 'there')")
        self.assertEqual((reply["status"], cell.text()), ("ok", "still there\n"))


class Conformance(jupyter_kernel_test.KernelTests, jupyter_kernel_test.IopubWelcomeTests):
    """Jupyter's own checks, with every kind of sample they know."""

    kernel_name = KERNEL
    language_name = "python"
    file_extension = ".py"
    code_hello_world = "print('hello, world')"
    code_stderr = "import sys; print('test', file=sys.stderr)"
    completion_samples = [
        {"text": "zi", "matches": {"zip"}},
        {"text": "str.uppe", "matches": {"upper"}},
        {"text": "import matpl"},
        {"text": "nothing_that_begins_so_", "matches": set()},
    ]
    complete_code_samples = ["1", "print('hello, world')", "def f(x):\n  return x*2\n\n\n", "%%sql\nSELECT 1\n\n", ""]
    incomplete_code_samples = ["print('''hello", "def f(x):\n  x*2", "for each in range(3):", "f(1,"]
    invalid_code_samples = ["import = 7q", "1 1", "f(1))"]
    code_page_something = "zip?"
    code_generate_error = "raise RuntimeError('on purpose')"
    code_execute_result = [
        {"code": "1+2+3", "result": "6"},
        {"code": "[n*n for n in range(1, 4)]", "result": "[1, 4, 9]"},
        {"code": "spark.range(4).count()", "result": "4"},
    ]
    code_display_data = [
        {"code": "from IPython.display import HTML, display; display(HTML('<b>test</b>'))", "mime": "text/html"},
        {"code": "from IPython.display import Math, display; display(Math('\\\\frac{1}{2}'))", "mime": "text/latex"},
    ]
    code_history_pattern = "1?2*"
    supported_history_operations = ("tail", "search", "range")
    code_inspect_sample = "zip"
    code_clear_output = "from IPython.display import clear_output; clear_output()"
    support_iopub_welcome = True

    @classmethod
    def setUpClass(cls) -> None:
        cls.km = started()
        cls.kc = patient(connected(cls.km))
        run(cls.kc, "spark.range(1).count()", START_S)

    @classmethod
    def tearDownClass(cls) -> None:
        cls.kc.stop_channels()
        cls.km.shutdown_kernel()

    def flush_channels(self) -> None:
        """Up to what answers a question that is asked now: a silence says nothing of what is still on its way."""
        question = self.kc.kernel_info()
        for channel, last in ((self.kc.shell_channel, "reply"), (self.kc.iopub_channel, "idle")):
            while True:
                message = channel.get_msg(timeout=CELL_S)
                jupyter_kernel_test.validate_message(message)
                ends = message["content"].get("execution_state", "reply") == last
                if ends and message["parent_header"].get("msg_id") == question:
                    break

    def test_recv_iopub_welcome_msg(self) -> None:
        # A second client: ZeroMQ by itself would keep its subscription from the kernel.
        self.kc = self.km.client()
        try:
            super().test_recv_iopub_welcome_msg()
        finally:
            self.kc.stop_channels()


class Messages(WithKernel):
    """One client, one kernel over TCP."""

    def test_output_comes_while_the_cell_runs(self) -> None:
        with Gate() as gate:
            cell = Cell(self.client, gate.python + "print('first', end='')\nwait()\nprint('last')")
            cell.read(stop=lambda message: message["msg_type"] == "stream")
            self.assertEqual(cell.text(), "first")
            gate.open()
            cell.read()
        self.assertEqual(cell.text(), "firstlast\n")

    def test_parents_are_the_whole_header_as_it_was_sent(self) -> None:
        message = self.client.session.msg("execute_request", {"code": "print(1)", "silent": False, "store_history": True, "allow_stdin": False})
        message["header"]["later"] = {"unknown": ["field", None, 1.5]}
        self.client.shell_channel.send(message)
        cell = following(self.client, message)
        reply = cell.whole_reply()
        self.assertEqual(reply["parent_header"]["later"], {"unknown": ["field", None, 1.5]})
        self.assertEqual(reply["parent_header"]["msg_id"], message["header"]["msg_id"])

    def test_unknown_messages_are_busy_and_idle_and_nothing_more(self) -> None:
        for channel in (self.client.shell_channel, self.client.control_channel):
            message = self.client.session.msg("teapot_request", {"short": "stout"})
            channel.send(message)
            cell = following(self.client, message).read(10)
            self.assertEqual([m["content"].get("execution_state") for m in cell.messages], ["busy", "idle"])
        self.lives()

    def raw(self, frames: List[bytes], channel: str = "shell") -> None:
        """Frames over a socket of its own, as anybody who can connect may send them."""
        context = zmq.Context.instance()
        socket = context.socket(zmq.DEALER)
        socket.linger = 2_000
        connection = self.manager.get_connection_info()
        socket.connect(f"tcp://127.0.0.1:{connection[channel + '_port']}")
        try:
            socket.send_multipart(frames)
            self.assertEqual(socket.poll(300), 0, "a bad message was answered")
        finally:
            socket.close()

    def test_who_does_not_know_the_key_is_not_heard(self) -> None:
        from jupyter_client.session import Session

        stranger = Session(key=b"not the key")
        for channel in ("shell", "control", "stdin"):
            frames = stranger.serialize(stranger.msg("execute_request", {"code": "import os; os._exit(1)"}))
            self.raw(frames, channel)
        self.raw(stranger.serialize(stranger.msg("shutdown_request", {"restart": False})), "control")
        self.lives()

    def test_what_is_sent_a_second_time_is_not_run_again(self) -> None:
        run(self.client, "runs = 0")
        frames = self.client.session.serialize(self.client.session.msg("execute_request", {"code": "runs += 1"}))
        context = zmq.Context.instance()
        socket = context.socket(zmq.DEALER)
        socket.linger = 2_000
        socket.connect(f"tcp://127.0.0.1:{self.manager.get_connection_info()['shell_port']}")
        try:
            socket.send_multipart(frames)
            self.assertTrue(socket.poll(20_000))
            socket.recv_multipart()
            socket.send_multipart(frames)
            self.assertEqual(socket.poll(500), 0)
        finally:
            socket.close()
        _, cell = run(self.client, "runs")
        self.assertEqual(cell.of("execute_result")[0]["data"]["text/plain"], "1")

    def test_truncated_and_mangled_frames_leave_the_kernel_alone(self) -> None:
        session = self.client.session
        whole = session.serialize(session.msg("execute_request", {"code": "1/0"}))
        for length in range(len(whole)):
            self.raw(whole[:length] or [b""])
        at = whole.index(b"<IDS|MSG>")
        for broken in ([b"\xff"] * 4, [b""] * 4, [b"{}"] * 4, [b"[]", b"null", b"1", b'"x"'], [b"{" * 100_000, b"{}", b"{}", b"{}"]):
            self.raw([*whole[: at + 1], session.sign(broken), *broken])
        self.lives()

    def test_an_interrupt_ends_a_loop_and_leaves_variables(self) -> None:
        run(self.client, "kept = 41")
        cell = Cell(self.client, "while True: pass")
        cell.read(stop=lambda message: message["msg_type"] == "execute_input")
        self.manager.interrupt_kernel()
        self.assertEqual(cell.reply()["ename"], "KeyboardInterrupt")
        reply, cell = run(self.client, "kept + 1")
        self.assertEqual(cell.of("execute_result")[0]["data"]["text/plain"], "42")

    def test_an_interrupt_reaches_spark(self) -> None:
        cell = Cell(self.client, "spark.sparkContext.parallelize(range(2), 2).map(lambda n: __import__('time').sleep(600)).count()")
        cell.read(stop=lambda message: message["msg_type"] == "display_data")
        self.manager.interrupt_kernel()
        self.assertEqual(cell.reply(20)["status"], "error")
        # Spark's tracker hears of a job's end after whoever waited for the job.
        reply, _ = run(self.client, "import time\nwhile spark.sparkContext.statusTracker().getActiveJobsIds(): time.sleep(0.02)")
        self.assertEqual(reply["status"], "ok")

    def test_an_interrupt_without_a_cell_hurts_nobody(self) -> None:
        for _ in range(3):
            self.client.control_channel.send(self.client.session.msg("interrupt_request"))
            self.assertEqual(self.client.get_control_msg(timeout=10)["content"]["status"], "ok")
        self.lives()

    def test_an_interrupt_ends_a_question(self) -> None:
        cell = Cell(self.client, "input('never answered ')", allow_stdin=True)
        self.client.get_stdin_msg(timeout=20)
        self.manager.interrupt_kernel()
        self.assertEqual(cell.reply(20)["ename"], "KeyboardInterrupt")

    def test_clients_that_count_alike_are_told_apart(self) -> None:
        # jupyter_client gives the clients of one manager the same session, and each begins at zero.
        manager = self.manager
        for number in range(3):
            client = connected(manager)
            reply, cell = run(client, f"print({number})")
            self.assertEqual((reply["status"], cell.text()), ("ok", f"{number}\n"))
            client.stop_channels()
        # They share an address too, which the last one has taken.
        self.client.stop_channels()
        type(self).client = connected(manager)

    def test_questions_are_answered(self) -> None:
        code = "import getpass\nname = input('name? ')\nword = getpass.getpass('word? ')\nprint(name, word)"
        cell = Cell(self.client, code, allow_stdin=True)
        asked = []
        for answer in ("Ann ☃", "secret"):
            question = self.client.get_stdin_msg(timeout=20)
            asked.append((question["msg_type"], question["content"]["prompt"], question["content"]["password"]))
            self.client.input(answer)
        self.assertEqual(asked, [("input_request", "name? ", False), ("input_request", "word? ", True)])
        self.assertEqual(cell.reply()["status"], "ok")
        self.assertEqual(cell.read().text(), "Ann ☃ secret\n")

    def test_a_client_that_cannot_be_asked_is_told_so(self) -> None:
        reply, _ = run(self.client, "input()", allow_stdin=False)
        self.assertEqual((reply["status"], reply["ename"]), ("error", "StdinNotImplementedError"))

    def test_control_and_heartbeat_answer_while_a_cell_runs(self) -> None:
        with Gate() as gate:
            cell = Cell(self.client, gate.python + "wait()")
            cell.read(stop=lambda message: message["msg_type"] == "execute_input")
            self.client.control_channel.send(self.client.session.msg("kernel_info_request"))
            self.assertEqual(self.client.get_control_msg(timeout=CELL_S)["msg_type"], "kernel_info_reply")
            until("the heart beats", CELL_S, self.client.hb_channel.is_beating)
            gate.open()
            cell.read()

    def test_an_error_aborts_what_was_queued_behind_it(self) -> None:
        with Gate() as gate:
            cells = [Cell(self.client, code) for code in (gate.python + "wait(); 1/0", "print('must not run')", "print('nor this')")]
            # What the driver answers came to it behind the cells.
            self.assertEqual(self.client.complete("zi", reply=True, timeout=CELL_S)["content"]["status"], "ok")
            gate.open()
            replies = [cell.reply() for cell in cells]
        self.assertEqual([reply["status"] for reply in replies], ["error", "aborted", "aborted"])
        self.lives()

    def test_ten_megabytes_arrive_whole(self) -> None:
        _, cell = run(self.client, "print(''.join(chr(97 + n % 26) for n in range(10_000_000)))")
        text = cell.text()
        self.assertEqual(text, "".join(chr(97 + n % 26) for n in range(10_000_000)) + "\n")

    def test_a_hundred_thousand_prints_are_few_messages_and_lose_nothing(self) -> None:
        _, cell = run(self.client, "for n in range(100_000): print(n)", 120)
        self.assertEqual(cell.text(), "".join(f"{n}\n" for n in range(100_000)))
        # jupyter_server drops what comes faster than a thousand a second. Some twenty come in one, of which a slow machine needs many.
        self.assertLess(len(cell.of("stream")), 5_000)

    def test_a_cell_of_fifty_megabytes_runs(self) -> None:
        reply, cell = run(self.client, "big = '" + "x" * 50_000_000 + "'\nprint(len(big))", 180)
        self.assertEqual((reply["status"], cell.text()), ("ok", "50000000\n"))
        run(self.client, "del big")

    def test_a_cell_that_no_server_takes_is_refused_and_the_next_one_runs(self) -> None:
        reply, _ = run(self.client, "big = '" + "x" * 100_000_000 + "'", 120)
        self.assertEqual((reply["status"], reply["ename"]), ("error", "MessageTooLong"))
        self.lives()

    def test_a_session_that_ends_is_told_in_the_cell_and_a_restart_gives_a_new_one(self) -> None:
        manager = started()
        client = connected(manager)
        try:
            run(client, "1", START_S)
            cell = Cell(client, "import time; time.sleep(60)")
            cell.read(stop=lambda message: message["msg_type"] == "execute_input")
            sessions = f"{manager.kernel_spec.env['LONGWICK_URL']}/sessions"
            with urllib.request.urlopen(f"{sessions}?size=1000") as answer:
                newest = max(session["id"] for session in json.load(answer)["sessions"])
            urllib.request.urlopen(urllib.request.Request(f"{sessions}/{newest}", method="DELETE")).close()
            self.assertEqual(cell.reply(30)["status"], "error")
            reply, _ = run(client, "2", 30)
            self.assertEqual(reply["status"], "error")
            self.assertIn("ended", reply["evalue"])
            manager.restart_kernel()
            client.wait_for_ready(timeout=START_S)
            reply, cell = run(client, "print('anew')", START_S)
            self.assertEqual((reply["status"], cell.text()), ("ok", "anew\n"))
        finally:
            client.stop_channels()
            manager.shutdown_kernel()

    def test_lone_surrogates_and_nan_do_not_break_the_line(self) -> None:
        code = "print('\\ud800')\nfrom IPython.display import display\ndisplay({'application/json': {'n': float('nan')}, 'text/plain': 'n'}, raw=True)"
        reply, _ = run(self.client, code)
        self.assertEqual(reply["status"], "ok")
        self.lives()


class TwoClients(WithKernel):
    """Two clients of one kernel: answers go to who asked, output to both."""

    def setUp(self) -> None:
        # As another program connects: a second client of the same manager would share its session and its address.
        # That the kernel lives its manager knows better than a heartbeat that may be late.
        self.other = BlockingKernelClient(connection_file=self.manager.connection_file, parent=self.manager)
        self.other.load_connection_file()
        self.other.start_channels()
        self.other.wait_for_ready(timeout=START_S)

    def tearDown(self) -> None:
        self.other.stop_channels()

    def test_each_gets_its_own_replies_and_both_the_output(self) -> None:
        ours = Cell(self.client, "print('one')")
        self.assertEqual(ours.reply()["status"], "ok")
        theirs = Cell(self.other, "print('two')")
        self.assertEqual(theirs.reply()["status"], "ok")
        with self.assertRaises(Empty):
            self.client.get_shell_msg(timeout=0.5)
        ours.read()
        seen = following(self.client, {"header": {"msg_id": theirs.id}})
        self.assertEqual(seen.read().text(), "two\n")

    def test_only_whose_cell_runs_is_asked(self) -> None:
        cell = Cell(self.other, "print(input('who? '))", allow_stdin=True)
        self.other.get_stdin_msg(timeout=20)
        with self.assertRaises(Empty):
            self.client.get_stdin_msg(timeout=0.5)
        self.other.input("the other")
        self.assertEqual(cell.read().text(), "the other\n")

    def test_either_may_interrupt(self) -> None:
        cell = Cell(self.client, "while True: pass")
        cell.read(stop=lambda message: message["msg_type"] == "execute_input")
        message = self.other.session.msg("interrupt_request")
        self.other.control_channel.send(message)
        self.assertEqual(self.other.get_control_msg(timeout=10)["content"]["status"], "ok")
        self.assertEqual(cell.reply(20)["ename"], "KeyboardInterrupt")


class Transports(unittest.TestCase):
    """The same kernel over each transport."""

    def check(self, **options: Any) -> Dict[str, Any]:
        manager = started(**options)
        client = connected(manager)
        try:
            info = manager.get_connection_info()
            reply, cell = run(client, "print('hello')", START_S)
            self.assertEqual((reply["status"], cell.text()), ("ok", "hello\n"))
            until("the heart beats", CELL_S, client.hb_channel.is_beating)
            return info
        finally:
            client.stop_channels()
            manager.shutdown_kernel()

    def test_ipc(self) -> None:
        self.assertEqual(self.check(transport="ipc")["transport"], "ipc")

    def test_curve(self) -> None:
        self.assertIn("curve_secretkey", self.check(transport_encryption="required"))

    def test_who_does_not_encrypt_is_not_heard_by_a_kernel_that_does(self) -> None:
        manager = started(transport_encryption="required")
        try:
            session = manager.session
            context = zmq.Context.instance()
            socket = context.socket(zmq.DEALER)
            socket.linger = 0
            socket.connect(f"tcp://127.0.0.1:{manager.get_connection_info()['shell_port']}")
            socket.send_multipart(session.serialize(session.msg("kernel_info_request")))
            self.assertEqual(socket.poll(1_500), 0)
            socket.close()
        finally:
            manager.shutdown_kernel()


class Lives(unittest.TestCase):
    """How a kernel's process begins and ends."""

    def test_a_restart_keeps_the_ports_and_the_driver_and_nothing_of_python(self) -> None:
        manager = started()
        client = connected(manager)
        try:
            run(client, "kept = 1; print(spark.sparkContext.applicationId)", START_S)
            _, before = run(client, "print(spark.sparkContext.applicationId)")
            ports = manager.get_connection_info()
            session = client.kernel_info(reply=True, timeout=20)["header"]["session"]
            manager.restart_kernel()
            client.wait_for_ready(timeout=START_S)
            self.assertEqual(manager.get_connection_info(), ports)
            reply, _ = run(client, "kept", START_S)
            self.assertEqual((reply["ename"], reply["execution_count"]), ("NameError", 1))
            _, after = run(client, "print(spark.sparkContext.applicationId)")
            self.assertEqual(after.text(), before.text())
            self.assertNotEqual(client.kernel_info(reply=True, timeout=20)["header"]["session"], session)
        finally:
            client.stop_channels()
            manager.shutdown_kernel()

    def test_a_restart_in_the_middle_of_a_cell(self) -> None:
        manager = started()
        client = connected(manager)
        try:
            run(client, "1", START_S)
            cell = Cell(client, "while True: pass")
            cell.read(stop=lambda message: message["msg_type"] == "execute_input")
            manager.restart_kernel()
            client.wait_for_ready(timeout=START_S)
            reply, after = run(client, "print('anew')", START_S)
            self.assertEqual((reply["status"], after.text()), ("ok", "anew\n"))
        finally:
            client.stop_channels()
            manager.shutdown_kernel()

    def test_after_a_kill_the_next_process_goes_on_with_the_same_driver(self) -> None:
        manager = started()
        client = connected(manager)
        try:
            _, before = run(client, "print(spark.sparkContext.applicationId)", START_S)
            os.kill(pid_of(manager), 9)
            until("the process is gone", 10, lambda: not manager.is_alive())
            manager.restart_kernel(now=True)
            client.wait_for_ready(timeout=START_S)
            _, after = run(client, "print(spark.sparkContext.applicationId)", START_S)
            self.assertEqual(after.text(), before.text())
        finally:
            client.stop_channels()
            manager.shutdown_kernel()

    def test_shutdown_is_answered_on_control_and_on_iopub_and_quick(self) -> None:
        manager = started()
        client = connected(manager)
        try:
            run(client, "1", START_S)
            message = client.session.msg("shutdown_request", {"restart": False})
            client.control_channel.send(message)
            self.assertEqual(client.get_control_msg(timeout=GONE_S)["content"], {"status": "ok", "restart": False})
            following(client, message).read(GONE_S, stop=lambda message: message["msg_type"] == "shutdown_reply")
            until("the process has gone", GONE_S, lambda: not manager.is_alive())
        finally:
            client.stop_channels()
            manager.cleanup_resources()

    def test_sigterm_ends_it_and_sigint_does_not(self) -> None:
        manager = started()
        client = connected(manager)
        try:
            run(client, "1", START_S)
            os.kill(pid_of(manager), 2)
            reply, _ = run(client, "2")
            self.assertEqual(reply["status"], "ok")
            os.kill(pid_of(manager), 15)
            until("the process has gone", GONE_S, lambda: not manager.is_alive())
        finally:
            client.stop_channels()
            manager.cleanup_resources()

    def test_a_kernel_whose_manager_dies_goes_too(self) -> None:
        code = f"import jupyter_client, time\nm = jupyter_client.KernelManager(kernel_name={KERNEL!r})\nm.start_kernel()\nprint(m.provisioner.process.pid, flush=True)\ntime.sleep(600)"
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            pid = int(process.stdout.readline())
            process.kill()
        until("the kernel has gone after its manager", GONE_S, lambda: has_gone(pid))

    def test_it_says_what_it_is_before_spark_is_there(self) -> None:
        open(HOLD, "w", encoding="utf-8").close()
        manager = started()
        client = manager.client()
        client.start_channels()
        try:
            client.wait_for_ready(timeout=START_S)
        finally:
            os.unlink(HOLD)
            client.stop_channels()
            manager.shutdown_kernel()


class Configure(unittest.TestCase):
    """Sparkmagic's `%%configure`, by a native kernel."""

    memory = "print(spark.conf.get('spark.driver.memory'), spark.range(3).count())"

    def test_before_anything_has_run_it_needs_no_force(self) -> None:
        manager = started()
        client = connected(manager)
        try:
            reply, _ = run(client, '%%configure\n{"driverMemory": "700m"}', START_S)
            self.assertEqual(reply["status"], "ok")
            _, cell = run(client, self.memory, START_S)
            self.assertEqual(cell.text(), "700m 3\n")
        finally:
            client.stop_channels()
            manager.shutdown_kernel()

    def test_after_that_it_needs_force_and_gives_a_new_session(self) -> None:
        manager = started()
        client = connected(manager)
        try:
            run(client, "kept = spark.sparkContext.applicationId", START_S)
            reply, cell = run(client, '%%configure\n{"driverMemory": "700m"}', START_S)
            self.assertEqual(reply["ename"], "ConfigureError")
            self.assertIn("include the -f argument", cell.of("error")[0]["evalue"])
            _, cell = run(client, "print(kept == spark.sparkContext.applicationId)", START_S)
            self.assertEqual(cell.text(), "True\n")
            configured = Cell(client, '%%configure -f\n{"driverMemory": "800m", "conf": {"spark.marked": "1"}}')
            behind = Cell(client, f"print(spark.conf.get('spark.marked'), 'kept' in globals())\n{self.memory}")
            self.assertEqual(configured.reply(START_S)["status"], "ok")
            self.assertEqual(behind.reply(START_S)["status"], "ok")
            self.assertEqual(behind.read(START_S).text(), "1 False\n800m 3\n")
            reply, cell = run(client, '%%configure -f\n{"driverMemory": "much"}', START_S)
            self.assertEqual(reply["ename"], "ConfigureError")
            _, cell = run(client, self.memory, START_S)
            self.assertEqual(cell.text(), "800m 3\n")
        finally:
            client.stop_channels()
            manager.shutdown_kernel()


class Directory(unittest.TestCase):
    """Code begins where the notebook is, as in a local Python kernel."""

    def test_relative_paths_count_from_the_notebook(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            with open(os.path.join(directory, "data.csv"), "w", encoding="utf-8") as file:
                file.write("n\n1\n2\n")
            with open(os.path.join(directory, "beside.py"), "w", encoding="utf-8") as file:
                file.write("said = 'imported'\n")
            manager = started(cwd=directory)
            client = connected(manager)
            try:
                code = "import beside, os\nprint(open('data.csv').read().split(), spark.read.csv('data.csv').count(), beside.said, os.getcwd())"
                _, cell = run(client, code, START_S)
                self.assertEqual(cell.text("stderr") or cell.text(), f"['n', '1', '2'] 3 imported {os.path.realpath(directory)}\n")
                run(client, "spark.range(3).write.saveAsTable('kept')", START_S)
                manager.restart_kernel()
                client.wait_for_ready(timeout=START_S)
                _, cell = run(client, "import os; print(os.getcwd())", START_S)
                self.assertEqual(cell.text(), f"{os.path.realpath(directory)}\n")
                self.assertEqual(sorted(name for name in os.listdir(directory) if name != "__pycache__"), ["beside.py", "data.csv"])
            finally:
                client.stop_channels()
                manager.shutdown_kernel()


class InCluster(unittest.TestCase):
    """A driver that is a pod, with executors that are pods."""

    def test_a_notebook_on_pods(self) -> None:
        manager = started()
        client = connected(manager)
        try:
            _, cell = run(client, "import socket\nprint(socket.gethostname(), spark.sparkContext.applicationId)", POD_S)
            driver, application = cell.text().split()
            hosts = "spark.sparkContext.parallelize(range(8), 8).map(lambda n: __import__('socket').gethostname()).distinct().collect()"
            _, cell = run(client, f"print(*{hosts})", POD_S)
            self.assertTrue(cell.text().split())
            self.assertNotIn(driver, cell.text().split())

            cell = Cell(client, "spark.sparkContext.parallelize(range(2), 2).map(lambda n: __import__('time').sleep(600)).count()")
            cell.read(60, stop=lambda message: message["msg_type"] == "display_data")
            manager.interrupt_kernel()
            self.assertEqual(cell.reply(30)["status"], "error")

            manager.restart_kernel()
            client.wait_for_ready(timeout=START_S)
            reply, cell = run(client, "print(spark.sparkContext.applicationId, 'socket' in globals())", POD_S)
            self.assertEqual((reply["execution_count"], cell.text().split()), (1, [application, "False"]))
        finally:
            client.stop_channels()
            manager.shutdown_kernel()


class Report(unittest.TestResult):
    def __init__(self) -> None:
        super().__init__()
        self.cases: Dict[str, Optional[str]] = {}

    def note(self, test: unittest.TestCase, what: Optional[str]) -> None:
        name = test.id().split(".", 1)[1] if "." in test.id() else test.id()
        self.cases[name] = "\n".join(filter(None, [self.cases.get(name), what])) or None
        print(f"{'ok    ' if self.cases[name] is None else 'FAILED'} {name}", file=sys.stderr, flush=True)

    def addSuccess(self, test: unittest.TestCase) -> None:
        self.note(test, None)

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        self.note(test, f"skipped: {reason}")

    def addError(self, test: unittest.TestCase, err: Any) -> None:
        super().addError(test, err)
        self.note(test, self.errors[-1][1])

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:
        super().addFailure(test, err)
        self.note(test, self.failures[-1][1])

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: Any) -> None:
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.note(test, f"{subtest}\n{''.join(map(str, err[:2]))}")


def main() -> None:
    out, *names = sys.argv[1:]
    report = Report()
    unittest.defaultTestLoader.loadTestsFromNames(names, sys.modules[__name__]).run(report)
    with open(out, "w", encoding="utf-8") as file:
        json.dump(report.cases, file)


if __name__ == "__main__":
    main()
