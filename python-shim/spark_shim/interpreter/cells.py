"""What notebooks ask for besides running code: whether it is complete, and the values of expressions at its end."""

from __future__ import annotations

import ast
import codeop
import warnings
from typing import Any, Callable, Dict, Tuple

from .display import Bundle, cleaned
from .errors import describe

_INDENT = "    "


def check(code: str) -> Tuple[str, str]:
    """Whether code can run as it stands ("complete", "incomplete", "invalid"), and what an incomplete one's next line begins with."""
    if code.startswith("%%"):
        return ("complete", "") if code.endswith("\n\n") else ("incomplete", "")
    lines = ["pass" if line.startswith(("%", "!")) else line for line in code.split("\n")]
    compiler = codeop.CommandCompiler()
    compiler.compiler.flags |= ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            complete = compiler("\n".join(lines), symbol="exec") is not None
    except (SyntaxError, OverflowError, ValueError):
        return "invalid", ""
    last = lines[-1]
    margin = last[: len(last) - len(last.lstrip())]
    if complete and not (margin and last.strip()):
        return "complete", ""
    return "incomplete", margin + _INDENT if last.rstrip().endswith(":") else margin


def values(expressions: Dict[str, str], value: Callable[[str], Tuple[Bundle, Bundle]]) -> Dict[str, Any]:
    """Each expression's value as a bundle, or its error."""
    told: Dict[str, Any] = {}
    for name, expression in expressions.items():
        try:
            data, metadata = value(expression)
            told[name] = {"status": "ok", "data": cleaned(data), "metadata": metadata}
        except Exception as error:
            told[name] = {"status": "error", **describe(error)}
    return told
