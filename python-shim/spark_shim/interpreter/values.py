"""How Python values are said in JSON, for `%json`, `%table` and SQL results.

Whole numbers beyond 2^53 are strings (readers in JavaScript would round them), decimals are strings that keep their scale, NaN and the
infinities are the strings `NaN`, `Infinity`, `-Infinity`, dates and times are ISO 8601, bytes are base64, rows are objects.
"""

from __future__ import annotations

import base64
import datetime
import decimal
import math
from typing import Any, Callable, Dict, Mapping

#: The largest whole number that every JSON reader keeps.
SAFE_INTEGER = 2**53


def integer(value: int) -> Any:
    return value if -SAFE_INTEGER <= value <= SAFE_INTEGER else str(value)


def floating(value: float) -> Any:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def exact(value: decimal.Decimal) -> str:
    return format(value, "f") if value.is_finite() else str(value)


def binary(value: Any) -> str:
    return base64.b64encode(bytes(value)).decode("ascii")


def moment(value: datetime.datetime) -> str:
    text = value.isoformat()
    return text[:-6] + "Z" if text.endswith("+00:00") else text


def key_text(key: Any) -> str:
    """A map's key: JSON's keys are strings."""
    if isinstance(key, str):
        return key
    plain = to_json(key)
    return plain if isinstance(plain, str) else "null" if plain is None else str(plain).lower() if isinstance(plain, bool) else str(plain)


def row_fields(value: Any) -> Any:
    """The field names of a Spark Row, None for any other value."""
    return getattr(value, "__fields__", None) if isinstance(value, tuple) else None


def _sequence(value: Any) -> Any:
    fields = row_fields(value)
    if fields is not None:
        return {str(name): to_json(item) for name, item in zip(fields, value)}
    return [to_json(item) for item in value]


def _mapping(value: Mapping[Any, Any]) -> Any:
    return {key_text(key): to_json(item) for key, item in value.items()}


_RULES: Dict[type, Callable[[Any], Any]] = {
    type(None): lambda value: None,
    bool: bool,
    int: integer,
    float: floating,
    str: str,
    decimal.Decimal: exact,
    datetime.datetime: moment,
    datetime.date: lambda value: value.isoformat(),
    datetime.time: lambda value: value.isoformat(),
    datetime.timedelta: str,
    bytes: binary,
    bytearray: binary,
    tuple: _sequence,
    list: _sequence,
    dict: _mapping,
}


def to_json(value: Any) -> Any:
    """Raises TypeError for what JSON cannot hold."""
    for ancestor in type(value).__mro__:
        rule = _RULES.get(ancestor)
        if rule is not None:
            # pandas' NaT is a datetime that equals nothing.
            return None if ancestor is datetime.datetime and value != value else rule(value)
    # numpy's scalars say what they are in Python.
    if type(value).__module__ == "numpy" and hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        return to_json(value.item())
    raise TypeError("a value of type %s cannot be said in JSON" % type(value).__name__)
