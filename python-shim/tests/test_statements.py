from __future__ import annotations

from pathlib import Path
from typing import Any, List

from kit import files_end_at

from spark_shim.statements import CODE_LIMIT, Statements


def statements(path: Path) -> Statements:
    said: List[str] = []
    return Statements(str(path / "statements.jsonl"), said.append)


def queued(seq: int, id: int, **more: Any) -> dict:  # type: ignore[type-arg]
    base = {"seq": seq, "atMs": seq, "type": "queued", "statement": id, "key": "k%d" % id, "code": "1", "kind": "sql", "origin": None}
    return {**base, "silent": id < 0, **more}


def test_the_life_of_a_statement_is_folded_from_its_records(tmp_path: Path) -> None:
    table = statements(tmp_path)
    table.fold(queued(1, 0, origin={"client": "a"}, code="é" * 10_000), 10)
    statement = table.get(0)
    assert statement is not None
    statement.cell = {"message": {"buffers": ["x" * 10_000]}}
    assert (statement.state, statement.client, statement.final) == ("waiting", "a", False)
    table.fold({"seq": 2, "atMs": 22, "type": "started", "statement": 0}, 10)
    assert (statement.state, statement.started_ms) == ("running", 22)
    table.fold({"seq": 3, "atMs": 23, "type": "cancelling", "statement": 0, "rung": "jobs"}, 10)
    assert statement.state == "cancelling"
    table.fold({"seq": 4, "atMs": 24, "type": "error", "statement": 0, "ename": "E", "evalue": "v", "traceback": []}, 10)
    table.fold({"seq": 5, "atMs": 25, "type": "finished", "statement": 0, "outcome": "cancelled", "rung": "jobs"}, 10)
    assert statement.cell == {}, "a widget's data may be large"
    told = table.summaries(6)[0]
    assert told["code"] == "é" * CODE_LIMIT and told["codeCut"] is True
    assert (told["state"], told["outcome"], told["ename"], told["firstSeq"], told["lastSeq"]) == ("cancelled", "cancelled", "E", 1, 5)


def test_ids_and_keys_outlive_the_records_that_are_let_go(tmp_path: Path) -> None:
    table = statements(tmp_path)
    for id in range(5):
        table.fold(queued(2 * id + 1, id), 10)
        table.fold({"seq": 2 * id + 2, "atMs": 1, "type": "finished", "statement": id, "outcome": "ok", "rung": None}, 10)
    table.fold(queued(11, -1), 10)
    table.forget(1, 6)
    table.forget(7, 11)
    again = statements(tmp_path)
    again.load_summaries()
    assert [again.id_of("k%d" % id) for id in range(6)] == [0, 1, 2, 3, 4, None]
    assert (again.take_id(False), again.take_id(True)) == (5, -2)
    assert [told["statement"] for told in again.summaries(100)] == [-1, 0, 1, 2, 3, 4]
    assert [statement.id for statement in again.unfinished()] == [-1]


def test_summaries_on_a_disk_that_takes_no_more_leave_no_half_line_behind(tmp_path: Path) -> None:
    table = statements(tmp_path)
    for id in range(3):
        table.fold(queued(2 * id + 1, id, code="x" * 1000), 10)
        table.fold({"seq": 2 * id + 2, "atMs": 1, "type": "finished", "statement": id, "outcome": "ok", "rung": None}, 10)
    table.forget(1, 2)
    with files_end_at((tmp_path / "statements.jsonl").stat().st_size + 500):
        table.forget(3, 4)
    table.forget(5, 6)
    again = statements(tmp_path)
    again.load_summaries()
    assert [again.id_of("k%d" % id) for id in range(3)] == [0, None, 2]


def test_records_of_unknown_statements_and_torn_summaries_change_nothing(tmp_path: Path) -> None:
    (tmp_path / "statements.jsonl").write_bytes(b'{"statement": 3, "key"\nnot json\n[]\n{}\n')
    table = statements(tmp_path)
    table.load_summaries()
    table.fold({"seq": 1, "atMs": 1, "type": "stream", "statement": 9}, 10)
    table.fold({"seq": 2, "atMs": 1, "type": "interpreter", "phase": "ready"}, 10)
    assert table.next_id == 0 and table.summaries(100) == []
