"""The ladder's times, by a clock that the test moves."""

from __future__ import annotations

from typing import Any, Dict, List

import pytest
from kit import Clock

from spark_shim.cancellation import GRACE_SECONDS, PATIENCE_SECONDS, REPEAT_SECONDS, SECOND_REQUEST_SECONDS, SELDOM_SECONDS, Cancellation


class Ladder:
    """A cancellation, and what it has done."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = Clock(monkeypatch)
        self.done: List[str] = []
        parts: Dict[str, Any] = {
            "loop": self.clock,
            "cancel_jobs": lambda: self.done.append("cancel jobs"),
            "signal": lambda: self.done.append("send signal"),
            "restart": lambda: self.done.append("begin anew"),
            "rung_taken": self.done.append,
            "patience_over": lambda: self.done.append("say so"),
            "force_ms": 0,
        }
        self.cancellation = Cancellation(**parts)

    def new(self) -> List[str]:
        """What it has done since this was asked last."""
        told = self.done[:]
        self.done.clear()
        return told


def test_a_second_request_takes_the_last_rung_a_second_after_the_first_and_not_before(monkeypatch: pytest.MonkeyPatch) -> None:
    ladder = Ladder(monkeypatch)
    ladder.cancellation.again()
    ladder.clock.move(SECOND_REQUEST_SECONDS - 0.25)
    ladder.cancellation.again()
    assert "restart" not in ladder.new()
    ladder.clock.move(0.25)
    ladder.cancellation.again()
    assert ladder.new()[-2:] == ["restart", "begin anew"]
    ladder.cancellation.again()
    ladder.clock.move(60)
    assert ladder.new() == []


@pytest.mark.parametrize(("jobs", "grace"), [(0, 0.0), (2, GRACE_SECONDS)])
def test_the_signal_waits_for_the_jobs_and_is_repeated_with_them_less_often_in_the_end(
    monkeypatch: pytest.MonkeyPatch, jobs: int, grace: float
) -> None:
    ladder = Ladder(monkeypatch)
    assert ladder.new() == ["jobs", "cancel jobs"]
    ladder.cancellation.jobs_cancelled(jobs)
    if grace:
        assert ladder.new() == []
    ladder.clock.move(grace)
    assert ladder.new() == ["signal", "send signal"]
    ladder.clock.move(REPEAT_SECONDS)
    assert ladder.new() == ["cancel jobs", "send signal"]
    ladder.clock.move(PATIENCE_SECONDS)
    assert ladder.new().count("say so") == 1
    ladder.clock.move(SELDOM_SECONDS)
    assert ladder.new() == ["cancel jobs", "send signal"]
    ladder.cancellation.close()
    ladder.clock.move(60)
    assert ladder.new() == []
