"""The floor for a driver: bare PySpark in bare Python. Runs one statement, says so, and waits to be looked at.

bare_spark.py CODE          prints one line once CODE has run; ends when its standard input does
"""

from __future__ import annotations

import sys

from pyspark.sql import SparkSession

spark = SparkSession.builder.config("spark.ui.showConsoleProgress", "false").getOrCreate()
exec(sys.argv[1], {"spark": spark, "sc": spark.sparkContext})
print("ready", flush=True)
sys.stdin.read()
