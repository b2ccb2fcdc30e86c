"""A notebook run as unattended ones are: `run_notebook.py OUT`, with the kernelspec's name in KERNEL; by nbclient and by papermill.

With GATEWAY by nbclient alone, whose kernels are then those of a Jupyter Server that has its own there.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from typing import Any, Dict

import nbformat
import papermill
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError
from nbformat.v4 import new_code_cell, new_notebook
from papermill.exceptions import PapermillExecutionError

KERNEL = os.environ["KERNEL"]
GATEWAY = os.environ.get("GATEWAY")
#: A gateway's kernel manager is told the kernel's name when it starts one, any other before that.
STARTED_WITH = {} if GATEWAY is None else {"kernel_name": KERNEL}

CELLS = {
    "result": "6 * 7",
    "plot": "import matplotlib.pyplot as plt\nplt.plot([1, 3, 2]);",
    "progress": "spark.sparkContext.parallelize(range(8), 8).map(lambda n: __import__('time').sleep(1) or n).sum()",
    "frame": "spark.range(3).toDF('n').toPandas()",
    "update": "from IPython.display import display\nhandle = display('before', display_id='d')\nhandle.update('after')",
    "error": "1 / 0",
    "after": "print('the notebook goes on')",
}


def notebook(cells: Dict[str, str]) -> Any:
    book = new_notebook(cells=[new_code_cell(source, id=name) for name, source in cells.items()])
    book.metadata["kernelspec"] = {"name": KERNEL, "language": "python", "display_name": "Spark"}
    for cell in book.cells:
        cell.metadata["tags"] = {"error": ["raises-exception"], "parameters": ["parameters"]}.get(cell.id, [])
    return book


def outputs(book: Any) -> Dict[str, Any]:
    return {cell.id: [dict(output) for output in cell.outputs] for cell in book.cells if cell.cell_type == "code"}


def gateway_manager() -> Any:
    from jupyter_server.gateway.managers import GatewayKernelManager

    class Manager(GatewayKernelManager):
        # jupyter_client's clients ask this one, which looks for a process; Jupyter Server has only made `is_alive` ask the gateway.
        async def _async_is_alive(self) -> bool:
            return bool(await self.is_alive())

    return Manager


def client_of(book: Any, **options: Any) -> NotebookClient:
    if GATEWAY is not None:
        options["kernel_manager_class"] = gateway_manager()
    return NotebookClient(book, kernel_name=KERNEL, timeout=120, startup_timeout=60, **options)


def by_nbclient() -> Dict[str, Any]:
    book = notebook(CELLS)
    client_of(book).execute(**STARTED_WITH)
    nbformat.validate(book)
    return outputs(book)


def interrupted() -> Dict[str, Any]:
    """nbclient interrupts a cell that takes too long, and goes on with the next."""
    book = notebook({"before": "kept = 1", "long": "while True: pass", "after": "kept + 1"})
    client = client_of(book, interrupt_on_timeout=True, allow_errors=True)
    with client.setup_kernel(**STARTED_WITH):
        client.execute_cell(book.cells[0], 0)
        client.timeout = 5
        began = time.monotonic()
        try:
            client.execute_cell(book.cells[1], 1)
        except CellTimeoutError as error:
            return {"failed": str(error)}
        seconds = time.monotonic() - began
        client.timeout = 60
        client.execute_cell(book.cells[2], 2)
    return {**outputs(book), "seconds": seconds}


def by_papermill(directory: str) -> Dict[str, Any]:
    """A run that an error ends, as it would end a pipeline."""
    kept = {name: CELLS[name] for name in ("plot", "progress")}
    cells = {"parameters": "rows = 1", "count": "print(spark.range(rows).count())", **kept, "fails": "raise ValueError(rows)", "after": "1"}
    book = notebook(cells)
    before, after = os.path.join(directory, "before.ipynb"), os.path.join(directory, "after.ipynb")
    nbformat.write(book, before)
    try:
        papermill.execute_notebook(before, after, parameters={"rows": 1234}, kernel_name=KERNEL, progress_bar=False, start_timeout=60)
        failed = None
    except PapermillExecutionError as error:
        failed = [error.ename, error.evalue]
    return {**outputs(nbformat.read(after, as_version=4)), "failed": failed}


def through_a_notebook_server(gateway: str) -> Dict[str, Any]:
    from jupyter_server.gateway.gateway_client import GatewayClient
    from notebook_server import notebook_server

    with tempfile.TemporaryDirectory() as scratch:
        # It opens the WebSockets of its clients without credentials: the server between has none.
        with notebook_server(scratch, gateway, "", {}) as server:
            GatewayClient.instance().url = server.url
            books = {"nbclient": by_nbclient(), "interrupted": interrupted()}
        return {**books, "troubles": server.troubles()}


def main() -> None:
    out = sys.argv[1]
    if GATEWAY is None:
        books = {"nbclient": by_nbclient(), "interrupted": interrupted(), "papermill": by_papermill(os.path.dirname(out))}
    else:
        books = through_a_notebook_server(GATEWAY)
    with open(out, "w", encoding="utf-8") as file:
        json.dump(books, file)


main()
