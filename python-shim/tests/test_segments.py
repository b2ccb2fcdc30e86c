from __future__ import annotations

import os
from pathlib import Path
from typing import List, Tuple

import pytest
from kit import files_end_at

from spark_shim.segments import Segments


def opened(path: Path, limit: int = 10 << 20) -> Tuple[Segments, List[Tuple[int, bytes]]]:
    segments = Segments(str(path), limit)
    return segments, list(segments.load(lambda line: not line.startswith(b"bad")))


def filled(path: Path, numbers: range, limit: int = 10 << 20, size: int = 10) -> Segments:
    segments, _ = opened(path, limit)
    for number in numbers:
        segments.append(number, b"%d:" % number + b"x" * size)
    segments.flush()
    return segments


def test_lines_are_found_by_number_and_after_a_restart(tmp_path: Path) -> None:
    segments = filled(tmp_path, range(1, 5001, 2), size=100)
    assert [number for number, _ in segments.read(100, 1 << 30)] == list(range(101, 5001, 2))
    assert segments.read(4000, 1)[0] == (4001, b"4001:" + b"x" * 100)
    assert segments.read(4999, 1 << 20) == []
    segments.close()
    again, lines = opened(tmp_path)
    assert [number for number, _ in lines] == list(range(1, 5001, 2))
    assert (again.first, again.last) == (1, 4999)
    again.append(5001, b"more")
    again.flush()
    assert again.read(4997, 1 << 20)[-1] == (5001, b"more")


@pytest.mark.parametrize("tail", [b"11 half a li", b"11", b"\x00\x00\x00", b"garbage\n", b"9 a number from the past\n", b"11 bad\n"])
def test_a_torn_tail_is_cut_off_and_writing_goes_on(tmp_path: Path, tail: bytes) -> None:
    filled(tmp_path, range(1, 11)).close()
    file = next(tmp_path.glob("*.seg"))
    whole = file.read_bytes()
    file.write_bytes(whole + tail)
    segments, lines = opened(tmp_path)
    assert [number for number, _ in lines] == list(range(1, 11))
    segments.append(11, b"new")
    segments.flush()
    assert file.read_bytes() == whole + b"11 new\n"


def test_a_torn_tail_is_cut_off_on_a_disk_that_takes_no_more(tmp_path: Path) -> None:
    filled(tmp_path, range(1, 11)).close()
    file = next(tmp_path.glob("*.seg"))
    whole = file.read_bytes()
    file.write_bytes(whole + b"11 half a li")
    with files_end_at(0):
        _, lines = opened(tmp_path)
    assert [number for number, _ in lines] == list(range(1, 11))
    assert file.read_bytes() == whole


def test_damage_in_the_middle_costs_only_the_damaged_lines(tmp_path: Path) -> None:
    filled(tmp_path, range(1, 101)).close()
    file = next(tmp_path.glob("*.seg"))
    data = bytearray(file.read_bytes())
    at = data.index(b"50 50:")
    data[at : at + 3] = b"\x00\xff\x00"
    file.write_bytes(bytes(data))
    segments, lines = opened(tmp_path)
    expected = [number for number in range(1, 101) if number != 50]
    assert [number for number, _ in lines] == expected
    assert [number for number, _ in segments.read(0, 1 << 20)] == expected


def test_the_oldest_files_go_at_the_bound_and_their_numbers_are_told_first(tmp_path: Path) -> None:
    dropped: List[Tuple[int, int]] = []
    limit = 1 << 20
    segments = Segments(str(tmp_path), limit, lambda first, last: dropped.append((first, last)))
    list(segments.load(lambda line: True))
    for number in range(1, 4001):
        segments.append(number, b"x" * 1000)
        if number % 7 == 0:
            segments.flush()
            assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= limit * 1.01
    segments.flush()
    assert dropped[0][0] == 1
    assert [last + 1 for _, last in dropped] == [first for first, _ in dropped[1:]] + [segments.first]
    assert segments.read(0, 1)[0][0] == segments.first


def test_a_disk_that_takes_no_more_leaves_no_half_line(tmp_path: Path) -> None:
    segments = filled(tmp_path, range(1, 11))
    size = next(tmp_path.glob("*.seg")).stat().st_size
    with files_end_at(size + 500):
        segments.append(11, b"y" * 1000)
        with pytest.raises(OSError):
            segments.flush()
    assert next(tmp_path.glob("*.seg")).stat().st_size == size
    assert segments.last == 10
    segments.append(12, b"z")
    segments.flush()
    assert [number for number, _ in segments.read(9, 1 << 20)] == [10, 12]


def test_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    filled(tmp_path / "journal", range(1, 3))
    assert os.stat(tmp_path / "journal").st_mode & 0o077 == 0
    assert next((tmp_path / "journal").iterdir()).stat().st_mode & 0o077 == 0
