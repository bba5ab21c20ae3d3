"""Starting and stopping the model host of one instance, from outside."""

from __future__ import annotations

import os
import shutil
from typing import Any

from azpg_runtime.errors import HostError
from azpg_runtime.home import InstanceHome
from azpg_runtime.host.client import HostClient, host_status
from azpg_runtime.supervision.control import Supervised

_LOG_LIMIT = 16 * 1024 * 1024
_START_TIMEOUT = 30.0


class HostControl:
    """The supervisor of one instance and, through it, the host.

    Args:
        home: the instance's folders.
        server_uid: the user id that PostgreSQL runs as.
        memory_limit: bytes that loaded models may take, for a host that is launched; None for the host's own
            choice.
    """

    def __init__(self, home: InstanceHome, *, server_uid: int, memory_limit: int | None = None) -> None:
        self._home = home
        self._server_uid = server_uid
        self._memory_limit = memory_limit
        self._supervised = Supervised("model host", lock=home.host / "supervisor.lock", log=home.host_log)

    def running(self) -> bool:
        """Whether a supervisor runs."""
        return self._supervised.running()

    def status(self) -> dict[str, Any] | None:
        """What the host says about itself, or None when it does not answer."""
        return host_status(self._home.host_socket) if self.running() else None

    def launch(self) -> None:
        """Starts the supervisor unless it runs. Raises `InstanceError`."""
        if self.running():
            return
        home = self._home
        home.host.mkdir(mode=0o700, exist_ok=True)
        rotate(home.host_log)
        host = [
            *("--store", str(home.home.models), "--folder", str(home.host)),
            *("--models-folder", str(home.models)),
        ]
        for uid in sorted({os.geteuid(), self._server_uid}):
            host += ["--uid", str(uid)]
        if self._memory_limit is not None:
            host += ["--memory-limit", str(self._memory_limit)]
        self._supervised.launch(
            *("--socket", str(home.host_socket), "--owner", str(self._server_uid)),
            module="azpg_runtime.host",
            arguments=host,
        )

    def wait_until_ready(self) -> None:
        """Returns after the host's first answer. Raises `HostError`."""
        try:
            with HostClient(self._home.host_socket, timeout=_START_TIMEOUT) as client:
                client.status()
        except HostError:
            self.stop()  # what is left of it must not be taken for a running host by the next command
            said = [line for line in self._supervised.said() if "host: " in line]
            raise HostError(
                "the model host does not start.",
                detail=said[-1].removeprefix("host: ") if said else "",
                hint=f"See `azpg logs --host {self._home.name}`.",
            ) from None

    def stop(self) -> None:
        """Ends the supervisor and the host, and returns when both are gone. Raises `InstanceError`."""
        self._supervised.stop()
        self._home.host_socket.unlink(missing_ok=True)


def rotate(log: os.PathLike[str]) -> None:
    """Moves a large log aside, so that two of them bound what an instance may fill."""
    path = os.fspath(log)
    if os.path.exists(path) and os.path.getsize(path) > _LOG_LIMIT:  # noqa: PTH110, PTH202 - any path-like
        shutil.move(path, f"{path}.1")
