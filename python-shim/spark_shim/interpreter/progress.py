"""How far a statement's Spark jobs are."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Set


class Progress:
    """
    What is known of one statement's jobs, those that Spark remembers (`spark.ui.retainedJobs`): a statement may run a million. A finished
    job is not asked for again.
    """

    def __init__(self) -> None:
        self.fraction = 0.0
        self._jobs: Dict[int, Dict[str, Any]] = {}
        self._forgotten_tasks = 0

    def jobs(self) -> List[Dict[str, Any]]:
        return [self._jobs[job] for job in sorted(self._jobs)]

    def look(self, tracker: Any, known: Set[int]) -> bool:
        """Asks Spark about the jobs it knows. Whether anything changed."""
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
        return changed


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
