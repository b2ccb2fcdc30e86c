"""Values as MIME bundles, and `display()` where IPython is not there to do it."""

from __future__ import annotations

import base64
import io
import sys
import uuid
from typing import Any, Dict, Optional, Tuple

from ..pipe import encode
from .errors import cut_middle
from .streams import Outputs

Bundle = Dict[str, Any]

#: One bundle's bound: a longer text is cut, anything else is left out, and the text says so.
BUNDLE_LIMIT_BYTES = 32 * 1024 * 1024

_REPRS = {
    "text/html": "_repr_html_",
    "text/markdown": "_repr_markdown_",
    "text/latex": "_repr_latex_",
    "image/svg+xml": "_repr_svg_",
    "image/png": "_repr_png_",
    "image/jpeg": "_repr_jpeg_",
    "application/json": "_repr_json_",
    "application/javascript": "_repr_javascript_",
}


def cleaned(data: Bundle) -> Bundle:
    """The bundle as a record may carry it: bytes as base64, nothing beyond the limit."""
    clean: Bundle = {}
    notes = ""
    for mime, value in data.items():
        if isinstance(value, (bytes, bytearray, memoryview)):
            value = base64.b64encode(bytes(value)).decode("ascii")
        size = len(value) if isinstance(value, str) else len(encode(value))
        if size <= BUNDLE_LIMIT_BYTES:
            clean[str(mime)] = value
        elif mime == "text/plain":
            clean["text/plain"] = cut_middle(str(value), BUNDLE_LIMIT_BYTES)
        else:
            notes += "\n[%s of %d bytes is not shown: the limit is %d]" % (mime, size, BUNDLE_LIMIT_BYTES)
    if notes:
        clean["text/plain"] = str(clean.get("text/plain", "")) + notes
    return clean


def is_spark_frame(value: Any) -> bool:
    """Whether it is a Spark DataFrame; asks without importing Spark."""
    return any(kind.__name__ == "DataFrame" and kind.__module__.startswith("pyspark.sql.") for kind in type(value).__mro__)


def spark_frame_html(frame: Any, shown: bool) -> Optional[str]:
    """A DataFrame's rows as an HTML table. That runs a job: only when the user says `display(frame)` (`shown`), or has set
    `spark.sql.repl.eagerEval.enabled`. That setting's own limits hold in both cases: maxNumRows (20), truncate (20)."""
    html: Optional[str] = frame._repr_html_()
    if html is None and shown and hasattr(frame, "_jdf"):
        conf = frame.sparkSession.conf
        rows, width = (int(conf.get("spark.sql.repl.eagerEval." + name, "20")) for name in ("maxNumRows", "truncate"))
        html = frame._jdf.htmlString(rows, width)
    return html


def figure_png(figure: Any) -> bytes:
    """A matplotlib figure, drawn."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", bbox_inches="tight")
    return buffer.getvalue()


def _is_figure(value: Any) -> bool:
    return "matplotlib.figure" in sys.modules and isinstance(value, sys.modules["matplotlib.figure"].Figure)


def bundle(value: Any, shown: bool = False) -> Tuple[Bundle, Bundle]:
    """Data and metadata of a value, by IPython's protocol of `_repr_*_` methods. Raises what the value's own methods raise."""
    data: Bundle = {"text/plain": repr(value)}
    metadata: Bundle = {}
    if isinstance(value, type):
        return data, metadata
    if is_spark_frame(value):
        html = spark_frame_html(value, shown)
        return ({**data, "text/html": html} if html else data), metadata
    if _is_figure(value):
        return {**data, "image/png": figure_png(value)}, metadata
    mimes = getattr(value, "_repr_mimebundle_", None)
    if callable(mimes):
        _merge(data, metadata, mimes(include=None, exclude=None))
    for mime, method in _REPRS.items():
        call = getattr(value, method, None) if mime not in data else None
        if callable(call):
            answer = call()
            if answer is not None:
                said, more = answer if isinstance(answer, tuple) else (answer, None)
                _merge(data, metadata, ({mime: said}, {mime: more} if more else {}))
    return data, metadata


def _merge(data: Bundle, metadata: Bundle, answer: Any) -> None:
    said, more = answer if isinstance(answer, tuple) else (answer, {})
    data.update(said or {})
    metadata.update(more or {})


class Handle:
    """What `display(..., display_id=True)` returns."""

    def __init__(self, show: Display, display_id: str) -> None:
        self._show = show
        self.display_id = display_id

    def display(self, value: Any, **options: Any) -> None:
        self._show(value, display_id=self.display_id, **options)

    def update(self, value: Any, **options: Any) -> None:
        self._show(value, display_id=self.display_id, update=True, **options)

    def __repr__(self) -> str:
        return "<display handle %s>" % self.display_id


class Display:
    """The builtin `display`."""

    def __init__(self, outputs: Outputs) -> None:
        self._outputs = outputs

    def __call__(
        self,
        *values: Any,
        raw: bool = False,
        metadata: Optional[Bundle] = None,
        display_id: Any = None,
        update: bool = False,
        **_: Any,
    ) -> Optional[Handle]:
        """Shows values richly. With display_id (a text, or True for a new one) answers a handle that can update what is shown."""
        if display_id is True or (update and display_id is None):
            display_id = uuid.uuid4().hex
        for value in values:
            data, more = (value, {}) if raw else bundle(value, shown=True)
            self._outputs.emit(
                "display",
                data=cleaned(data),
                metadata={**more, **(metadata or {})},
                displayId=display_id,
                update=update,
            )
        return Handle(self, display_id) if display_id is not None else None

    def __repr__(self) -> str:
        return "<function display>"
