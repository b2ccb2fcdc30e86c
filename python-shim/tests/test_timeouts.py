"""When a driver ends by itself, by a clock that the test moves."""

from __future__ import annotations

from typing import Any, Dict, List

import pytest
from kit import Clock

from spark_shim.timeouts import Timeouts

HOUR = 3600.0
LEASE_MS = 7_200_000


class Config:
    created_ms = 0
    ttl_ms = idle_timeout_ms = heartbeat_timeout_ms = orphan_timeout_ms = 0

    def __init__(self, **limits: int) -> None:
        self.__dict__.update(limits)


class Driver:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, **limits: int) -> None:
        self.clock = Clock(monkeypatch)
        self.busy = False
        self.ends: List[str] = []
        parts: Dict[str, Any] = {"loop": self.clock, "config": Config(**limits), "busy": lambda: self.busy, "expire": self.ends.append}
        self.timeouts = Timeouts(**parts)


def test_a_kernel_that_was_killed_is_ended_when_its_lease_is_over_and_not_before(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(monkeypatch, heartbeat_timeout_ms=LEASE_MS)
    driver.timeouts.links(1)
    driver.timeouts.ready()
    for _ in range(3 * 360):
        driver.clock.move(10)
        driver.timeouts.touched()
    # From here on nobody touches it: a laptop sleeps for an hour, comes back, and then its kernel is killed.
    driver.clock.move(HOUR)
    driver.timeouts.touched()
    driver.busy = True
    driver.clock.move(2 * HOUR - 1)
    assert driver.ends == []
    driver.clock.move(2)
    assert driver.ends == ["The session ended because there was no heartbeat for 120 min."]


def test_a_driver_whose_server_was_inside_the_killed_kernel_is_an_orphan(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(monkeypatch, orphan_timeout_ms=60_000)
    driver.timeouts.links(1)
    driver.timeouts.ready()
    driver.clock.move(24 * HOUR)
    assert driver.ends == []
    driver.timeouts.links(0)
    driver.clock.move(59)
    assert driver.ends == []
    driver.clock.move(2)
    assert driver.ends == ["The session ended because no server was attached for 60 s."]
