"""The real supervisor with the stand-in interpreter."""

from __future__ import annotations

import os
import sys

from spark_shim import engine
from spark_shim.config import read_config
from spark_shim.supervisor import Supervisor

engine.ATTACH_SECONDS = float(os.environ.get("TEST_ATTACH_SECONDS", engine.ATTACH_SECONDS))
sys.exit(Supervisor(read_config(sys.argv[1]), "stand_in_interpreter").run())
