"""Fixtures of the integration tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from azpg_runtime.home import Home
from tests.integration.hosts import Host


@pytest.fixture
def start(home: Home) -> Iterator[Callable[..., Host]]:
    hosts: list[Host] = []

    def start(**options: Any) -> Host:
        hosts.append(Host(home, **options))
        return hosts[-1]

    yield start
    for host in hosts:
        host.stop()
