"""A matplotlib backend without a window: figures become displays on show() and at the end of a statement.

Named by MPLBACKEND where IPython's own inline backend is not there; matplotlib imports it, we never import matplotlib.
"""

from __future__ import annotations

import builtins
from typing import Any

from matplotlib._pylab_helpers import Gcf
from matplotlib.backend_bases import FigureManagerBase
from matplotlib.backends.backend_agg import FigureCanvasAgg

FigureCanvas = FigureCanvasAgg
FigureManager = FigureManagerBase


def show(*_: Any, **__: Any) -> None:
    """Shows all open figures, and closes them."""
    try:
        for manager in Gcf.get_all_fig_managers():
            builtins.display(manager.canvas.figure)  # type: ignore[attr-defined]  # ours, or IPython's
    finally:
        Gcf.destroy_all()
