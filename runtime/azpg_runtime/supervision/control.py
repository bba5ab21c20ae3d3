"""Starting and stopping a supervised service, from outside."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from azpg_runtime.errors import InstanceError, RuntimeTwinError
from azpg_runtime.files import open_log
from azpg_runtime.supervision.service import started
from azpg_runtime.system import signals
from azpg_runtime.system.locks import UNKNOWN, holder
from azpg_runtime.wait import wait_for

_START_TIMEOUT, _STOP_TIMEOUT = 30.0, 20.0
_READ = 1 << 20
"""Bytes of a log, from its end."""


class Supervised:
    """One service and its supervisor.

    Args:
        name: what messages call it, such as "model host".
        word: how the lines of its log begin in which the service says why it cannot serve, such as "host".
        lock: the file that the supervisor keeps locked.
        log: where both write.
        socket: the Unix socket that the supervisor listens on; None for a port.
    """

    def __init__(self, name: str, *, word: str, lock: Path, log: Path, socket: Path | None = None) -> None:
        self._name = name
        self._word = word
        self._lock = lock
        self._log = log
        self._socket = socket

    def running(self) -> bool:
        """Whether a supervisor runs; a killed one releases its lock whatever happens."""
        return holder(self._lock) is not None

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
                        *(*listen, "--watched", "--lock", str(self._lock), "--", *python, module, *arguments),
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
                with contextlib.suppress(InstanceError):
                    self.stop()  # it may have started in that very moment
                raise InstanceError(
                    f"the {self._name}'s supervisor did not start within {_START_TIMEOUT:g} s.",
                    hint=f"The machine may be overloaded: try again, or see {self._log}.",
                ) from None
        if done.returncode:
            last = _lines(self._log, position)[-1:]
            raise InstanceError(
                f"the {self._name}'s supervisor ended with status {done.returncode}.",
                detail=f"It said: {last[0]}." if last else "",
                hint=f"See {self._log}.",
            )

    def wait_until_ready(
        self,
        answers: Callable[[], bool],
        *,
        failure: type[RuntimeTwinError],
        hint: str = "",
        timeout: float = _START_TIMEOUT,
    ) -> None:
        """Returns when the service answers, or stops what there is of it.

        What does not answer must not be taken for a running service by the next command.

        Args:
            answers: asks the service, and may wait for it a while.
            failure: what is raised if it does not answer, with the reason that it gave since it was started.
            hint: of that error; by default it names the log.
            timeout: seconds.
        """
        if wait_for(lambda: answers() or not self._reachable(), timeout=timeout) and self._reachable():
            return
        self.stop()
        raise failure(
            f"the {self._name} does not start.", detail=self.reason(), hint=hint or f"See {self._log}."
        )

    def reason(self) -> str:
        """Why the service cannot serve, in its words since its supervisor was started; '' if it gave none."""
        lines, begins, word = _lines(self._log), started(self._name), f"{self._word}: "
        if begins not in lines:  # moved aside, or an older azpg's: whose words these are cannot be told
            return ""
        last = len(lines) - lines[::-1].index(begins)
        reasons = [line.removeprefix(word) for line in lines[last:] if line.startswith(word)]
        return reasons[-1] if reasons else ""

    def stop(self) -> None:
        """Ends the supervisor and the service, and returns when both are gone. Raises `InstanceError`."""
        self._end()
        if self._socket is not None:  # a supervisor that was killed has left it
            self._socket.unlink(missing_ok=True)

    def _end(self) -> None:
        # One of an older azpg that has just been started takes a moment to say who it is.
        wait_for(lambda: holder(self._lock) != UNKNOWN, timeout=_STOP_TIMEOUT)
        pid = holder(self._lock)
        if pid is None:
            return
        if pid == UNKNOWN:
            raise InstanceError(
                f"the {self._name} is kept running by a process that cannot be told from here.",
                hint=f"It may be in another container: stop it there. It has the file {self._lock} locked.",
            )
        numbers = (signal.SIGTERM, signal.SIGCONT)  # one that was stopped would not listen
        signals.send(pid, *numbers, when=lambda: holder(self._lock) == pid)
        if not wait_for(lambda: holder(self._lock) != pid, timeout=_STOP_TIMEOUT):
            raise InstanceError(f"the {self._name}'s supervisor, process {pid}, does not end.")

    def _reachable(self) -> bool:
        """Whether the supervisor runs and listens where it can be found."""
        return self.running() and (self._socket is None or self._socket.exists())


def _lines(log: Path, position: int = 0) -> list[str]:
    """The last lines of a log, which a service may have filled, from a position in bytes on; none if gone."""
    try:
        with log.open("rb") as file:
            file.seek(max(position, file.seek(0, os.SEEK_END) - _READ))
            return file.read(_READ).decode(errors="replace").splitlines()
    except FileNotFoundError:
        return []
