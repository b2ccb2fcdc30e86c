"""What a server may ask for: the fields of each request, checked before anything is done."""

from __future__ import annotations

from typing import Any, Callable, Dict, Optional

from .pipe import Message

KINDS = frozenset({"pyspark", "sql", "spark", "sparkr"})
END_STATES = frozenset({"dead", "killed", "success"})

Check = Callable[[Any], bool]


def _integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -(2**53) < value < 2**53


def _natural(value: Any) -> bool:
    return _integer(value) and value >= 0


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _any(value: Any) -> bool:
    return True


REQUESTS: Dict[str, Dict[str, Check]] = {
    "attach": {"epoch": lambda value: value is None or isinstance(value, str), "afterSeq": _integer},
    "read": {"fromSeq": _integer, "toSeq": _integer, "limitBytes": _integer},
    "submit": {
        "key": lambda value: isinstance(value, str) and 0 < len(value) <= 255,
        "code": _text,
        "kind": lambda value: value in KINDS,
        "origin": _any,
        "stopOnError": _flag,
        "silent": _flag,
        "stdin": _flag,
    },
    "cancel": {"statement": _integer, "restart": _flag},
    "interrupt": {},
    "complete": {"code": _text, "kind": lambda value: value in KINDS, "cursor": _natural},
    "inspect": {
        "code": _text,
        "kind": lambda value: value in KINDS,
        "cursor": _natural,
        "detail": lambda value: _integer(value) and value in (0, 1),
    },
    "answer": {"statement": _integer, "value": _text},
    "touch": {"client": _text},
    "restart": {},
    "close": {"state": lambda value: value in END_STATES, "reason": _text},
    "log": {"fromLine": _integer, "lines": _natural},
}


class RequestFailed(Exception):
    """The bad answer to a request; codes as the protocol's `failure` lists them."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def problem_of(frame: Message) -> Optional[str]:
    """What is wrong with a request; None when nothing is."""
    checks = REQUESTS.get(str(frame.get("frame")))
    if checks is None:
        return "unknown request %.100r" % (frame.get("frame"),)
    for name, check in checks.items():
        if name not in frame:
            return "%s: %s is missing" % (frame["frame"], name)
        try:
            good = check(frame[name])
        except TypeError:  # an unhashable value where one of a few words belongs
            good = False
        if not good:
            return "%s: %s is not valid" % (frame["frame"], name)
    return None
