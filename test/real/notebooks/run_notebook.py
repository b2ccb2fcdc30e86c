"""Run a notebook of Sparkmagic's PySpark kernel with nbclient and write it back with its outputs.

    run_notebook.py NOTEBOOK OUT URL SETTINGS

Sparkmagic is told the URL and what SETTINGS says (JSON, laid over its configuration; {} for nothing else). A cell with `longwick.interrupt` in its metadata is interrupted as a user does it (a signal to
the kernel), once the server says that its statement is `running`, or has `progress`. Each cell's metadata gets `longwick.seconds`, and an
interrupted one's `longwick.secondsAfterInterrupt`.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import shutil
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from queue import Empty
from typing import Any

CELL_SECONDS = 120
#: What the server wants to see with every request, of Sparkmagic's and of ours.
headers: dict[str, str] = {}


def prepare(url: str, settings: dict[str, Any]) -> None:
    """Make Sparkmagic's configuration and kernelspec in a folder of this run; before any of it is imported."""
    home = Path(tempfile.mkdtemp(prefix="longwick-sparkmagic-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    os.environ["HOME"] = str(home)
    os.environ["JUPYTER_DATA_DIR"] = str(home / "data")
    os.environ["SPARKMAGIC_CONF_DIR"] = str(home / "conf")
    (home / "conf").mkdir()
    credentials = {"username": "", "password": "", "url": url, "auth": "None"}
    headers.update(settings.get("custom_headers", {}))
    config = {"kernel_python_credentials": credentials, **settings}
    (home / "conf" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    import sparkmagic.kernels.pysparkkernel as kernel
    from jupyter_client.kernelspec import KernelSpecManager

    KernelSpecManager().install_kernel_spec(str(Path(kernel.__file__).parent), "pysparkkernel", user=True)


def ask(url: str) -> Any:
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
        return json.load(answer)


def statements(url: str) -> list[dict[str, Any]]:
    session = ask(f"{url}/sessions")["sessions"][-1]["id"]
    return list(ask(f"{url}/sessions/{session}/statements")["statements"])


async def until_it_runs(url: str, code: str, wanted: str) -> None:
    end = time.monotonic() + CELL_SECONDS
    while time.monotonic() < end:
        for statement in await asyncio.to_thread(statements, url):
            runs = statement["code"].strip() == code.strip() and statement["state"] == "running"
            if runs and (wanted == "running" or statement["progress"] > 0):
                return
        await asyncio.sleep(0.05)
    raise TimeoutError(f"never {wanted}: {code!r}")


def listen_in_slices(client: Any) -> None:
    """
    Ask the shell channel again and again instead of once for the whole time. nbclient's widgets write to the channel while it waits for
    the reply there, and the one wait then never sees it: with any server, a cell that shows a data frame would hang.
    """
    once = client.kc.shell_channel.get_msg

    async def sliced(timeout: float | None = None) -> Any:
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            try:
                return await once(timeout=0.2)
            except Empty:
                if end is not None and time.monotonic() > end:
                    raise

    client.kc.shell_channel.get_msg = sliced


async def run(notebook: Path, out: Path, url: str) -> None:
    import nbformat
    from nbclient import NotebookClient

    book = nbformat.read(str(notebook), as_version=4)
    client = NotebookClient(book, timeout=CELL_SECONDS, kernel_name="pysparkkernel", allow_errors=True)
    async with client.async_setup_kernel():
        assert client.km is not None
        listen_in_slices(client)
        for index, cell in enumerate(book.cells):
            if cell.cell_type != "code":
                continue
            notes = cell.metadata.setdefault("longwick", {})
            began = time.monotonic()
            execution = asyncio.ensure_future(client.async_execute_cell(cell, index))
            if "interrupt" in notes:
                await until_it_runs(url, cell.source, notes["interrupt"])
                interrupted = time.monotonic()
                await client.km.interrupt_kernel()
                await execution
                notes["secondsAfterInterrupt"] = round(time.monotonic() - interrupted, 3)
            await execution
            notes["seconds"] = round(time.monotonic() - began, 3)
            nbformat.write(book, str(out))
            print(cell.id, notes, flush=True)


if __name__ == "__main__":
    source, target, address, more = sys.argv[1:]
    prepare(address, json.loads(more))
    asyncio.run(run(Path(source), Path(target), address))
