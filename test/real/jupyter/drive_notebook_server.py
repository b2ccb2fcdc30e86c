"""Drives a real Jupyter Server whose kernels live on the gateway that the environment names, and says as JSON what its clients saw."""

import asyncio
import json
import os
import tempfile
import uuid

import tornado.httpclient
import tornado.websocket
from notebook_server import notebook_server

TOKEN = "notebook-server"


class Notebook:
    """What a page does, through the notebook server."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.client = tornado.httpclient.AsyncHTTPClient()
        self.headers = {"Authorization": "token " + TOKEN, "Content-Type": "application/json"}

    async def call(self, method: str, path: str, body: object = None) -> object:
        response = await self.client.fetch(
            self.base + path,
            method=method,
            headers=self.headers,
            body=json.dumps(body) if body is not None else None,
            allow_nonstandard_methods=True,
            request_timeout=60,
        )
        text = response.body.decode("utf-8", "replace")
        return json.loads(text) if "json" in response.headers.get("Content-Type", "") and text else [response.code, response.headers.get("Content-Type")]

    async def connect(self, kernel: str) -> None:
        self.session = uuid.uuid4().hex
        url = "%s/api/kernels/%s/channels?session_id=%s" % (self.base.replace("http", "ws"), kernel, self.session)
        self.socket = await tornado.websocket.websocket_connect(tornado.httpclient.HTTPRequest(url, headers=self.headers))

    async def send(self, channel: str, kind: str, content: object) -> str:
        id = uuid.uuid4().hex
        header = {"msg_id": id, "msg_type": kind, "session": self.session, "username": "page", "version": "5.4", "date": "2026-01-01T00:00:00Z"}
        await self.socket.write_message(
            json.dumps({"channel": channel, "header": header, "parent_header": {}, "metadata": {}, "content": content, "buffers": []})
        )
        return id

    async def run(self, code: str, answer: str = "", on_busy=None) -> dict:
        id = await self.send(
            "shell",
            "execute_request",
            {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": True, "stop_on_error": True},
        )
        told = {"types": [], "text": "", "reply": None, "data": None}
        while True:
            message = json.loads(await asyncio.wait_for(self.socket.read_message(), 90))
            if message["parent_header"].get("msg_id") != id:
                continue
            kind, content = message["header"]["msg_type"], message["content"]
            told["types"].append(kind)
            if kind == "stream":
                told["text"] += content["text"]
            elif kind == "execute_result":
                told["data"] = content["data"]
            elif kind == "execute_reply":
                told["reply"] = content
            elif kind == "input_request":
                await self.send("stdin", "input_reply", {"value": answer, "status": "ok"})
            elif kind == "execute_input" and on_busy is not None:
                await on_busy()
            if kind == "status" and content["execution_state"] == "idle":
                return told


async def drive(page: Notebook) -> dict:
    told = {}
    told["specs"] = await page.call("GET", "/api/kernelspecs")
    logo = told["specs"]["kernelspecs"]["spark"]["resources"]["logo-svg"]
    told["logo"] = await page.call("GET", logo)
    session = await page.call(
        "POST", "/api/sessions", {"path": "a.ipynb", "name": "a.ipynb", "type": "notebook", "kernel": {"name": "spark"}}
    )
    kernel = session["kernel"]["id"]
    await page.connect(kernel)
    told["first"] = await page.run("1 + 1")
    told["memory"] = await page.run("sc.getConf().get('spark.driver.memory')")
    told["input"] = await page.run("input('?')", "typed")
    told["lines"] = len((await page.run("for i in range(100_000): print(i)"))["text"].split())
    told["widget"] = await page.run("import ipywidgets; ipywidgets.Image(value=b'0123')")
    told["after"] = await page.run("'still here'")

    async def interrupt() -> None:
        await page.call("POST", "/api/kernels/%s/interrupt" % kernel, {})

    told["interrupted"] = await page.run("while True: pass", on_busy=interrupt)
    told["restarted"] = await page.call("POST", "/api/kernels/%s/restart" % kernel, {})
    page.socket.close()
    await page.connect(kernel)
    told["fresh"] = await page.run("'ipywidgets' in globals()")
    told["unforced"] = await page.run('%%configure\n{"conf": {"spark.marked": "1"}}')
    told["configured"] = await page.run('%%configure -f\n{"conf": {"spark.marked": "1"}}')
    told["marked"] = await page.run("sc.getConf().get('spark.marked'), sc.getConf().get('spark.driver.memory'), spark.range(3).count()")
    told["directory"] = await page.run("import os; os.getcwd()")
    told["listed"] = [each["id"] == kernel for each in await page.call("GET", "/api/kernels")]
    told["deleted"] = await page.call("DELETE", "/api/sessions/" + session["id"])
    session = await page.call(
        "POST", "/api/sessions", {"path": "b.ipynb", "name": "b.ipynb", "type": "notebook", "kernel": {"name": "spark"}}
    )
    page.socket.close()
    await page.connect(session["kernel"]["id"])
    told["configured first"] = await page.run('%%configure\n{"driverMemory": "800m"}')
    told["first memory"] = await page.run("sc.getConf().get('spark.driver.memory')")
    await page.call("DELETE", "/api/sessions/" + session["id"])
    return told


with tempfile.TemporaryDirectory() as scratch:
    with notebook_server(scratch, os.environ["GATEWAY"], TOKEN, {"KERNEL_DRIVER_MEMORY": "700m"}) as server:
        told = asyncio.run(drive(Notebook(server.url)))
    told["log"] = server.troubles()
    told["root"] = os.path.realpath(scratch)
print(json.dumps(told))
