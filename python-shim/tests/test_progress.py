"""What is told of a statement's jobs, and when."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, List

from spark_shim.interpreter.progress import AGAIN_LIMIT_SECONDS, AGAIN_SECONDS, Progress


class Tracker:
    """Spark's, as far as it is asked: one job of one stage."""

    completed = 0

    def getJobInfo(self, _job: int) -> Any:
        return SimpleNamespace(stageIds=[0], status="RUNNING")

    def getStageInfo(self, _stage: int) -> Any:
        return SimpleNamespace(name="count", numTasks=2, numActiveTasks=2, numCompletedTasks=self.completed, numFailedTasks=0)


def test_what_does_not_change_is_told_again_less_and_less_often() -> None:
    now, tracker = 100.0, Tracker()
    progress = Progress(lambda: now)
    told: List[float] = []
    for _ in range(800):
        if progress.look(tracker, {0}):
            told.append(now - 100.0)
        now += 0.125
    # A front end shows no jobs in a statement's first half second.
    assert told[:3] == [0.0, AGAIN_SECONDS, 3 * AGAIN_SECONDS]
    pauses = [after - before for before, after in zip(told, told[1:])]
    assert pauses == sorted(pauses) and pauses[-1] == AGAIN_LIMIT_SECONDS


def test_what_changes_is_told_at_once_and_nothing_of_no_jobs() -> None:
    tracker = Tracker()
    progress = Progress(lambda: 100.0)
    assert not progress.look(tracker, set())
    assert progress.look(tracker, {0}) and not progress.look(tracker, {0})
    tracker.completed = 1
    assert progress.look(tracker, {0}) and progress.fraction == 0.5
