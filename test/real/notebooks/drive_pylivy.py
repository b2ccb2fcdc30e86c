"""Drive a server with pylivy as its documentation shows, and print what came back as one JSON object.

drive_pylivy.py URL
"""

from __future__ import annotations

import json
import sys
import warnings
from typing import Any

import pandas as pd
import requests
from livy import LivySession, SessionKind, SparkRuntimeError
from livy.client import LivyClient


def main(url: str) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    client = LivyClient(url)
    seen["legacy"] = client.legacy_server()
    with LivySession.create(url, name="of-pylivy", echo=False, heartbeat_timeout=60) as session:
        seen["text"] = session.run("print('héllo')\n6 * 7").text
        seen["listed"] = [[item.session_id, item.kind.value, item.state.value] for item in client.list_sessions()]
        session.upload("people", pd.DataFrame({"name": ["Zoë", "Åke"], "age": [3, 4]}))
        seen["uploaded"] = session.download("people").sort_values("age")[["name", "age"]].to_dict("records")
        session.run("wide = spark.range(5000).selectExpr('id', \"repeat('x', 200) as text\")")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            wide = session.read("wide")
        seen["wide"] = [len(wide), int(wide.id.sum()), sorted(set(wide.text.str.len()))]
        try:
            session.run("1/0")
        except SparkRuntimeError as error:
            seen["error"] = [error.ename, error.evalue, "".join(error.traceback)]
        seen["statements"] = [[item.statement_id, item.state.value] for item in client.list_statements(session.session_id)][:3]
        spark = session.session_id
    seen["after close"] = client.get_session(spark)
    with LivySession.create(url, kind=SessionKind.SQL, echo=False) as session:
        seen["sql"] = session.download_sql("select id, cast(id as string) as text from range(3)").to_dict("records")
        seen["no rows"] = list(session.download_sql("select 1 as a where false").columns)
    try:
        LivySession(url, spark).run("1")
    except requests.HTTPError as error:
        seen["statement to a closed session"] = [error.response.status_code, error.response.json()]
    return seen


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
