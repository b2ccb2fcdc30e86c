"""The name of our matplotlib backend, and its end-of-statement hook, without importing matplotlib."""

from __future__ import annotations

import sys

_MODULE = "spark_shim.interpreter.figures"
NAME = "module://" + _MODULE


def flush() -> None:
    """Shows the figures a statement left open, if our backend is the one in use."""
    backend = sys.modules.get(_MODULE)
    pyplot = sys.modules.get("matplotlib.pyplot")
    if backend is not None and pyplot is not None and pyplot.get_backend().lower() == NAME:
        backend.show()
