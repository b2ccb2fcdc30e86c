"""How far a statement's Spark jobs are."""

from __future__ import annotations

import time
from typing import Any, Callable, Dict, List, Optional, Set

#: Seconds after which what has not changed is told again: the first time, and at most.
AGAIN_SECONDS = 0.25
AGAIN_LIMIT_SECONDS = 10.0


class Progress:
    """
    What is known of one statement's jobs, those that Spark remembers (`spark.ui.retainedJobs`): a statement may run a million. A finished
    job is not asked for again. What does not change is told again, less and less often: front ends do not show the jobs of a statement
    that has only begun, and show for how long the others have run.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.fraction = 0.0
        self._clock = clock
        self._told = 0.0
        self._again = AGAIN_SECONDS
        self._jobs: Dict[int, Dict[str, Any]] = {}
        self._forgotten_tasks = 0

    def jobs(self) -> List[Dict[str, Any]]:
        return [self._jobs[job] for job in sorted(self._jobs)]

    def look(self, tracker: Any, known: Set[int]) -> bool:
        """Asks Spark about the jobs it knows. Whether there is something to tell."""
        changed = False
        for job in known:
            before = self._jobs.get(job)
            if before is not None and before["status"] not in ("RUNNING", "UNKNOWN"):
                continue
            now = _job(tracker, job, before)
            if now is not None and now != before:
                self._jobs[job] = now
                changed = True
        for job in set(self._jobs) - known:
            self._forgotten_tasks += sum(stage["tasks"] for stage in self._jobs.pop(job)["stages"])
        if changed:
            stages = {stage["stage"]: stage for job in self._jobs.values() for stage in job["stages"]}.values()
            tasks = sum(stage["tasks"] for stage in stages) + self._forgotten_tasks
            done = sum(stage["completed"] for stage in stages) + self._forgotten_tasks
            # Adaptive execution adds jobs as it goes: a fraction that was reached is not taken back.
            self.fraction = max(self.fraction, min(1.0, done / tasks)) if tasks else self.fraction
        return self._tell(changed)

    def _tell(self, changed: bool) -> bool:
        now = self._clock()
        if not changed:
            if not self._jobs or now - self._told < self._again:
                return False
            self._again = min(2 * self._again, AGAIN_LIMIT_SECONDS)
        self._told = now
        return True


def _job(tracker: Any, job: int, before: Optional[Dict[str, Any]]) -> Optional[Dict[str, Any]]:
    info = tracker.getJobInfo(job)
    if info is None:
        return None
    finished = {stage["stage"]: stage for stage in (before["stages"] if before else ()) if stage["completed"] >= stage["tasks"]}
    stages = []
    for number in sorted(info.stageIds):
        stage = tracker.getStageInfo(number) if number not in finished else None
        if number in finished:
            stages.append(finished[number])
        elif stage is not None:
            counts = {"tasks": stage.numTasks, "active": stage.numActiveTasks, "completed": stage.numCompletedTasks}
            stages.append({"stage": number, "name": str(stage.name), **counts, "failed": stage.numFailedTasks})
    return {"job": job, "status": str(info.status), "stages": stages}
