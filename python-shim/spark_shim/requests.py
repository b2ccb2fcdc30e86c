"""What a server may ask for: each request is checked, before anything is done, against what the protocol says of its fields."""

from __future__ import annotations

import re
from typing import Any, Callable, Dict, Optional, Tuple

from .pipe import Message
from .protocol import OPTIONAL_FIELDS, REQUEST_FIELDS

_INTEGER_LIMIT = 2**53
_KINDS = ("pyspark", "sql", "spark", "sparkr")

#: What the types alone do not say.
_RULES: Dict[Tuple[str, str], Callable[[Any], bool]] = {
    ("submit", "key"): lambda value: 0 < len(value) <= 255,
    ("submit", "kind"): lambda value: value in _KINDS,
    ("cell", "key"): lambda value: 0 < len(value) <= 255,
    ("cell", "kind"): lambda value: value in _KINDS,
    ("cell", "expressions"): lambda value: all(isinstance(each, str) for each in value.values()),
    ("comm", "key"): lambda value: 0 < len(value) <= 255,
    ("comm", "event"): lambda value: value in ("open", "msg", "close"),
    ("comm", "comm"): lambda value: 0 < len(value) <= 255,
    ("comm", "buffers"): lambda value: all(isinstance(each, str) for each in value),
    ("complete", "kind"): lambda value: value in _KINDS,
    ("complete", "cursor"): lambda value: value >= 0,
    ("inspect", "kind"): lambda value: value in _KINDS,
    ("inspect", "cursor"): lambda value: value >= 0,
    ("inspect", "detail"): lambda value: value in (0, 1),
    ("close", "state"): lambda value: value in ("dead", "killed", "success"),
    ("upload", "upload"): lambda value: re.fullmatch(r"[A-Za-z0-9_-]{1,64}", value) is not None,
    ("upload", "name"): lambda value: 0 < len(value) <= 255,
    ("upload", "offset"): lambda value: value >= 0,
    ("supply", "offset"): lambda value: value >= 0,
    ("forward", "to"): lambda value: value == "ui",
    ("log", "lines"): lambda value: value >= 0,
}


class RequestFailed(Exception):
    """The bad answer to a request; codes as the protocol's `failure` lists them."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def problem_of(frame: Message) -> Optional[str]:
    """What is wrong with a request; None when nothing is."""
    name = frame.get("frame")
    fields = REQUEST_FIELDS.get(name) if isinstance(name, str) else None
    if fields is None:
        return "unknown request %.100r" % (name,)
    for field, kinds in fields.items():
        if field not in frame:
            if (str(name), field) in OPTIONAL_FIELDS:
                continue
            return "%s: %s is missing" % (name, field)
        value = frame[field]
        rule = _RULES.get((str(name), field))
        if not _fits(value, kinds) or (rule is not None and not rule(value)):
            return "%s: %s is not valid" % (name, field)
    return None


def _fits(value: Any, kinds: Tuple[type, ...]) -> bool:
    if isinstance(value, bool):
        return bool in kinds or object in kinds
    if isinstance(value, int) and int in kinds:
        return -_INTEGER_LIMIT < value < _INTEGER_LIMIT
    return isinstance(value, kinds)
