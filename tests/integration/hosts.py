"""A model host without a server."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import psutil
import pytest

from azpg_runtime.home import Home
from azpg_runtime.host import protocol
from azpg_runtime.host.client import HostClient
from azpg_runtime.host.control import HostControl
from azpg_runtime.host.protocol import Kind, RemoteError
from azpg_runtime.wait import wait_for

PATIENCE = 60.0


class Host:
    """A host's process with its supervisor."""

    def __init__(self, home: Home, *, memory_limit: int | None = None) -> None:
        self.home = home.instance("memory")
        self.home.models.mkdir(parents=True, exist_ok=True)
        self.home.create_runtime()
        self._control = HostControl(self.home, server_uid=os.geteuid(), memory_limit=memory_limit)
        self._control.launch()
        self._control.wait_until_ready()
        self.process = psutil.Process(self.status()["pid"])

    def client(self) -> HostClient:
        return HostClient(self.home.host_socket, timeout=PATIENCE)

    def request(self, kind: Kind, body: bytes) -> Any:
        with self.client() as client:
            return client.request(kind, body)

    def status(self) -> dict[str, Any]:
        with self.client() as client:
            return client.status()

    def metadata(self, uri: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.request(Kind.METADATA, protocol.pack_string(uri)))
        return found

    def refused(self, kind: Kind, body: bytes) -> RemoteError:
        with pytest.raises(RemoteError) as caught:
            self.request(kind, body)
        return caught.value

    @property
    def anonymous(self) -> int:
        """Bytes of memory that are no file's."""
        (line,) = re.findall(r"RssAnon:\s+(\d+) kB", self._proc("status"))
        return int(line) * 1024

    def maps(self, name: str) -> bool:
        """Whether a file is mapped whose path has `name` in it."""
        return name in self._proc("maps")

    def _proc(self, name: str) -> str:
        return Path(f"/proc/{self.process.pid}/{name}").read_text()

    @property
    def resident(self) -> int:
        return int(self.process.memory_info().rss)

    def restart(self) -> None:
        """Kills the host, and returns when the next one answers."""
        self.process.kill()
        assert wait_for(lambda: not psutil.pid_exists(self.process.pid), timeout=PATIENCE)
        self.process = psutil.Process(self.status()["pid"])

    def stop(self) -> None:
        self._control.stop()
        shutil.rmtree(self.home.runtime)
