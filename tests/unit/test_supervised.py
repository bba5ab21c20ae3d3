"""A supervised service from outside: launched, found running, stopped."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from azpg_runtime.errors import InstanceError
from azpg_runtime.postgres import ports
from azpg_runtime.supervision import control
from azpg_runtime.supervision.control import Supervised
from azpg_runtime.wait import wait_for

MODULE = "http.server"
"""Any module will do; this one does not know our options and ends at once."""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Supervised]:
    service = Supervised("sample", lock=tmp_path / "lock", log=tmp_path / "log")
    yield service
    service.stop()


def launch(service: Supervised) -> int:
    port = ports.choose(())
    service.launch("--port", str(port), module=MODULE, arguments=[])
    return port


def test_it_runs_until_it_is_stopped(service: Supervised) -> None:
    assert not service.running()
    launch(service)
    assert service.running()
    service.stop()
    assert not service.running()
    service.stop()
    launch(service)
    assert service.running()


def test_a_killed_supervisor_does_not_run(service: Supervised, tmp_path: Path) -> None:
    launch(service)
    assert wait_for(lambda: bool((tmp_path / "lock").read_text()), timeout=20)
    pid = int((tmp_path / "lock").read_text())
    assert "azpg_runtime.supervision.supervisor" in psutil.Process(pid).cmdline()
    os.kill(pid, signal.SIGKILL)
    assert wait_for(lambda: not service.running(), timeout=20)


def test_a_port_that_is_taken_is_said(service: Supervised, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(InstanceError) as caught:
        service.launch("--port", str(taken.getsockname()[1]), module=MODULE, arguments=[])
    assert caught.value.message == "the sample's supervisor ended with status 1."
    assert "Address already in use" in caught.value.detail
    assert caught.value.hint == f"See {tmp_path / 'log'}."
    assert not service.running()


def test_a_supervisor_that_takes_too_long(
    service: Supervised, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "_START_TIMEOUT", 0.0)
    with pytest.raises(InstanceError) as caught:
        launch(service)
    assert caught.value.message == "the sample's supervisor did not start within 0 s."
    assert caught.value.hint == f"The machine may be overloaded: try again, or see {tmp_path / 'log'}."
    assert not service.running()


def test_its_log_is_for_its_owner_and_read_from_where_one_likes(service: Supervised, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("one\ntwo\n")
    assert service.said() == ["one", "two"]
    assert service.said(4) == ["two"]
    launch(service)
    assert log.stat().st_mode & 0o777 == 0o600
    assert wait_for(lambda: "supervisor: the sample ended with status 2 after" in log.read_text(), timeout=20)
