"""A cell that prints while its server is killed and comes back: `drive_away.py OUT [told]`, with the kernelspec's name in KERNEL.

Says PRINTING when output has come, reads a line (the server or its driver is away now), with `told` waits until the cell shows that, sends a
second cell, says SENT when whoever answers has it, and writes what came of both.
"""

from __future__ import annotations

import json
import sys

from kernel_cases import Cell, connected, run, started

LINES = 700
code = f"import time\nfor n in range({LINES}):\n    print(n, 'é' * 20)\n    time.sleep(0.02)"


def main() -> None:
    manager = started()
    client = connected(manager)
    run(client, "1", 90)
    cell = Cell(client, code)
    cell.read(30, stop=lambda message: message["msg_type"] == "stream" and "\n50 " in cell.text())
    print("PRINTING", flush=True)
    sys.stdin.readline()
    if sys.argv[2:] == ["told"]:
        cell.read(60, stop=lambda message: "has been away since" in message["content"].get("data", {}).get("text/plain", ""))
    second = Cell(client, "print('sent while the server was away')")
    client.kernel_info(reply=True, timeout=30)
    print("SENT", flush=True)
    cell.read(90)
    replies = []
    for each in (cell, second):
        replies.append(each.reply(30)["status"])
    second.read(30)
    third, last = run(client, "print('after all')", 30)
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        json.dump(
            {
                "lines": cell.text(),
                "replies": [*replies, third["status"]],
                "types": [message["msg_type"] for message in cell.messages],
                "notices": [content["data"]["text/plain"] for kind in ("display_data", "update_display_data") for content in cell.of(kind)],
                "others": [second.text(), last.text()],
            },
            file,
        )
    client.stop_channels()
    manager.shutdown_kernel()


main()
