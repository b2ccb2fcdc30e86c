"""What the interpreter may emit, brought into the shape of its record: user code can write to the pipe, so nothing is taken on trust."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Tuple

from .pipe import Message, encode


def _bundle(value: Any) -> Dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)


def _name(value: Any) -> Any:
    return value if isinstance(value, str) else None


def _lines(value: Any) -> List[str]:
    return [_text(line) for line in value] if isinstance(value, list) else []


def _fraction(value: Any) -> float:
    return min(1.0, max(0.0, float(value))) if isinstance(value, (int, float)) else 0.0


def integer(value: Any) -> int:
    """A whole number; 0 for what is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _jobs(value: Any) -> List[Any]:
    return [
        {"job": integer(job.get("job")), "status": _text(job.get("status")), "stages": _stages(job.get("stages"))}
        for job in _objects(value)
    ]


def _stages(value: Any) -> List[Any]:
    counts = ("stage", "tasks", "active", "completed", "failed")
    return [{"name": _text(stage.get("name")), **{name: integer(stage.get(name)) for name in counts}} for stage in _objects(value)]


def _objects(value: Any) -> List[Dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _texts(value: Any) -> List[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _comm_id(value: Any) -> str:
    return _text(value)[:255] or "unknown"


def _event(value: Any) -> str:
    return value if value in ("open", "close") else "msg"


#: The fields of each emitted record but `stream`, and how each is made good.
EMITTED: Dict[str, Dict[str, Callable[[Any], Any]]] = {
    "display": {"data": _bundle, "metadata": _bundle, "displayId": _name, "update": bool},
    "clear": {"wait": bool},
    "result": {"data": _bundle, "metadata": _bundle},
    "error": {"ename": _text, "evalue": _text, "traceback": _lines},
    "progress": {"fraction": _fraction, "jobs": _jobs},
    "input": {"prompt": _text, "password": bool},
    "returned": {"payload": _objects, "expressions": _bundle},
    "comm": {"event": _event, "comm": _comm_id, "target": _name, "data": _bundle, "metadata": _bundle, "buffers": _texts},
}


def spark_facts(value: Any) -> Message:
    """What an interpreter that is ready says of itself, as the `interpreter` record has it."""
    facts = _bundle(value)
    told: Message = {name: _text(facts.get(name)) for name in ("python", "spark")}
    told.update((name, _name(facts.get(name))) for name in ("appId", "uiUrl", "sparkUser", "ipython"))
    return told


def record_fields(kind: str, message: Message) -> Tuple[Dict[str, Any], int]:
    """The fields of a record of this kind, and about how many bytes they take."""
    fields = {name: make(message.get(name)) for name, make in EMITTED[kind].items()}
    return fields, len(encode(fields)) if kind in ("display", "result", "error") else 0
