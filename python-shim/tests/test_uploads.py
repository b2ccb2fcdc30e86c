"""Files that servers send in pieces."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest

from spark_shim.requests import RequestFailed, problem_of
from spark_shim.uploads import Uploads


def piece(text: bytes) -> str:
    return base64.b64encode(text).decode()


def test_pieces_become_the_file_whoever_repeats_one(tmp_path: Path) -> None:
    uploads = Uploads(str(tmp_path))
    assert uploads.take("u", "a.bin", 0, piece(b"abc"), False) is None
    assert uploads.take("u", "a.bin", 3, piece(b"\x00\xff"), False) is None
    assert uploads.take("u", "a.bin", 3, piece(b"\x00\xff"), False) is None
    path = uploads.take("u", "a.bin", 5, "", True)
    assert path is not None and Path(path).read_bytes() == b"abc\x00\xff"
    assert os.stat(path).st_mode & 0o077 == 0


def test_two_uploads_of_one_name_never_meet(tmp_path: Path) -> None:
    uploads = Uploads(str(tmp_path))
    first = uploads.take("u1", "x", 0, piece(b"1"), True)
    second = uploads.take("u2", "x", 0, piece(b"2"), True)
    assert [Path(str(path)).read_bytes() for path in (first, second)] == [b"1", b"2"]


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/b", ".", "..", "a\0b"])
def test_a_name_that_is_a_path_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(RequestFailed, match="no path"):
        Uploads(str(tmp_path)).take("u", name, 0, "", True)


def test_a_gap_and_what_is_no_base64_are_refused(tmp_path: Path) -> None:
    uploads = Uploads(str(tmp_path))
    for offset, data in ((1, piece(b"a")), (0, "***"), (0, "\u00e9")):
        with pytest.raises(RequestFailed) as failed:
            uploads.take("u", "x", offset, data, False)
        assert failed.value.code == "invalid"


def test_a_link_instead_of_the_file_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("mine")
    (tmp_path / "u").mkdir()
    (tmp_path / "u" / "x").symlink_to(target)
    with pytest.raises(RequestFailed) as failed:
        Uploads(str(tmp_path)).take("u", "x", 0, piece(b"theirs"), True)
    assert failed.value.code == "full" and target.read_text() == "mine"


@pytest.mark.parametrize("field, value", [("upload", "../u"), ("upload", ""), ("name", ""), ("offset", -1), ("data", 5), ("last", 1)])
def test_malformed_requests_are_told_apart(field: str, value: object) -> None:
    good = {"frame": "upload", "request": 1, "upload": "u-1", "name": "x", "offset": 0, "data": "", "last": True}
    assert problem_of(good) is None
    assert problem_of({**good, field: value}) == "upload: %s is not valid" % field
