"""A JVM whose SparkSubmit runs Python files in itself, with what it was given in `submitted.json` beside the properties."""

import json
import os
import runpy
import sys

at = sys.argv.index("--properties-file")
properties, arguments = sys.argv[at + 1], sys.argv[at + 2 :]
with open(properties) as file:
    conf = dict(line.rstrip("\n").split("=", 1) for line in file)
with open(os.path.join(os.path.dirname(properties), "submitted.json"), "w") as file:
    json.dump({"conf": conf, "arguments": arguments}, file)
while arguments[0].startswith("--"):
    arguments = arguments[2:]
os.environ["PORT"] = conf.get("spark.ui.port", "")
os.environ["MARK"] = conf["spark.longwick.session"]
path = arguments[0][len("file://") :]
sys.argv = [path, *arguments[1:]]
sys.stderr = sys.stdout  # as SparkSubmit's PythonRunner has it
runpy.run_path(path, run_name="__main__")
