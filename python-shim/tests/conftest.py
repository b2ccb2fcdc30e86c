"""What a feature needs decides where its test exists: the same file runs with IPython and without, on the oldest Python and the newest."""

from __future__ import annotations

import importlib.util
from typing import Any, Iterator, List

import pytest
from interpreter_kit import HAS_IPYTHON, InterpreterProcess
from kit import Client, Driver


@pytest.fixture(scope="module", params=["ipython", "plain"] if HAS_IPYTHON else ["plain"])
def interpreter(request: Any) -> Iterator[InterpreterProcess]:
    """With an embedded IPython and without: the one that a file's tests share, unless the file has its own fixture of this name."""
    with InterpreterProcess(ipython=request.param == "ipython") as process:
        assert (process.ready["facts"]["ipython"] is not None) == (request.param == "ipython")
        yield process


@pytest.fixture(scope="module")
def driver() -> Iterator[Driver]:
    """The one that a file's tests share, unless the file has its own fixture of this name."""
    with Driver() as driver:
        driver.start()
        driver.connect().ready()
        yield driver


@pytest.fixture
def fresh() -> Iterator[Driver]:
    """A driver of the test's own."""
    with Driver() as driver:
        driver.start()
        yield driver


@pytest.fixture
def client(fresh: Driver) -> Client:
    """A server's end of a link with a driver of the test's own, whose interpreter is ready."""
    client = fresh.connect()
    client.ready()
    return client


def exists_here(item: pytest.Item) -> bool:
    """Whether all that a test's `needs` markers name can be imported here."""
    return all(importlib.util.find_spec(name) for mark in item.iter_markers("needs") for name in mark.args)


def pytest_collection_modifyitems(config: pytest.Config, items: List[pytest.Item]) -> None:
    """Leaves out, counted as deselected, what this environment does not have."""
    absent = [item for item in items if not exists_here(item)]
    if absent:
        config.hook.pytest_deselected(items=absent)
        items[:] = [item for item in items if exists_here(item)]
