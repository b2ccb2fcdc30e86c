"""Airflow's own operator, sensor, hook and trigger against a server; says as JSON what they answered."""

import asyncio
import json
import os
import sys
import time
from urllib.parse import urlsplit

url, good, bad, sleeping, refused = sys.argv[1:6]
at = urlsplit(url)
os.environ["AIRFLOW_CONN_LIVY_DEFAULT"] = json.dumps(
    {"conn_type": "livy", "host": at.hostname, "port": at.port, "schema": at.scheme}
)

from airflow.providers.apache.livy.hooks.livy import BatchState, LivyHook  # noqa: E402
from airflow.providers.apache.livy.operators.livy import LivyOperator  # noqa: E402
from airflow.providers.apache.livy.sensors.livy import LivySensor  # noqa: E402
from airflow.sdk.exceptions import TaskDeferred  # noqa: E402

told = {}


class TaskInstance:
    """What an operator pushes; nothing else of a scheduler is needed."""

    stats_tags = {}

    def __init__(self):
        self.pushed = {}

    def xcom_push(self, key, value):
        self.pushed[key] = value


class Store(dict):
    """What outlives a task's try."""

    def set(self, key, value):
        self[key] = value


def context():
    return {"ti": TaskInstance(), "task_state_store": Store()}


def attempt(work):
    try:
        return work()
    except Exception as error:
        return "%s: %s" % (type(error).__name__, error)


def operator(task, **fields):
    return LivyOperator(task_id=task, livy_conn_id="livy_default", **fields)


hook = LivyHook(livy_conn_id="livy_default")

# Only submits, and a sensor waits. It has id 0, which Airflow would take for none when it looks for what it has submitted before.
submitted = operator("submitted", file=good, args=["1"]).execute(context())
sensor = LivySensor(task_id="sensor", batch_id=submitted)
deadline = time.monotonic() + 120
while not sensor.poke(context()) and time.monotonic() < deadline:
    time.sleep(0.5)
told["submitted"] = hook.get_batch_state(submitted).value

# Waits by itself; numbers as text, as templates make them.
here = context()
fields = {"file": good, "args": ["10", 3], "num_executors": "1", "driver_memory": "512m", "conf": {"spark.ui.enabled": "false"}}
id = operator("good", polling_interval=1, **fields).execute(here)
told["operator"] = {"int": isinstance(id, int), "state": hook.get_batch_state(id).value, "pushed": list(here["ti"].pushed)}
told["sensor"] = LivySensor(task_id="sensor", batch_id=id).poke(context())
told["tried again"] = operator("good", polling_interval=1, **fields).execute({**context(), "task_state_store": here["task_state_store"]}) == id
told["keys"] = sorted(hook.get_batch(id))

told["failing"] = attempt(lambda: operator("bad", file=bad, polling_interval=1).execute(context())).replace("\n", " ")
told["refused"] = attempt(lambda: operator("refused", file=refused, polling_interval=1).execute(context()))[:300]

# Deferred: the trigger waits in an event loop.
deferred = operator("deferred", file=good, args=["2"], polling_interval=1, deferrable=True)
try:
    deferred.execute(context())
    told["deferred"] = "it did not defer"
except TaskDeferred as deferral:

    async def first():
        async for event in deferral.trigger.run():
            return event.payload

    payload = asyncio.run(first())
    here = context()
    result = deferred.execute_complete(here, payload)
    # It reads the first page alone.
    log = payload.get("log_lines") or []
    told["deferred"] = {"status": payload["status"], "same": result == payload["batch_id"], "log": any("Spark" in str(line) for line in log)}

# Killed by a user.
killed = operator("killed", file=sleeping, polling_interval=0)
batch = killed.execute(context())
killed.on_kill()
told["killed"] = attempt(lambda: hook.get_batch_state(batch))[:200]
told["final"] = sorted(state.value for state in hook.TERMINAL_STATES)
told["known"] = BatchState("starting").value
told["absent"] = attempt(lambda: hook.get_batch(4711))[:200]

print("TOLD " + json.dumps(told))
