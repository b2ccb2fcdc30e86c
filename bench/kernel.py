"""Cells by jupyter_client in ipykernel and in native kernels, in turn: `kernel.py OUT ROUNDS KERNELSPEC…`.

Writes {measure: {kernel: [samples]}}; milliseconds, memory in MB.
"""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from typing import Any, Callable, Dict, List, Tuple

from jupyter_client import BlockingKernelClient, KernelManager

IPYKERNEL = "python3"
START_S = 90
CELL_S = 60


def start(name: str) -> Tuple[KernelManager, BlockingKernelClient, float]:
    """A kernel, its client, and how long it took from the process's start to what it says it is."""
    manager = KernelManager(kernel_name=name)
    began = time.perf_counter()
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    client.kernel_info(reply=True, timeout=START_S)
    spent = time.perf_counter() - began
    client.wait_for_ready(timeout=START_S)
    return manager, client, spent * 1000


def to_idle(client: BlockingKernelClient, code: str, seen: Callable[[Dict[str, Any]], None] = lambda message: None) -> float:
    """From the request to its idle."""
    began = time.perf_counter()
    request = client.execute(code)
    while True:
        message = client.get_iopub_msg(timeout=CELL_S)
        if message["parent_header"].get("msg_id") != request:
            continue
        seen(message)
        if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
            spent = time.perf_counter() - began
            client.get_shell_msg(timeout=CELL_S)
            return spent * 1000


def first_output(client: BlockingKernelClient, end: str) -> float:
    """From the write to its message."""
    late: List[float] = []

    def seen(message: Dict[str, Any]) -> None:
        if message["msg_type"] == "stream" and not late:
            late.append(time.time() - float(message["content"]["text"]))

    to_idle(client, f"import time; print(time.time(), end={end!r}); time.sleep(0.4)", seen)
    return late[0] * 1000


def completion(client: BlockingKernelClient) -> float:
    began = time.perf_counter()
    client.complete("zi", reply=True, timeout=CELL_S)
    return (time.perf_counter() - began) * 1000


def resident(manager: KernelManager) -> float:
    with open(f"/proc/{manager.provisioner.process.pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS")) / 1024


def main() -> None:
    out, rounds, names = sys.argv[1], int(sys.argv[2]), [IPYKERNEL, *sys.argv[3:]]
    samples: Dict[str, Dict[str, List[float]]] = defaultdict(lambda: defaultdict(list))
    for _ in range(max(3, rounds // 2)):
        for name in names:
            manager, client, spent = start(name)
            samples["start"][name].append(spent)
            client.stop_channels()
            manager.shutdown_kernel()
    kernels = {name: start(name)[:2] for name in names}
    for manager, client in kernels.values():
        to_idle(client, "import os")

    measures: Dict[str, Tuple[int, Callable[[BlockingKernelClient], float]]] = {
        "1+1": (rounds * 10, lambda client: to_idle(client, "1+1")),
        "first output": (rounds, lambda client: first_output(client, "\n")),
        "no newline": (rounds, lambda client: first_output(client, "")),
        "10 MB": (rounds, lambda client: to_idle(client, "print('x' * 10_000_000)")),
        "completion": (rounds * 2, completion),
    }
    for measure, (count, measured) in measures.items():
        for number in range(count + 1):
            for name, (_, client) in kernels.items():
                spent = measured(client)
                if number > 0:
                    samples[measure][name].append(spent)
    for name, (manager, client) in kernels.items():
        samples["memory"][name].append(resident(manager))
        client.stop_channels()
        manager.shutdown_kernel()
    with open(out, "w", encoding="utf-8") as file:
        json.dump(samples, file)


main()
