"""Channels between front ends and the user's objects (widgets), by way of the `comm` package where it is."""

from __future__ import annotations

import base64
import importlib
import importlib.util
from typing import Any, Dict, List, Optional

from ..pipe import Message
from .statement import CURRENT, Statement
from .streams import Outputs


class Comms:
    """`start` makes whatever uses `comm` use the session's front ends."""

    def __init__(self, outputs: Outputs) -> None:
        self._outputs = outputs
        self.manager: Any = None

    def start(self) -> None:
        if importlib.util.find_spec("comm") is None:
            return
        package: Any = importlib.import_module("comm")
        base: Any = importlib.import_module("comm.base_comm")
        manager = self.manager = base.CommManager()
        publish = self._publish

        class Comm(base.BaseComm):  # type: ignore[misc]  # the package's class has no types here
            def publish_msg(self, msg_type: str, data: Any = None, metadata: Any = None, buffers: Any = None, **keys: Any) -> None:
                publish(msg_type, self.comm_id, keys.get("target_name"), data, metadata, buffers)

            def handle_msg(self, msg: Any) -> None:
                # The package's own asks IPython for its events, which may not be there; whoever calls us sees to them.
                if self._msg_callback:
                    self._msg_callback(msg)

        package.create_comm = Comm
        package.get_comm_manager = lambda: manager

    def targets(self) -> Dict[str, str]:
        """Any thread: the open channels, id → target."""
        comms = {} if self.manager is None else dict(self.manager.comms)
        return {str(id): str(comm.target_name) for id, comm in comms.items()}

    def receive(self, statement: Statement) -> None:
        """A front end's message. Raises what the user's handler raises."""
        told = statement.message or {}
        event, id = told["event"], told["comm"]
        comms = {} if self.manager is None else self.manager.comms
        if event == "open":
            if self.manager is None or told["target"] not in self.manager.targets:
                # Nobody knows the target, which every front end tries: no error of anybody's.
                self._outputs.emit("comm", event="close", comm=id, target=None, data={}, metadata={}, buffers=[])
            else:
                self.manager.comm_open(None, None, _message(statement.parent, told))
        elif id in comms:
            if event == "close":
                self.manager.comm_close(None, None, _message(statement.parent, told))
            else:
                comms[id].handle_msg(_message(statement.parent, told))

    def _publish(self, kind: str, id: str, target: Optional[str], data: Any, metadata: Any, buffers: Any) -> None:
        packed: List[str] = [base64.b64encode(memoryview(each).tobytes()).decode("ascii") for each in buffers or ()]
        event = kind[len("comm_") :]
        self._outputs.emit("comm", event=event, comm=id, target=target, data=data or {}, metadata=metadata or {}, buffers=packed)


def _message(parent: Optional[str], told: Message) -> Dict[str, Any]:
    """As handlers know it from Jupyter's kernels."""
    buffers = [memoryview(base64.b64decode(each)) for each in told["buffers"]]
    content = {"comm_id": told["comm"], "target_name": told["target"], "data": told["data"]}
    return {"header": {"msg_id": parent}, "parent_header": {}, "metadata": told["metadata"], "content": content, "buffers": buffers}


class FrontKernel:
    """`get_ipython().kernel`: what widgets look for."""

    def __init__(self, comms: Comms) -> None:
        self.comm_manager = comms.manager

    def get_parent(self, _channel: Any = None) -> Dict[str, Any]:
        """The request whose code runs."""
        statement = CURRENT.get()
        return {} if statement is None or statement.parent is None else {"header": {"msg_id": statement.parent}}

    @property
    def _parent_header(self) -> Dict[str, Any]:
        return self.get_parent()
