"""Statements of kind sql: their rows as Livy's `application/json` of schema and data."""

from __future__ import annotations

import datetime
from typing import Any, Callable, Dict, List

from ..pipe import encode
from .display import BUNDLE_LIMIT_BYTES
from .errors import PlainError
from .statement import Statement
from .streams import Outputs
from .values import binary, exact, floating, integer, key_text, moment, to_json

Convert = Callable[[Any], Any]


class SqlExecutor:
    """Runs SQL on the session's SparkSession, so that temp views are shared with Python."""

    def __init__(self, session: Callable[[], Any], outputs: Outputs, row_limit: int) -> None:
        self._session = session
        self._outputs = outputs
        self._row_limit = row_limit

    def run(self, statement: Statement) -> None:
        """Raises PlainError for what Spark says against the code: no Python frame would tell more."""
        try:
            answer = self._answer(statement.code)
        except Exception as error:
            raise PlainError(type(error).__name__, str(error)) from error
        noted = {key: answer[key] for key in ("truncated", "rowLimit") if key in answer}
        self._outputs.emit("result", data={"application/json": answer}, metadata={"application/json": noted} if noted else {})

    def _answer(self, code: str) -> Dict[str, Any]:
        session = self._session()
        frame = session.sql(code)
        schema = frame.schema
        if not schema.fields:
            # A command (DDL, DML): it has run, and has nothing to show.
            return {"schema": schema.jsonValue(), "data": []}
        converters = [converter(field.dataType, _zone(session)) for field in schema.fields]
        rows = _collectable(frame).limit(self._row_limit + 1).collect()
        data = [[convert(cell) for convert, cell in zip(converters, row)] for row in rows[: self._row_limit]]
        answer = {"schema": schema.jsonValue(), "data": _within_limit(data)}
        if len(answer["data"]) < len(rows):
            # Said, never silent: `rowLimit` is how many rows there are here; the query has more.
            answer.update(truncated=True, rowLimit=len(answer["data"]))
        return answer


def _within_limit(data: List[List[Any]]) -> List[List[Any]]:
    """As many rows, from the first, as one record may hold."""
    size = 0
    for start in range(0, len(data), 100):
        size += len(encode(data[start : start + 100]))
        if size > BUNDLE_LIMIT_BYTES:
            return data[:start]
    return data


def _collectable(frame: Any) -> Any:
    """The frame with columns that PySpark cannot bring to Python cast to text."""
    odd = ("YearMonthIntervalType", "CalendarIntervalType")
    names = [type(field.dataType).__name__ for field in frame.schema.fields]
    if not any(name in odd for name in names):
        return frame
    # By position: two columns may have one name.
    columns = ["c%d" % index for index in range(len(names))]
    renamed = frame.toDF(*columns)
    return renamed.select(*(renamed[column].cast("string") if name in odd else renamed[column] for column, name in zip(columns, names)))


def _zone(session: Any) -> datetime.tzinfo:
    """The session's time zone; UTC where Python does not know it (before 3.9, or a zone without a name)."""
    name = str(session.conf.get("spark.sql.session.timeZone"))
    if name.upper() in ("UTC", "Z", "GMT", "ETC/UTC"):
        return datetime.timezone.utc
    try:
        import zoneinfo

        return zoneinfo.ZoneInfo(name)
    except Exception:
        return datetime.timezone.utc


def converter(kind: Any, zone: datetime.tzinfo) -> Convert:
    """How values of a Spark type are said in JSON (the rules of `values`); null is null in all of them."""
    convert = _converter(kind, zone)
    return lambda value: None if value is None else convert(value)


def _converter(kind: Any, zone: datetime.tzinfo) -> Convert:
    simple = _SIMPLE.get(type(kind).__name__)
    if simple is not None:
        return simple
    name = type(kind).__name__
    if name == "TimestampType":
        # PySpark gives the instant in the process's own zone, without saying so.
        return lambda value: moment(value.astimezone(zone))
    if name == "ArrayType":
        item = converter(kind.elementType, zone)
        return lambda value: [item(each) for each in value]
    if name == "MapType":
        of_key, of_value = converter(kind.keyType, zone), converter(kind.valueType, zone)
        return lambda value: {key_text(of_key(key)): of_value(each) for key, each in value.items()}
    if name == "StructType":
        fields = [(field.name, converter(field.dataType, zone)) for field in kind.fields]
        return lambda value: {field: convert(each) for (field, convert), each in zip(fields, value)}
    return _other


def _other(value: Any) -> Any:
    try:
        return to_json(value)
    except TypeError:
        return str(value)


_SIMPLE: Dict[str, Convert] = {
    "StringType": str,
    "CharType": str,
    "VarcharType": str,
    "BooleanType": bool,
    "ByteType": int,
    "ShortType": int,
    "IntegerType": int,
    "LongType": integer,
    "FloatType": floating,
    "DoubleType": floating,
    "DecimalType": exact,
    "DateType": lambda value: value.isoformat(),
    "TimestampNTZType": moment,
    "TimeType": lambda value: value.isoformat(),
    "BinaryType": binary,
    "DayTimeIntervalType": str,
    "YearMonthIntervalType": str,
    "CalendarIntervalType": str,
}
