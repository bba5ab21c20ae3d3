"""Starting and stopping the model host of one instance, from outside."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
from typing import Any

from azpg_runtime.errors import HostError
from azpg_runtime.files import open_log
from azpg_runtime.home import InstanceHome
from azpg_runtime.host.client import HostClient, host_status
from azpg_runtime.wait import wait_for

_LOG_LIMIT = 16 * 1024 * 1024
_START_TIMEOUT, _STOP_TIMEOUT = 30.0, 20.0


class HostControl:
    """The supervisor of one instance and, through it, the host.

    Args:
        home: the instance's folders.
        server_uid: the user id that PostgreSQL runs as.
    """

    def __init__(self, home: InstanceHome, *, server_uid: int) -> None:
        self._home = home
        self._server_uid = server_uid
        self._lock = home.host / "supervisor.lock"

    def running(self) -> bool:
        """Whether a supervisor runs; a killed one releases its lock whatever happens."""
        try:
            descriptor = os.open(self._lock, os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def status(self) -> dict[str, Any] | None:
        """What the host says about itself, or None when it does not answer."""
        return host_status(self._home.host_socket) if self.running() else None

    def launch(self) -> None:
        """Starts the supervisor unless it runs. Raises `HostError`."""
        if self.running():
            return
        home = self._home
        home.host.mkdir(mode=0o700, exist_ok=True)
        rotate(home.host_log)
        host = [
            *(sys.executable, "-P", "-m", "azpg_runtime.host"),
            *("--store", str(home.home.models), "--folder", str(home.host)),
            *("--models-folder", str(home.models)),
        ]
        for uid in sorted({os.geteuid(), self._server_uid}):
            host += ["--uid", str(uid)]
        supervisor = [
            *(sys.executable, "-P", "-m", "azpg_runtime.host.supervisor"),
            *("--socket", str(home.host_socket), "--owner", str(self._server_uid), "--lock", str(self._lock)),
            "--",
            *host,
        ]
        with open_log(home.host_log) as log:
            try:
                done = subprocess.run(
                    supervisor,
                    check=False,
                    cwd="/",
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    timeout=_START_TIMEOUT,
                    umask=0o022,
                )
            except subprocess.TimeoutExpired:
                raise HostError(
                    f"the model host's supervisor did not start within {_START_TIMEOUT:g} s.",
                    hint=f"The machine may be overloaded: try again, or see {home.host_log}.",
                ) from None
        if done.returncode:
            raise HostError(
                f"the model host's supervisor ended with status {done.returncode}.",
                hint=f"See {home.host_log}.",
            )

    def wait_until_ready(self) -> None:
        """Returns after the host's first answer. Raises `HostError`."""
        try:
            with HostClient(self._home.host_socket, timeout=_START_TIMEOUT) as client:
                client.status()
        except HostError:
            self.stop()  # what is left of it must not be taken for a running host by the next command
            said = [
                line
                for line in self._home.host_log.read_text(errors="replace").splitlines()
                if "host: " in line
            ]
            raise HostError(
                "the model host does not start.",
                detail=said[-1].removeprefix("host: ") if said else "",
                hint=f"See `azpg logs --host {self._home.name}`.",
            ) from None

    def stop(self) -> None:
        """Ends the supervisor and the host, and returns when both are gone. Raises `HostError`."""
        if self.running():
            # A supervisor that has just been started takes a moment to say who it is.
            wait_for(lambda: bool(self._lock.read_text()) or not self.running(), timeout=_STOP_TIMEOUT)
            pid = int(self._lock.read_text() or 0)
            if pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
                    os.kill(pid, signal.SIGCONT)  # one that was stopped would not listen
            if not wait_for(lambda: not self.running(), timeout=_STOP_TIMEOUT):
                raise HostError(f"the model host's supervisor, process {pid}, does not end.")
        self._home.host_socket.unlink(missing_ok=True)


def rotate(log: os.PathLike[str]) -> None:
    """Moves a large log aside, so that two of them bound what an instance may fill."""
    path = os.fspath(log)
    if os.path.exists(path) and os.path.getsize(path) > _LOG_LIMIT:  # noqa: PTH110, PTH202 - any path-like
        shutil.move(path, f"{path}.1")
