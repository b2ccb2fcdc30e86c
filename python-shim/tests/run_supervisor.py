"""The real supervisor with the stand-in interpreter."""

from __future__ import annotations

import sys

from spark_shim.config import read_config
from spark_shim.supervisor import Supervisor

Supervisor(read_config(sys.argv[1]), "stand_in_interpreter").run()
