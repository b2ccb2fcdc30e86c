"""Statements on their way through the queue, and what is asked for while they run."""

from __future__ import annotations

from kit import Client, Driver, held, let_go


def types(client: Client, id: int) -> list[str]:
    return [record["type"] for record in client.of(id)]


def test_a_statement_is_queued_started_and_finished_with_its_output_between(client: Client) -> None:
    id, outcome = client.run("print('hello'); import sys; print('oops', file=sys.stderr)")
    assert (id, outcome) == (0, "ok")
    assert types(client, id)[:2] == ["queued", "started"] and types(client, id)[-1] == "finished"
    assert client.text(id) == "hello\n" and client.text(id, name="stderr") == "oops\n"


def test_the_same_key_answers_the_same_statement_and_runs_once(client: Client) -> None:
    ids = {client.submit("print('once')", key="same") for _ in range(3)}
    assert len(ids) == 1
    id = ids.pop()
    client.finished(id)
    assert client.submit("something else", key="same") == id
    client.run("pass")
    assert client.text(id) == "once\n"


def test_a_silent_statement_takes_no_number_from_the_others(client: Client) -> None:
    assert [client.run("pass", silent=silent)[0] for silent in (False, True, False, True)] == [0, -1, 1, -2]


def test_an_error_is_an_output_and_the_session_goes_on(client: Client) -> None:
    id, outcome = client.run("1/0")
    assert outcome == "error" and client.error(id)["ename"] == "ZeroDivisionError"
    assert client.run("pass")[1] == "ok"


def test_stop_on_error_drops_what_the_same_client_queued_behind_and_nothing_else(client: Client) -> None:
    mine, yours = {"client": "me"}, {"client": "you"}
    gate = client.driver.path("gate")
    failing = client.submit(held(gate) + "1/0", origin=mine, stopOnError=True)
    behind = client.submit("print('never')", origin=mine)
    other = client.submit("print('other')", origin=yours)
    nobodys = client.submit("print('nobody')")
    let_go(gate)
    assert client.finished(failing)["outcome"] == "error"
    end = client.finished(behind)
    assert (end["outcome"], end["rung"]) == ("cancelled", "queue")
    assert "before this one failed" in client.error(behind)["evalue"] and "started" not in types(client, behind)
    assert client.finished(other)["outcome"] == client.finished(nobodys)["outcome"] == "ok"


def test_the_queue_is_bounded_by_count_and_by_bytes() -> None:
    with Driver(queueLimit=3, queueLimitBytes=10_000) as driver:
        driver.start()
        client = driver.connect()
        client.ready()
        gate = driver.path("gate")
        client.submit(held(gate))
        whole = {"kind": "pyspark", "origin": None, "stopOnError": False, "silent": False, "stdin": False}
        big = client.answer(client.request("submit", key="big", code="#" * 10_001, **whole))
        assert big["code"] == "full" and "bytes" in big["message"]
        ids = [client.submit("pass") for _ in range(3)]
        refused = client.answer(client.request("submit", key="late", code="pass", **whole))
        assert refused["code"] == "full"
        let_go(gate)
        client.finished(ids[-1])
        assert client.submit("pass", key="late") == ids[-1] + 1


def test_ten_thousand_queued_statements_all_run(client: Client) -> None:
    numbers = [
        client.request("submit", key=str(n), code="n = %d" % n, kind="pyspark", origin=None, stopOnError=False, silent=False, stdin=False)
        for n in range(10_000)
    ]
    assert client.answer(numbers[-1])["result"]["statement"] == 9_999
    client.until(lambda record: record["type"] == "finished" and record["statement"] == 9_999)
    assert client.run("print(n)")[1] == "ok" and client.text(10_000) == "9999\n"


def test_input_is_asked_for_and_answered(client: Client) -> None:
    id = client.submit("print('got', input('name? '))", stdin=True)
    wanted = client.until(lambda record: record["type"] == "input")
    assert (wanted["statement"], wanted["prompt"], wanted["password"]) == (id, "name? ", False)
    assert client.ask("answer", statement=id + 1, value="x") == {"taken": False}
    assert client.ask("answer", statement=id, value="Ann") == {"taken": True}
    assert client.ask("answer", statement=id, value="twice") == {"taken": False}
    client.finished(id)
    assert client.text(id) == "got Ann\n"
    assert [record["statement"] for record in client.records if record["type"] == "answered"] == [id]


def test_an_answer_to_a_question_before_is_not_taken(client: Client) -> None:
    id = client.submit("print(input('one? ') + input('two? '))", stdin=True)
    first = client.until(lambda record: record["type"] == "input")["seq"]
    assert client.ask("answer", statement=id, question=first, value="a") == {"taken": True}
    second = client.until(lambda record: record["type"] == "input" and record["prompt"] == "two? ")["seq"]
    assert client.ask("answer", statement=id, question=first, value="late") == {"taken": False}
    assert client.ask("answer", statement=id, question=second, value="b") == {"taken": True}
    client.finished(id)
    assert client.text(id) == "ab\n"


def test_completion_and_inspection_answer_while_a_statement_runs(client: Client) -> None:
    id = client.submit("import time\nwhile True: time.sleep(0.01)")
    client.until(lambda record: record["type"] == "started")
    assert client.ask("complete", code="sp", kind="pyspark", cursor=2)["matches"] == ["spx"]
    assert client.ask("inspect", code="sp", kind="pyspark", cursor=2, detail=0)["found"] is False
    client.ask("interrupt")
    client.finished(id)
