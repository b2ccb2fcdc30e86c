from __future__ import annotations

import json
from pathlib import Path

import pytest

from spark_shim.termination import MESSAGE_LIMIT_BYTES, Ending, write_termination_message


@pytest.mark.parametrize("text", ["x", "é", "\U0001f525", "\ud800", '"', "\0"])
def test_the_message_fits_whatever_the_reason_is_written_in(tmp_path: Path, text: str) -> None:
    path = tmp_path / "message"
    write_termination_message(str(path), Ending("dead", "because: " + text * 5000, exit_code=3), [text * 5000] * 100)
    told = json.loads(path.read_bytes())
    assert path.stat().st_size <= MESSAGE_LIMIT_BYTES
    assert (told["state"], told["exitCode"]) == ("dead", 3)
    assert told["reason"].startswith("because: " + text * 100)
