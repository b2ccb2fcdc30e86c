"""Drives pylivy's batches against a server and says as JSON what it answered."""

import json
import sys

import requests
from livy import LivyBatch
from livy.client import LivyClient

url, good, bad, sleeping = sys.argv[1:5]
told = {}

batch = LivyBatch.create(url, file=good, args=["10"], name="by-pylivy", driver_memory="512m", spark_conf={"spark.ui.enabled": "false"})
told["begun"] = batch.state.value in ("starting", "running")
batch.wait()
told["state"] = batch.state.value
told["log"] = [line for line in batch.log(size=1000) if line.startswith("sum is")]
told["page"] = len(batch.log(from_=0, size=3))

failing = LivyBatch.create(url, file=bad)
failing.wait()
told["failing"] = failing.state.value

killed = LivyBatch.create(url, file=sleeping)
killed.kill()
told["killed"] = requests.get("%s/batches/%d" % (url, killed.batch_id), timeout=30).status_code

client = LivyClient(url)
told["listed"] = [(listed.batch_id == batch.batch_id, listed.app_id, listed.state.value) for listed in client.list_batches()][:1]
client.close()
print(json.dumps(told))
