"""A real Jupyter Server whose kernels live on a gateway."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import Dict, Iterator, List

START_S = 60


def free_port() -> int:
    with socket.socket() as end:
        end.bind(("127.0.0.1", 0))
        return int(end.getsockname()[1])


class NotebookServer:
    def __init__(self, url: str, log: str) -> None:
        self.url = url
        self._log = log

    def troubles(self) -> List[str]:
        """What of its log tells of a bug or a refusal."""
        with open(self._log, encoding="utf-8", errors="replace") as file:
            return [line for line in file.read().splitlines() if "ERROR" in line or "Traceback" in line]


@contextlib.contextmanager
def notebook_server(directory: str, gateway: str, token: str, env: Dict[str, str]) -> Iterator[NotebookServer]:
    """It answers, and has ended afterwards. An empty token lets everybody in."""
    port = free_port()
    server = NotebookServer(f"http://127.0.0.1:{port}", os.path.join(directory, "server.log"))
    command = [sys.executable, "-m", "jupyter_server", f"--ServerApp.port={port}", "--ServerApp.open_browser=False", "--allow-root"]
    command += [f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={directory}", f"--gateway-url={gateway}"]
    command += ["--ServerApp.ip=127.0.0.1", f"--ServerApp.disable_check_xsrf={token == ''}"]
    with open(os.path.join(directory, "server.log"), "wb") as log:
        with subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **env}) as process:
            try:
                wait_for(f"{server.url}/api")
                yield server
            finally:
                process.terminate()


def wait_for(url: str) -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except urllib.error.HTTPError:
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
