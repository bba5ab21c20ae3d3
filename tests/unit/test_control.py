"""What starting a host from outside says when it goes wrong."""

from __future__ import annotations

import os

import pytest

from azpg_runtime.errors import HostError
from azpg_runtime.home import Home
from azpg_runtime.host import control
from azpg_runtime.host.control import HostControl


def test_a_supervisor_that_takes_too_long(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "_START_TIMEOUT", 0.0)
    instance = home.instance("slow")
    instance.root.mkdir(parents=True)
    launching = HostControl(instance, server_uid=os.geteuid())
    with pytest.raises(HostError) as caught:
        launching.launch()
    assert caught.value.message == "the model host's supervisor did not start within 0 s."
    assert caught.value.hint == f"The machine may be overloaded: try again, or see {instance.host_log}."
    assert not launching.running()
