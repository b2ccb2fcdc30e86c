"""`%%sql`, with the options that Sparkmagic's users know: `-o NAME`, `-n ROWS`, `-q`, `-m take|sample`, `-r FRACTION`."""

from __future__ import annotations

import argparse
import html
import importlib
import importlib.util
import numbers
import shlex
from typing import Any, Callable, Dict, List, NoReturn, Optional, Sequence

from .errors import PlainError
from .streams import Outputs

#: What one cell of a table shows at most.
_CELL_CHARACTERS = 1000
#: Rows and width of a column in the plain text, which stands in for the table where there is no HTML.
_TEXT_ROWS = 20
_TEXT_WIDTH = 40
_CELL_STYLE = ' style="text-align:%s"'


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise PlainError("UsageError", "%%%%sql: %s. Options: -o NAME, -n ROWS (-1: all), -q, -m take|sample, -r FRACTION." % message)


def _parser() -> _Parser:
    parser = _Parser(prog="%%sql", add_help=False, allow_abbrev=False)
    parser.add_argument("-o", "--output")
    parser.add_argument("-n", "--maxrows", type=int)
    parser.add_argument("-q", "--quiet", action="store_true")
    parser.add_argument("-m", "--samplemethod", choices=("take", "sample"), default="take")
    parser.add_argument("-r", "--samplefraction", type=float, default=0.1)
    # Sparkmagic's own, which mean nothing where the session's Python is the notebook's.
    parser.add_argument("-c", "--context")
    parser.add_argument("-e", "--coerce")
    return parser


class SqlMagic:
    """Runs SQL on the session's SparkSession and shows its rows as a table."""

    def __init__(self, namespace: Dict[str, Any], session: Callable[[], Any], outputs: Outputs, row_limit: int) -> None:
        self._namespace = namespace
        self._session = session
        self._outputs = outputs
        self._row_limit = row_limit

    def run(self, line: str, cell: Optional[str] = None) -> None:
        """`%%sql OPTIONS` with a cell, `%sql QUERY` without one. Raises PlainError."""
        try:
            options = _parser().parse_args(shlex.split(line) if cell is not None else [])
        except ValueError as error:
            raise PlainError("UsageError", "%%%%sql: %s" % error) from error
        if options.output is not None and not options.output.isidentifier():
            raise PlainError("UsageError", "%%%%sql: -o %s is no name of a variable." % options.output)
        query = (line if cell is None else cell).strip().rstrip(";")
        if not query:
            raise PlainError("UsageError", "%%sql: there is no query in the cell.")
        try:
            self._show(query, options)
        except Exception as error:
            raise PlainError(type(error).__name__, str(error)) from error

    def _show(self, query: str, options: argparse.Namespace) -> None:
        frame = self._session().sql(query)
        names = list(frame.columns)
        if not names:
            return  # a command: it has run, and has nothing to show
        if options.samplemethod == "sample":
            frame = frame.sample(False, options.samplefraction)
        limit = self._row_limit if options.maxrows is None else options.maxrows
        rows = frame.collect() if limit < 0 else frame.limit(limit + 1).collect()
        more = 0 <= limit < len(rows)
        rows = rows[:limit] if more else rows
        if options.output is not None:
            self._namespace[options.output] = _as_frame(rows, names)
        if not options.quiet:
            data = {"text/plain": text_table(names, rows, more), "text/html": html_table(names, rows, more)}
            self._outputs.emit("display", data=data, metadata={}, displayId=None, update=False)


def _as_frame(rows: List[Any], names: List[str]) -> Any:
    """As Sparkmagic gives it: a pandas DataFrame; the rows themselves where there is no pandas."""
    if importlib.util.find_spec("pandas") is None:
        return rows
    pandas: Any = importlib.import_module("pandas")
    return pandas.DataFrame.from_records([tuple(row) for row in rows], columns=names)


def _shown(value: Any, limit: int) -> str:
    text = "NULL" if value is None else str(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _note(rows: Sequence[Any], more: bool) -> str:
    return "Only the first %d rows are shown: %%%%sql -n ROWS shows more, -n -1 all." % len(rows) if more else ""


def _numeric(column: Sequence[Any]) -> bool:
    values = [value for value in column if value is not None]
    return bool(values) and all(isinstance(value, numbers.Number) and not isinstance(value, bool) for value in values)


def html_table(names: Sequence[str], rows: Sequence[Sequence[Any]], more: bool) -> str:
    """The rows as HTML, numbers at the right; nothing in them is taken for markup."""
    styles = [_CELL_STYLE % ("right" if _numeric([row[index] for row in rows]) else "left") for index in range(len(names))]
    head = "".join("<th%s>%s</th>" % (style, html.escape(name)) for style, name in zip(styles, names))
    lines = [
        "<tr>%s</tr>" % "".join("<td%s>%s</td>" % (style, html.escape(_shown(cell, _CELL_CHARACTERS))) for style, cell in zip(styles, row))
        for row in rows
    ]
    note = "<p>%s</p>" % html.escape(_note(rows, more)) if more else ""
    return '<table class="dataframe"><thead><tr>%s</tr></thead><tbody>%s</tbody></table>%s' % (head, "".join(lines), note)


def text_table(names: Sequence[str], rows: Sequence[Sequence[Any]], more: bool) -> str:
    """The first rows as text in columns."""
    cells = [[_shown(cell, _TEXT_WIDTH).replace("\n", " ") for cell in row] for row in rows[:_TEXT_ROWS]]
    widths = [max([len(name), *(len(row[index]) for row in cells)]) for index, name in enumerate(names)]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip() for row in [list(names), *cells]]
    left = len(rows) - len(cells)
    if left or more:
        lines.append(_note(rows, more) or "… %d more rows" % left)
    return "\n".join(lines)
