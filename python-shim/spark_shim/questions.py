"""Questions to the interpreter that are answered, refused or given up: each exactly once."""

from __future__ import annotations

from typing import Callable, Dict, Tuple

from .loop import Loop, Timer
from .pipe import Message

#: A completion that takes longer is of no use to anybody.
ANSWER_SECONDS = 15.0

Good = Callable[[Message], None]
Bad = Callable[[str], None]


class Questions:
    """Numbers the questions and finds who asked when the answer comes."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._open: Dict[int, Tuple[Good, Bad, Timer]] = {}
        self._count = 0

    def ask(self, send: Callable[[Message], None], question: Message, good: Good, bad: Bad) -> None:
        """`good` gets the answer's result, `bad` why there is none."""
        self._count += 1
        number = self._count
        expired = {"request": number, "failure": "The interpreter did not answer."}
        self._open[number] = (good, bad, self._loop.after(ANSWER_SECONDS, lambda: self.answered(expired)))
        send({**question, "request": number})

    def answered(self, message: Message) -> None:
        """A reply; one to no open question is nobody's."""
        number, result = message.get("request"), message.get("result")
        asked = self._open.pop(number, None) if isinstance(number, int) else None
        if asked is None:
            return
        good, bad, timer = asked
        timer.cancel()
        if isinstance(result, dict):
            good(result)
        else:
            bad(str(message.get("failure")))

    def give_up(self, why: str) -> None:
        """Nobody will answer what is open."""
        for number in list(self._open):
            self.answered({"request": number, "failure": why})
