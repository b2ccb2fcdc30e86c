from __future__ import annotations

from pathlib import Path
from typing import List, Tuple

import pytest
from kit import files_end_at

from spark_shim import record_log
from spark_shim.record_log import Record, RecordLog, parse_record
from spark_shim.statements import Statements


class Log(RecordLog):
    def __init__(self, path: Path, limit: int = 10 << 20, memory: int = 1 << 20) -> None:
        self.said: List[str] = []
        self.dropped: List[Tuple[int, int]] = []
        self.folded: List[Record] = []
        super().__init__(str(path), limit, memory, self.said.append, lambda first, last: self.dropped.append((first, last)))
        self.load(lambda record, size: self.folded.append(record))

    def write(self, count: int, size: int = 100) -> None:
        for _ in range(count):
            self.append("stream", {"statement": 0, "name": "stdout", "via": "python", "text": "x" * size})

    def numbers_after(self, seq: int) -> List[int]:
        found: List[int] = []
        while True:
            pairs = self.after(found[-1] if found else seq, 4096)
            if not pairs:
                return found
            for number, line in pairs:
                record = parse_record(line)
                assert record is not None and record["seq"] == number
                found.append(number)


def test_a_reader_gets_every_record_once_whether_from_memory_or_from_disk(tmp_path: Path) -> None:
    log = Log(tmp_path, memory=20_000)
    log.write(50)
    assert log.numbers_after(0) == list(range(1, 51)), "not flushed yet"
    log.write(950)
    log.flush()
    for after in (0, 1, 500, 998, 1000):
        assert log.numbers_after(after) == list(range(after + 1, 1001))
    log.write(5)
    assert log.numbers_after(990) == list(range(991, 1006)), "some on disk, some in memory, some not flushed"


def test_a_record_that_tells_nothing_is_taken_out_like_a_damaged_line(tmp_path: Path) -> None:
    first = Log(tmp_path)
    first.write(2)
    first.append("queued", {"statement": 0})
    first.close()
    statements = Statements(str(tmp_path / "statements.jsonl"), first.said.append)
    second = RecordLog(str(tmp_path), 10 << 20, 1 << 20, first.said.append, statements.forget)
    second.load(statements.fold)
    assert (second.last_seq, statements.next_id) == (2, 0)


def test_the_next_epoch_goes_on_with_the_numbers(tmp_path: Path) -> None:
    first = Log(tmp_path)
    first.write(10)
    first.close()
    second = Log(tmp_path)
    assert second.epoch != first.epoch
    assert [record["seq"] for record in second.folded] == list(range(1, 11))
    second.write(1)
    assert second.numbers_after(0) == list(range(1, 12))


def test_records_of_the_moment_are_sent_but_not_written(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.append("progress", {"statement": 0, "fraction": 0.5, "jobs": []})
    log.write(1)
    log.append("log", {"line": 0, "lines": ["hello"]})
    assert log.numbers_after(0) == [1, 2, 3]
    log.close()
    again = Log(tmp_path)
    assert [record["type"] for record in again.folded] == ["stream"]
    again.write(1)
    assert again.numbers_after(0) == [2, 3]


def test_what_the_bound_lets_go_is_below_first_seq(tmp_path: Path) -> None:
    log = Log(tmp_path, limit=1 << 20, memory=10_000)
    log.write(20_000)
    log.flush()
    assert log.first_seq > 1
    assert log.dropped[-1][1] + 1 == log.first_seq
    assert log.numbers_after(log.first_seq - 1)[0] == log.first_seq


def test_one_record_larger_than_the_memory_is_read_from_disk(tmp_path: Path) -> None:
    log = Log(tmp_path, memory=10_000)
    log.write(1, size=3_000_000)
    log.write(1)
    log.flush()
    assert log.numbers_after(0) == [1, 2]


def test_a_full_disk_is_said_once_and_the_log_goes_on_in_memory(tmp_path: Path) -> None:
    log = Log(tmp_path)
    with files_end_at(1000):
        for _ in range(20):
            log.write(5)
            log.flush()
    assert len(log.said) == 1 and "going on from memory" in log.said[0]
    assert log.numbers_after(0) == list(range(1, 101))


def test_memory_stays_bounded_while_the_disk_is_full_and_first_seq_tells(tmp_path: Path) -> None:
    log = Log(tmp_path, memory=20_000)
    with files_end_at(1000):
        for _ in range(100):
            log.write(10)
            log.flush()
    assert sum(map(len, log._lines)) <= 20_000
    assert 800 < log.first_seq <= 1000
    assert log.numbers_after(log.first_seq - 1) == list(range(log.first_seq, 1001))


def test_when_the_disk_has_room_again_memory_is_written_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_log, "_RETRY_SECONDS", 0.0)
    log = Log(tmp_path)
    log.write(3)
    log.flush()
    with files_end_at(10):
        log.write(3)
        log.append("progress", {"statement": 0})
        log.flush()
        log.write(3)
        log.flush()
    log.flush()
    assert log.said[-1] == "The journal can be written again."
    log.close()
    assert [record["seq"] for record in Log(tmp_path).folded] == [1, 2, 3, 4, 5, 6, 8, 9, 10]
