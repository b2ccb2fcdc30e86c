"""The driver side of Longwick: a supervisor, an interpreter that runs user code, and Spark's JVM, each its own process."""
