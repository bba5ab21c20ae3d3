"""Starting and stopping a supervised service, from outside."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

from azpg_runtime.errors import InstanceError
from azpg_runtime.files import open_log
from azpg_runtime.wait import wait_for

_START_TIMEOUT, _STOP_TIMEOUT = 30.0, 20.0


class Supervised:
    """One service and its supervisor.

    Args:
        name: what messages call it, such as "model host".
        lock: the file that the supervisor keeps locked, with its process id in it.
        log: where both write.
    """

    def __init__(self, name: str, *, lock: Path, log: Path) -> None:
        self._name = name
        self._lock = lock
        self._log = log

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

    def launch(self, *listen: str, module: str, arguments: list[str]) -> None:
        """Starts a supervisor, which does not run, and through it the service.

        Args:
            listen: the supervisor's options that say where it listens.
            module: the service is ``python -m module``.
            arguments: the service's own.

        Raises:
            InstanceError: the supervisor could not listen there.
        """
        python = [sys.executable, "-P", "-m"]
        with open_log(self._log) as log:
            position = log.tell()
            try:
                done = subprocess.run(
                    [
                        *(*python, "azpg_runtime.supervision.supervisor", "--name", self._name),
                        *(*listen, "--lock", str(self._lock), "--", *python, module, *arguments),
                    ],
                    check=False,
                    cwd="/",
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    timeout=_START_TIMEOUT,
                    umask=0o022,
                )
            except subprocess.TimeoutExpired:
                raise InstanceError(
                    f"the {self._name}'s supervisor did not start within {_START_TIMEOUT:g} s.",
                    hint=f"The machine may be overloaded: try again, or see {self._log}.",
                ) from None
        if done.returncode:
            said = self.said(position)
            raise InstanceError(
                f"the {self._name}'s supervisor ended with status {done.returncode}.",
                detail=f"It said: {said[-1]}." if said else "",
                hint=f"See {self._log}.",
            )

    def said(self, position: int = 0) -> list[str]:
        """The lines of the log from a position on."""
        with self._log.open("rb") as log:
            log.seek(position)
            return log.read().decode(errors="replace").splitlines()

    def stop(self) -> None:
        """Ends the supervisor and the service, and returns when both are gone. Raises `InstanceError`."""
        if not self.running():
            return
        # A supervisor that has just been started takes a moment to say who it is.
        wait_for(lambda: bool(self._lock.read_text()) or not self.running(), timeout=_STOP_TIMEOUT)
        pid = int(self._lock.read_text() or 0)
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
                os.kill(pid, signal.SIGCONT)  # one that was stopped would not listen
        if not wait_for(lambda: not self.running(), timeout=_STOP_TIMEOUT):
            raise InstanceError(f"the {self._name}'s supervisor, process {pid}, does not end.")
