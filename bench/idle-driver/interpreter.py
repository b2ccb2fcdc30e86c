"""An interpreter that is ready as soon as it is told of a gateway, and does nothing more."""

import json
import os
import socket

FACTS = {"python": "3", "spark": "none", "appId": "idle", "uiUrl": None, "sparkUser": "nobody", "ipython": None}

with socket.socket(fileno=int(os.environ["LONGWICK_PIPE"])) as pipe, pipe.makefile("rw", encoding="utf-8") as lines:
    for line in lines:
        if json.loads(line)["do"] == "gateway":
            lines.write(json.dumps({"is": "ready", "facts": FACTS}) + "\n")
            lines.flush()
