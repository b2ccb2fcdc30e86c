"""The real supervisor with the stand-in interpreter."""

from __future__ import annotations

import os
import sys
import time
from types import SimpleNamespace

from spark_shim import cancellation, engine, timeouts
from spark_shim.config import read_config
from spark_shim.supervisor import Supervisor

engine.ATTACH_SECONDS = float(os.environ.get("TEST_ATTACH_SECONDS", engine.ATTACH_SECONDS))
cancellation.REPEAT_SECONDS = float(os.environ.get("TEST_REPEAT_SECONDS", cancellation.REPEAT_SECONDS))
clock = os.environ.get("TEST_CLOCK")
if clock:
    # For the rules of its end it is as many seconds later as there are bytes in this file.
    vars(timeouts)["time"] = SimpleNamespace(time=time.time, monotonic=lambda: float(os.path.getsize(str(clock))))
supervisor = Supervisor(read_config(sys.argv[1]), "stand_in_interpreter")
if clock:
    supervisor._loop.before_sleep(supervisor._timeouts._arm)
sys.exit(supervisor.run())
