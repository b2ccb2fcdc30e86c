"""Time what clients do, against servers that speak Livy's REST and against a local kernel, in turn in one process.

    clients.py OUT.json ROUNDS NAME=URL...

For each NAME a session is made at URL and every measure is taken from it and from an ipykernel alternately, so that whatever slows the
machine slows all alike. OUT gets {measure: {name: [milliseconds, ...]}}; the kernel's name is `ipykernel`. A kept-alive connection each.
"""

from __future__ import annotations

import atexit
import http.client
import json
import os
import shutil
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

FINAL = {"available", "error", "cancelled"}
STARTED = {"idle", "dead", "error", "killed"}
Timed = Callable[[], None]


class Rest:
    """A Livy client that reads answers as they are and does nothing else."""

    def __init__(self, url: str) -> None:
        parts = urllib.parse.urlsplit(url)
        assert parts.hostname is not None
        self.connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=120)
        self.base = parts.path.rstrip("/")
        self.session = ""

    def ask(self, method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body)
        self.connection.request(method, self.base + path, data, {"Content-Type": "application/json"} if data else {})
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {text[:300]!r}")
        return json.loads(text)

    def open(self) -> None:
        self.session = f"/sessions/{self.ask('POST', '/sessions', {'kind': 'pyspark'})['id']}"
        while self.ask("GET", self.session)["state"] not in STARTED:
            time.sleep(0.1)

    def run(self, code: str, pause: float, query: str) -> None:
        """POST, then GET until the result is in hand, with so many seconds between two GETs."""
        path = f"{self.session}/statements"
        statement = self.ask("POST", path, {"code": code})
        while statement["state"] not in FINAL:
            statement = self.ask("GET", f"{path}/{statement['id']}{query}")
            if statement["state"] not in FINAL and pause:
                time.sleep(pause)
        if statement["output"]["status"] != "ok":
            raise RuntimeError(statement["output"])

    def close(self) -> None:
        self.ask("DELETE", self.session)


class Kernel:
    """A Jupyter kernel under jupyter_client, as notebooks use it."""

    def __init__(self, name: str = "python3") -> None:
        self.manager = KernelManager(kernel_name=name)
        self.manager.start_kernel()
        self.client: BlockingKernelClient = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def run(self, code: str) -> None:
        """Execute to idle, reading everything that comes."""
        message = self.client.execute(code)
        while True:
            reply = self.client.get_iopub_msg(timeout=120)
            if reply["parent_header"].get("msg_id") != message:
                continue
            if reply["msg_type"] == "error":
                raise RuntimeError(reply["content"])
            if reply["msg_type"] == "status" and reply["content"]["execution_state"] == "idle":
                break
        self.client.get_shell_msg(timeout=120)

    def close(self) -> None:
        self.client.shutdown()
        self.client.stop_channels()
        self.manager.finish_shutdown()


def sparkmagic_kernel(url: str) -> Kernel:
    """Sparkmagic's PySpark kernel with only the URL set."""
    home = Path(tempfile.mkdtemp(prefix="longwick-bench-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    (home / "config.json").write_text(
        json.dumps({"kernel_python_credentials": {"username": "", "password": "", "url": url, "auth": "None"}}), encoding="utf-8"
    )
    os.environ["SPARKMAGIC_CONF_DIR"] = str(home)
    os.environ["JUPYTER_DATA_DIR"] = str(home / "data")
    import sparkmagic.kernels.pysparkkernel as kernel
    from jupyter_client.kernelspec import KernelSpecManager

    KernelSpecManager().install_kernel_spec(str(Path(kernel.__file__).parent), "pysparkkernel", user=True)
    return Kernel("pysparkkernel")


def in_turn(results: dict[str, dict[str, list[float]]], measure: str, rounds: int, parts: dict[str, Timed]) -> None:
    """Run each part `rounds` times, one after the other; the first round warms up and is not counted."""
    times: dict[str, list[float]] = {name: [] for name in parts}
    for turn in range(rounds + 1):
        for name, part in parts.items():
            began = time.perf_counter()
            part()
            if turn > 0:
                times[name].append((time.perf_counter() - began) * 1000)
    results[measure] = times
    print(measure, {name: round(sorted(values)[len(values) // 2], 2) for name, values in times.items()}, flush=True)


def repeat(part: Callable[[str], None], code: str, count: int = 1) -> Timed:
    def run() -> None:
        for _ in range(count):
            part(code)

    return run


def main(out: str, rounds: int, servers: dict[str, Rest], urls: dict[str, str]) -> None:
    results: dict[str, dict[str, list[float]]] = {}
    for server in servers.values():
        server.open()
    kernel = Kernel()

    def measure(name: str, times: int, code: str, count: int = 1, pause: float = 0.01, query: str = "") -> None:
        parts: dict[str, Timed] = {"ipykernel": repeat(kernel.run, code, count)}
        for key, server in servers.items():
            parts[key] = repeat(partial(server.run, pause=pause, query=query), code, count)
        in_turn(results, name, times, parts)

    measure("1+1, client polls every 10 ms", rounds * 10, "1+1")
    measure("1+1, no held GET, no pause", rounds * 10, "1+1", pause=0, query="?wait=0")
    measure("200 statements one by one", max(2, rounds // 4), "1+1", count=200)
    measure("1 MB printed", rounds, "print('x' * 1_000_000)")
    measure("10 MB printed", max(3, rounds // 3), "print('x' * 10_000_000)")
    for key, url in urls.items():
        magic = sparkmagic_kernel(url)
        in_turn(results, f"Sparkmagic cell 1+1 ({key})", rounds, {"ipykernel": repeat(kernel.run, "1+1"), key: repeat(magic.run, "1+1")})
        magic.close()
    kernel.close()
    for server in servers.values():
        server.close()
    Path(out).write_text(json.dumps(results), encoding="utf-8")


if __name__ == "__main__":
    addresses = dict(argument.split("=", 1) for argument in sys.argv[3:])
    main(sys.argv[1], int(sys.argv[2]), {name: Rest(url) for name, url in addresses.items()}, addresses)
