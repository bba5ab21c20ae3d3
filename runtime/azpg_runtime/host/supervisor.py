"""Keeps one model host running: ``python -m azpg_runtime.host.supervisor``.

The supervisor owns the listening socket and hands it to each host it starts. While a host is being
replaced, the socket still stands and callers queue in its backlog, so the first call after a crash is
simply answered by the next host. Imports stay light: this process lives as long as the instance.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

_BACKLOG = 1024
_FIRST_DELAY, _LONGEST_DELAY, _STABLE_AFTER = 0.1, 10.0, 30.0
"""Seconds: between restarts of a host that keeps dying, and how long it must live to be called stable."""
_STOP_TIMEOUT = 5.0
CANNOT_SERVE = 78
"""A host's exit status (EX_CONFIG of sysexits.h) when its own files keep it from ever serving."""


class Supervisor:
    """Starts hosts one after the other on the same socket until it is told to stop."""

    def __init__(self, path: Path, *, owner: int, command: list[str]) -> None:
        self._path = path
        self._command = command
        self._stopping = False
        self._host: subprocess.Popen[bytes] | None = None
        self._listener = self._listen(path, owner)
        self._wake, self._waker = os.pipe()

    @staticmethod
    def _listen(path: Path, owner: int) -> socket.socket:
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        mask = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(mask)
        if owner != os.geteuid():
            os.chown(path, owner, -1, follow_symlinks=False)
        listener.listen(_BACKLOG)
        return listener

    def run(self) -> None:
        """Returns after `stop`, with the host ended and the socket removed."""
        delay = 0.0
        while not self._stopping:
            started = time.monotonic()
            what = self._run_host()
            if self._stopping:
                break
            lived = time.monotonic() - started
            delay = 0.0 if lived > _STABLE_AFTER else min(max(2 * delay, _FIRST_DELAY), _LONGEST_DELAY)
            print(f"supervisor: the host {what} after {lived:.1f} s", file=sys.stderr, flush=True)
            select.select([self._wake], [], [], delay)
        self._listener.close()
        self._path.unlink(missing_ok=True)

    def _run_host(self) -> str:
        """Runs one host to its end, and says how it ended."""
        try:
            self._host = self._start()
        except OSError as error:  # no memory for another process, or an installation being replaced
            return f"did not start: {error}"
        if self._stopping:  # asked to while the host was being started
            self._host.terminate()
        status = self._host.wait()
        if status == CANNOT_SERVE:
            self._stopping = True  # the next one would fail as this one did
            print("supervisor: giving up", file=sys.stderr, flush=True)
        return f"ended with status {status}"

    def stop(self, _signal: int = 0, _frame: FrameType | None = None) -> None:
        """Ends the host: asked first, killed when it does not listen."""
        if self._stopping:
            return
        self._stopping = True
        os.write(self._waker, b".")
        signal.signal(signal.SIGALRM, self._kill)
        signal.setitimer(signal.ITIMER_REAL, _STOP_TIMEOUT)
        if self._host is not None:
            self._host.terminate()
            self._host.send_signal(signal.SIGCONT)  # one that was stopped would not listen

    def _kill(self, _signal: int, _frame: FrameType | None) -> None:
        if self._host is not None:
            self._host.kill()

    def _start(self) -> subprocess.Popen[bytes]:
        descriptor = self._listener.fileno()
        arguments = [*self._command, "--fd", str(descriptor), "--supervisor", str(os.getpid())]
        return subprocess.Popen(arguments, pass_fds=[descriptor], stdin=subprocess.DEVNULL)


def main() -> None:
    """Detaches from its parent, takes the lock that says the instance has a supervisor, and supervises."""
    parser = argparse.ArgumentParser(prog="azpg_runtime.host.supervisor")
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--owner", type=int, required=True, help="the user id that may connect")
    parser.add_argument("--lock", type=Path, required=True)
    parser.add_argument("command", nargs="+", help="the host's command line, after --")
    options = parser.parse_args()
    lock = options.lock.open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SystemExit("another supervisor runs") from None
    # A socket that cannot be made must reach the caller, so it is made before detaching; the lock and the
    # socket survive the fork.
    supervisor = Supervisor(options.socket, owner=options.owner, command=options.command)
    lock.truncate(0)  # an earlier supervisor's number means somebody else by now
    if os.fork():
        os._exit(0)
    os.setsid()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, supervisor.stop)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    lock.write(f"{os.getpid()}\n")  # from here on somebody may ask it to stop
    lock.flush()
    with contextlib.suppress(KeyboardInterrupt):
        supervisor.run()
    lock.truncate(0)


if __name__ == "__main__":
    main()
