"""Livy's magics: `%table`, `%json` and `%matplot`, each with the name of a value (any expression will do)."""

from __future__ import annotations

import sys
from typing import Any, Callable, Dict, List, Tuple

from .display import Bundle, figure_png, is_spark_frame
from .errors import PlainError
from .values import key_text, row_fields, to_json

TABLE = "application/vnd.livy.table.v1+json"

#: Names of column types, by the type of the values; the first that fits.
_NUMBERS = ("INT_TYPE", "DOUBLE_TYPE")


class Magics:
    """The table of magics, over one namespace."""

    def __init__(self, namespace: Dict[str, Any], row_limit: int) -> None:
        self._namespace = namespace
        self._row_limit = row_limit
        #: The figure last seen when a statement ended: `%matplot` in the next one still finds it.
        self._last_figure: Any = None
        self.table: Dict[str, Callable[[str], Bundle]] = {"json": self.json, "table": self.as_table, "matplot": self.matplot}

    def run(self, name: str, argument: str) -> Bundle:
        """The data of the magic's result. Raises PlainError."""
        magic = self.table.get(name)
        if magic is None:
            raise PlainError("UnknownMagic", "unknown magic command '%s'" % name if name else "magic command not specified")
        try:
            return magic(argument.strip())
        except (PlainError, KeyboardInterrupt):
            raise
        except Exception as error:
            raise PlainError(type(error).__name__, "%%%s: %s" % (name, error)) from error

    def json(self, argument: str) -> Bundle:
        """The value as JSON."""
        return {"application/json": to_json(self._value("json", argument))}

    def as_table(self, argument: str) -> Bundle:
        """Rows (dicts, Rows, sequences, single values, a DataFrame) as Livy's table."""
        names, rows, note = self._rows(self._value("table", argument))
        headers = [{"name": name, "type": _column_type(name, [row[index] for row in rows])} for index, name in enumerate(names)]
        return {TABLE: {"headers": headers, "data": [[to_json(cell) for cell in row] for row in rows], **note}}

    def matplot(self, argument: str) -> Bundle:
        """The current figure of pyplot, or a figure, as a picture."""
        value = self._value("matplot", argument)
        if hasattr(value, "gcf"):
            figure = value.gcf() if value.get_fignums() or self._last_figure is None else self._last_figure
            picture = figure_png(figure)
            # An inline backend would show it once more when the statement ends, and closes it then.
            if "inline" in str(value.get_backend()) or "figures" in str(value.get_backend()):
                self._last_figure = figure
                value.close(figure)
        elif hasattr(value, "savefig"):
            picture = figure_png(value)
        else:
            raise TypeError("%s is neither pyplot nor a figure" % type(value).__name__)
        return {"image/png": picture}

    def remember_figure(self) -> None:
        """At the end of a statement, before an inline backend closes its figures."""
        helpers = sys.modules.get("matplotlib._pylab_helpers")
        manager = helpers.Gcf.get_active() if helpers is not None else None
        if manager is not None:
            self._last_figure = manager.canvas.figure

    def _value(self, magic: str, argument: str) -> Any:
        if not argument:
            raise PlainError("UnknownMagic", "%%%s needs the name of a value" % magic)
        try:
            return eval(argument, self._namespace)
        except Exception as error:
            raise PlainError(type(error).__name__, str(error)) from error

    def _rows(self, value: Any) -> Tuple[List[str], List[List[Any]], Dict[str, Any]]:
        """Column names, rows of equal length, and what to add to the table."""
        if is_spark_frame(value):
            rows = value.limit(self._row_limit + 1).collect()
            note = {"truncated": True, "rowLimit": self._row_limit} if len(rows) > self._row_limit else {}
            return list(value.columns), [list(row) for row in rows[: self._row_limit]], note
        if type(value).__module__.startswith("pandas.") and hasattr(value, "to_frame" if value.ndim == 1 else "itertuples"):
            frame = value.to_frame() if value.ndim == 1 else value
            return [str(name) for name in frame.columns], [_without_nat(row) for row in frame.itertuples(index=False, name=None)], {}
        if not isinstance(value, (list, tuple)) or row_fields(value) is not None:
            value = [value]
        names: Dict[str, int] = {}
        cells: List[Dict[int, Any]] = []
        for row in value:
            row_names, row_cells = _row(row)
            cells.append({names.setdefault(name, len(names)): cell for name, cell in zip(row_names, row_cells)})
        return list(names), [[row.get(index) for index in range(len(names))] for row in cells], {}


def _without_nat(row: Tuple[Any, ...]) -> List[Any]:
    return [None if type(cell).__name__ in ("NaTType", "NAType") else cell for cell in row]


def _row(row: Any) -> Tuple[List[str], List[Any]]:
    fields = row_fields(row)
    if fields is not None:
        return [str(name) for name in fields], list(row)
    if isinstance(row, dict):
        return [key_text(key) for key in row], list(row.values())
    if isinstance(row, (list, tuple)):
        return [str(index) for index in range(len(row))], list(row)
    return ["0"], [row]


def _cell_type(cell: Any) -> str:
    for kind in type(cell).__mro__:
        name = _TYPES.get((kind.__module__, kind.__name__))
        if name is not None:
            return name
    if type(cell).__module__ == "numpy" and hasattr(cell, "item"):
        return _cell_type(cell.item())
    raise TypeError("a value of type %s cannot be in a table" % type(cell).__name__)


_TYPES = {
    ("builtins", "NoneType"): "NULL_TYPE",
    ("builtins", "bool"): "BOOLEAN_TYPE",
    ("builtins", "int"): "INT_TYPE",
    ("builtins", "float"): "DOUBLE_TYPE",
    ("builtins", "str"): "STRING_TYPE",
    ("builtins", "bytes"): "STRING_TYPE",
    ("builtins", "bytearray"): "STRING_TYPE",
    ("builtins", "list"): "ARRAY_TYPE",
    ("builtins", "tuple"): "ARRAY_TYPE",
    ("builtins", "dict"): "MAP_TYPE",
    ("datetime", "datetime"): "TIMESTAMP_TYPE",
    ("datetime", "date"): "DATE_TYPE",
    ("datetime", "time"): "STRING_TYPE",
    ("datetime", "timedelta"): "STRING_TYPE",
    ("decimal", "Decimal"): "DECIMAL_TYPE",
}


def _column_type(name: str, cells: List[Any]) -> str:
    """One type for a column; null goes with any, whole numbers with fractions. Raises TypeError for any other mixture."""
    types = sorted({_cell_type(cell) if row_fields(cell) is None else "MAP_TYPE" for cell in cells} - {"NULL_TYPE"})
    if not types:
        return "NULL_TYPE"
    if len(types) > 1 and tuple(types) != tuple(sorted(_NUMBERS)):
        raise TypeError("column '%s' holds values of several types: %s" % (name, ", ".join(types)))
    return "DOUBLE_TYPE" if len(types) > 1 else types[0]
