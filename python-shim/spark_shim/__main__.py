"""`python -m spark_shim <driver.json>`: one driver's supervisor."""

from __future__ import annotations

import sys

from .config import ConfigError, read_config
from .supervisor import Supervisor


def main() -> int:
    """
    0 after an end of its own, 128 and its number after a signal: what evicts a pod is only told of one that did not succeed. Others mean
    that the supervisor could not even listen.
    """
    if len(sys.argv) != 2:
        print("usage: python -m spark_shim DRIVER.JSON", file=sys.stderr)
        return 2
    try:
        supervisor = Supervisor(read_config(sys.argv[1]), "spark_shim.interpreter")
    except (ConfigError, OSError) as error:
        print("The driver cannot start: %s" % error, file=sys.stderr)
        return 1
    return supervisor.run()


if __name__ == "__main__":
    sys.exit(main())
