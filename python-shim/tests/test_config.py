from __future__ import annotations

import json
from pathlib import Path
from typing import Dict

import pytest

from spark_shim.config import ConfigError, read_config

MASTER = "k8s://https://{KUBERNETES_SERVICE_HOST}:{KUBERNETES_SERVICE_PORT}"


def conf_of(directory: Path, from_env: Dict[str, str]) -> Dict[str, str]:
    path = directory / "driver.json"
    told = {"session": "s", "key": "", "python": "python3", "listen": {"unix": "x"}, "conf": {"spark.a": "{A}"}, "confFromEnv": from_env}
    path.write_text(json.dumps(told))
    return read_config(str(path)).conf


@pytest.mark.parametrize(
    ("host", "master"),
    [("10.0.0.1", "k8s://https://10.0.0.1:443"), ("fd00::1", "k8s://https://[fd00::1]:443"), ("api.lan", "k8s://https://api.lan:443")],
)
def test_addresses_come_from_where_the_driver_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, master: str) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    assert conf_of(tmp_path, {"spark.master": MASTER}) == {"spark.a": "{A}", "spark.master": master}


def test_an_address_that_is_not_known_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ConfigError, match="no KUBERNETES_SERVICE_HOST"):
        conf_of(tmp_path, {"spark.master": MASTER})
