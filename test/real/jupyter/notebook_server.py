"""A real Jupyter Server whose kernels live on a gateway."""

from __future__ import annotations

import contextlib
import glob
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import Dict, Iterator, List

START_S = 60


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
    runtime = os.path.join(directory, ".runtime")
    env = {**os.environ, **env, "JUPYTER_RUNTIME_DIR": runtime}
    command = [sys.executable, "-m", "jupyter_server", "--ServerApp.port=0", "--ServerApp.open_browser=False", "--allow-root"]
    command += [f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={directory}", f"--gateway-url={gateway}"]
    command += ["--ServerApp.ip=127.0.0.1", f"--ServerApp.disable_check_xsrf={token == ''}"]
    log_file = os.path.join(directory, "server.log")
    with open(log_file, "wb") as log:
        with subprocess.Popen(command, stdout=log, stderr=log, env=env) as process:
            try:
                server = NotebookServer(f"http://127.0.0.1:{port_in(runtime)}", log_file)
                wait_for(f"{server.url}/api")
                yield server
            finally:
                process.terminate()


def port_in(runtime: str) -> int:
    """What the server writes down of itself once it listens."""
    deadline = time.monotonic() + START_S
    while True:
        for path in glob.glob(os.path.join(runtime, "jpserver-*.json")):
            with open(path, encoding="utf-8") as file, contextlib.suppress(ValueError):  # half written
                return int(json.load(file)["port"])
        if time.monotonic() > deadline:
            raise TimeoutError("the notebook server does not say where it listens")
        time.sleep(0.1)


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
