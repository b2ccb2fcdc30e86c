"""The process that runs user code. `python -m spark_shim.interpreter` starts it; see `process.py`."""
