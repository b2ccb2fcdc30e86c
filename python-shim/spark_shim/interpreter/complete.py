"""Completion and inspection. They run in a thread of their own and only look: no call in the user's code is made."""

from __future__ import annotations

import builtins
import inspect
import io
import keyword
import re
import time
import tokenize
from typing import Any, Callable, Dict, Iterable, List, Optional, Tuple

Reply = Dict[str, Any]

_DOTTED = re.compile(r"(?:[^\W\d]\w*\.)*(?:[^\W\d]\w*)?$")
_WORD = re.compile(r"[\w.`]*$")
_MATCH_LIMIT = 1000
_TABLES_SECONDS = 5.0

_SQL_KEYWORDS = tuple(
    """
ADD ALL ALTER ANALYZE AND ANTI ARRAY AS ASC BETWEEN BIGINT BINARY BOOLEAN BY CACHE CASE CAST COLUMN COLUMNS COMMENT CREATE CROSS CUBE
CURRENT DATABASE DATABASES DATE DECIMAL DEFAULT DELETE DESC DESCRIBE DISTINCT DOUBLE DROP ELSE END ESCAPE EXCEPT EXISTS EXPLAIN EXTENDED
EXTERNAL FALSE FILTER FLOAT FOR FROM FULL FUNCTION FUNCTIONS GLOBAL GROUP GROUPING HAVING IF IN INNER INSERT INT INTERSECT INTERVAL INTO
IS JOIN LATERAL LEFT LIKE LIMIT LOCATION MAP MATCHED MERGE MINUS NATURAL NOT NULL NULLS OFFSET ON OR ORDER OUTER OVER OVERWRITE PARTITION
PARTITIONED PARTITIONS PIVOT PURGE RECURSIVE REFRESH REGEXP RENAME REPLACE RESET RIGHT RLIKE ROLLUP ROW ROWS SCHEMA SCHEMAS SELECT SEMI
SET SETS SHOW SMALLINT SORT STRING STRUCT TABLE TABLES TABLESAMPLE TBLPROPERTIES TEMPORARY THEN TIMESTAMP TINYINT TO TRUE TRUNCATE UNCACHE
UNION UNIQUE UNPIVOT UPDATE USE USING VALUES VIEW VIEWS WHEN WHERE WINDOW WITH
""".split()  # noqa: SIM905  # readable
)


class Completer:
    """Answers over one namespace; `shell` is the embedded IPython once there is one."""

    def __init__(self, namespace: Dict[str, Any], session: Callable[[], Any]) -> None:
        self._namespace = namespace
        self._session = session
        self._tables: Tuple[float, List[str]] = (0.0, [])
        self.shell: Any = None

    def complete(self, code: str, kind: str, cursor: int) -> Reply:
        """Names that fit at the cursor (in code points); `matches` replace the code from `start` to `end`."""
        cursor = max(0, min(cursor, len(code)))
        if kind == "sql":
            return self._complete_sql(code, cursor)
        if kind != "pyspark":
            return _reply([], cursor, cursor)
        if self.shell is not None:
            reply = self._complete_with_ipython(code, cursor)
            if reply["matches"]:
                return reply
        return self._complete_names(code, cursor)

    def inspect(self, code: str, kind: str, cursor: int, detail: int) -> Reply:
        """What is known of the name at the cursor, or of the function whose call it is in; detail 1 adds the source."""
        cursor = max(0, min(cursor, len(code)))
        if kind == "sql":
            return self._inspect_table(code, cursor)
        name = name_at(code, cursor) if kind == "pyspark" else ""
        if not name:
            return {"found": False, "data": {}, "metadata": {}}
        if self.shell is not None:
            try:
                data = self.shell.object_inspect_mime(name, detail_level=detail)
                return {"found": True, "data": {str(mime): text for mime, text in data.items()}, "metadata": {}}
            except KeyError:
                return {"found": False, "data": {}, "metadata": {}}
        found, value = self._value(name.split("."))
        text = _describe(name, value, detail) if found else ""
        return {"found": found, "data": {"text/plain": text} if found else {}, "metadata": {}}

    # ── Python ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _complete_with_ipython(self, code: str, cursor: int) -> Reply:
        from IPython.core.completer import provisionalcompleter, rectify_completions

        try:
            with provisionalcompleter():
                found = list(rectify_completions(code, self.shell.Completer.completions(code, cursor)))[:_MATCH_LIMIT]
        except Exception:
            return _reply([], cursor, cursor)
        if not found:
            return _reply([], cursor, cursor)
        # IPython says `.name` for an attribute, `owner.name` before its version 9; menus show better what is to be written.
        start, end = found[0].start, found[0].end
        head, dot, _ = code[start:cursor].rpartition(".")
        prefix = head + dot
        owner = self._owner(code, start + len(prefix)) if dot else None
        if (head and owner is None) or not all(each.text.startswith(prefix) for each in found):
            prefix, owner = "", None
        start += len(prefix)
        names = [each.text[len(prefix) :] for each in found]
        types = []
        for name, each in zip(names, found):
            kind = "function" if owner is not None and _is_method(owner, name) else each.type or ""
            types.append({"start": start, "end": end, "text": name, "type": kind, "signature": each.signature or ""})
        reply = _reply(names, start, end)
        reply["metadata"] = {"_jupyter_types_experimental": types}
        return reply

    def _owner(self, code: str, start: int) -> Any:
        """The object whose attribute begins at `start`, as far as it can be found without running a property; None: it cannot."""
        match = _DOTTED.search(code[: start - 1])
        first, *path = (match.group() if match else "").split(".")
        value = self._namespace.get(first, getattr(builtins, first, None))
        for name in path:
            value = inspect.getattr_static(value, name, None)
        return value

    def _complete_names(self, code: str, cursor: int) -> Reply:
        match = _DOTTED.search(code[:cursor])
        *path, typed = (match.group() if match else "").split(".")
        start = cursor - len(typed)
        if not path:
            names: Iterable[str] = {*self._namespace, *dir(builtins), *keyword.kwlist} if typed else ()
        else:
            found, value = self._value(path)
            names = _names_of(value) if found else ()
        fitting = [name for name in names if name.startswith(typed) and (typed.startswith("_") or not name.startswith("_"))]
        return _reply(sorted(fitting), start, cursor)

    def _value(self, path: List[str]) -> Tuple[bool, Any]:
        """The object of a dotted name. Attributes are read, so properties run; nothing is called."""
        try:
            value = self._namespace[path[0]] if path[0] in self._namespace else getattr(builtins, path[0])
            for name in path[1:]:
                value = getattr(value, name)
        except Exception:
            return False, None
        return True, value

    # ── SQL ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _complete_sql(self, code: str, cursor: int) -> Reply:
        match = _WORD.search(code[:cursor])
        typed = match.group() if match else ""
        table, dot, column = typed.rpartition(".")
        if dot:
            names = self._columns(table)
            return _reply(_fitting(names, column), cursor - len(column), cursor)
        keywords = [word.lower() for word in _SQL_KEYWORDS] if typed.islower() else _SQL_KEYWORDS
        return _reply([*_fitting(self._table_names(), typed), *(_fitting(keywords, typed) if typed else ())], cursor - len(typed), cursor)

    def _table_names(self) -> List[str]:
        """Tables and views of the current database; asked again after some seconds, for a metastore may be slow."""
        asked, names = self._tables
        if time.monotonic() - asked > _TABLES_SECONDS or not asked:
            try:
                names = [row.tableName for row in self._session().sql("SHOW TABLES").collect()]
            except Exception:
                names = []
            self._tables = (time.monotonic(), names)
        return names

    def _columns(self, table: str) -> List[str]:
        try:
            return list(self._session().table(table).columns)
        except Exception:
            return []

    def _inspect_table(self, code: str, cursor: int) -> Reply:
        left, right = _WORD.search(code[:cursor]), re.match(r"[\w.`]*", code[cursor:])
        name = (left.group() if left else "") + (right.group() if right else "")
        try:
            fields = self._session().table(name).schema.fields
        except Exception:
            return {"found": False, "data": {}, "metadata": {}}
        lines = ["%s %s%s" % (field.name, field.dataType.simpleString(), "" if field.nullable else " NOT NULL") for field in fields]
        return {"found": True, "data": {"text/plain": "\n".join([name, *lines])}, "metadata": {}}


def _reply(matches: List[str], start: int, end: int) -> Reply:
    return {"matches": matches[:_MATCH_LIMIT], "start": start, "end": end, "metadata": {}}


def _fitting(names: Iterable[str], typed: str) -> List[str]:
    low = typed.lower()
    return sorted({name for name in names if name.lower().startswith(low)})


def _is_method(owner: Any, name: str) -> bool:
    """Whether it can be called; looks without asking the object for it, so that no property runs."""
    found = inspect.getattr_static(owner, name, None)
    return isinstance(found, (classmethod, staticmethod)) or (callable(found) and not isinstance(found, type))


def _names_of(value: Any) -> List[str]:
    try:
        return [name for name in dir(value) if isinstance(name, str)]
    except Exception:
        return []


def name_at(code: str, cursor: int) -> str:
    """The dotted name under the cursor, or that of the innermost call whose parentheses are open there; "" for none."""
    names: List[str] = []
    calls: List[str] = []
    last = ""
    position = 0
    starts = [0]
    for line in code.split("\n"):
        starts.append(starts[-1] + len(line) + 1)
    try:
        for token in tokenize.generate_tokens(io.StringIO(code).readline):
            begin = starts[token.start[0] - 1] + token.start[1]
            position = starts[token.end[0] - 1] + token.end[1]
            if begin > cursor:
                break
            if token.type == tokenize.NAME and not keyword.iskeyword(token.string):
                last = "%s.%s" % (names.pop(), token.string) if names and names[-1] and last == "." else token.string
                names.append(last)
                if begin <= cursor <= position:
                    whole = last
                    if begin <= cursor:
                        return whole
            elif token.string == ".":
                last = "."
            else:
                if token.string in "([{" and token.string:
                    if cursor >= position:
                        calls.append(last if token.string == "(" and last != "." else "")
                elif token.string in ")]}" and token.string and calls:
                    calls.pop()
                last = ""
                names.append("")
    except (tokenize.TokenError, IndentationError, SyntaxError):
        pass  # an unfinished line: what was read so far counts
    return next((name for name in reversed(calls) if name), "")


def _describe(name: str, value: Any, detail: int) -> str:
    parts = []
    try:
        parts.append("Signature: %s%s" % (name, inspect.signature(value)))
    except (TypeError, ValueError):
        parts.append("Value:     %s" % _short(value))
    parts.append("Type:      %s" % type(value).__name__)
    text = _source(value) if detail else None
    if text:
        parts.append("Source:\n%s" % text.rstrip())
    else:
        parts.append("Docstring: %s" % (inspect.getdoc(value) or "<no docstring>"))
    return "\n".join(parts)


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:
        return "<repr() failed>"
    return text if len(text) <= 500 else text[:500] + "…"


def _source(value: Any) -> Optional[str]:
    try:
        return inspect.getsource(value)
    except (OSError, TypeError):
        return None
