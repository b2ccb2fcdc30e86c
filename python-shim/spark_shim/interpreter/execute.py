"""Runs Python code where IPython is not there: the last expression is shown, `await` works at top level, Livy's magics too."""

from __future__ import annotations
import __future__

import ast
import asyncio
import builtins
import inspect
import linecache
import os
import sys
from types import CodeType, ModuleType
from typing import Any, Callable, Dict, Optional, Tuple, Union

from . import figures_backend
from .cells import check
from .display import Bundle, Display, bundle, cleaned
from .errors import CELL
from .magics import Magics
from .sql_magic import SqlMagic
from .statement import Statement
from .streams import Outputs

#: The builtin that a magic's line is replaced by.
_MAGIC = "__longwick_magic__"
_FUTURES = [getattr(__future__, name).compiler_flag for name in __future__.all_feature_names]
_Compilable = Union[ast.Module, ast.Expression]


class PythonExecutor:
    """Runs statements of kind pyspark in the namespace of `main`."""

    def __init__(self, main: ModuleType, outputs: Outputs, magics: Magics, sql: SqlMagic) -> None:
        self._namespace = main.__dict__
        self._outputs = outputs
        self._magics = magics
        self._sql = sql
        self._flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        self._count = 0
        self._loop: Optional[asyncio.AbstractEventLoop] = None
        os.environ.setdefault("MPLBACKEND", figures_backend.NAME)
        vars(builtins)["display"] = Display(outputs)  # as IPython has it
        vars(builtins)[_MAGIC] = self._magic
        sys.displayhook = self._show

    def run(self, statement: Statement) -> None:
        """Raises what the code raises."""
        if statement.stored:
            self._count += 1
        name = "%s%s>" % (CELL, self._count if statement.stored else "silent" if statement.silent else "unnumbered")
        if statement.code.startswith("%%sql"):
            line, _, query = statement.code[len("%%sql") :].partition("\n")
            self._sql.run(line, query)
            return
        linecache.cache[name] = (len(statement.code), None, [line + "\n" for line in statement.code.split("\n")], name)
        tree = self._parse(statement.code, name)
        last = None if statement.silent else _take_last_expression(tree, statement.code)
        try:
            if tree.body:
                self._evaluate(self._compile(tree, name, "exec"))
            if last is not None:
                sys.displayhook(self._evaluate(self._compile(last, name, "eval")))
        finally:
            self._magics.remember_figure()
            figures_backend.flush()

    @property
    def next_number(self) -> int:
        """Of the next statement that has a place in the history."""
        return self._count + 1

    def value(self, expression: str) -> Tuple[Bundle, Bundle]:
        """An expression's value as a bundle. Raises what the code raises."""
        return bundle(eval(expression, self._namespace))

    @staticmethod
    def check(code: str) -> Tuple[str, str]:
        return check(code)

    @staticmethod
    def call(function: Callable[[], None]) -> None:
        """Calls what is to run as the user's code does."""
        function()

    def _parse(self, code: str, name: str) -> ast.Module:
        """The code's tree. A line that begins with % where Python cannot be is a magic: the parser itself says where."""
        lines = code.split("\n")
        for _ in range(len(lines) + 1):
            try:
                tree: ast.Module = compile("\n".join(lines), name, "exec", self._flags | ast.PyCF_ONLY_AST, True)
                return tree
            except SyntaxError as error:
                index = (error.lineno or 0) - 1
                if not (0 <= index < len(lines) and lines[index].startswith("%") and not lines[index].startswith("%%")):
                    raise
                magic, _, argument = lines[index][1:].partition(" ")
                lines[index] = "%s(%r, %r)" % (_MAGIC, magic.strip(), argument)
        raise AssertionError("each line can be replaced but once")

    def _compile(self, tree: _Compilable, name: str, mode: str) -> CodeType:
        code: CodeType = compile(tree, name, mode, self._flags, True)
        for flag in _FUTURES:
            # `from __future__ import …` holds for the statements that follow, as in Python's own shell.
            self._flags |= code.co_flags & flag
        return code

    def _evaluate(self, code: CodeType) -> Any:
        value = eval(code, self._namespace)
        return self._wait(value) if code.co_flags & inspect.CO_COROUTINE else value

    def _wait(self, coroutine: Any) -> Any:
        if self._loop is None or self._loop.is_closed():
            self._loop = asyncio.new_event_loop()
        loop = self._loop
        asyncio.set_event_loop(loop)
        task = loop.create_task(coroutine)
        try:
            return loop.run_until_complete(task)
        except BaseException:
            if not task.done():
                # Interrupted from outside: the code's own `finally` blocks run now, not whenever the loop runs next.
                task.cancel()
                try:
                    loop.run_until_complete(task)
                except BaseException:
                    pass
            raise

    def _show(self, value: Any) -> None:
        if value is None:
            return
        data, metadata = bundle(value)
        self._result(data, metadata)
        vars(builtins)["_"] = value

    def _magic(self, name: str, argument: str) -> None:
        self._result(self._magics.run(name, argument), {})

    def _result(self, data: Bundle, metadata: Dict[str, Any]) -> None:
        self._outputs.emit("result", data=cleaned(data), metadata=metadata)


def _take_last_expression(tree: ast.Module, code: str) -> Optional[ast.Expression]:
    """Takes the last expression out of the tree, unless a semicolon silences it."""
    if not tree.body or not isinstance(tree.body[-1], ast.Expr):
        return None
    node = tree.body[-1]
    if isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Name) and node.value.func.id == _MAGIC:
        return None
    if node.end_lineno is not None and node.end_col_offset is not None:
        rest = code.split("\n")[node.end_lineno - 1].encode("utf-8", "replace")[node.end_col_offset :]
        if rest.lstrip().startswith(b";"):
            return None
    tree.body.pop()
    return ast.Expression(node.value)
