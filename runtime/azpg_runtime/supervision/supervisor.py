"""Keeps one service running: ``python -m azpg_runtime.supervision.supervisor``.

The supervisor owns the listening socket and hands it to each process of the service that it starts. While
one is being replaced, the socket still stands and callers queue in its backlog, so the first call after a
crash is simply answered by the next. Imports stay light: this process lives as long as the instance.
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

from azpg_runtime.supervision.service import CANNOT_SERVE

_BACKLOG = 1024
_FIRST_DELAY, _LONGEST_DELAY, _STABLE_AFTER = 0.1, 10.0, 30.0
"""Seconds: between restarts of a service that keeps dying, and how long it must live to be called stable."""
_STOP_TIMEOUT = 5.0


def unix_listener(path: Path, *, owner: int) -> socket.socket:
    """A listening Unix socket that only the user `owner` may connect to; one that was left is replaced."""
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


def tcp_listener(port: int) -> socket.socket:
    """A listening socket on 127.0.0.1."""
    return socket.create_server(("127.0.0.1", port), backlog=_BACKLOG)


class Supervisor:
    """Starts processes of a service one after the other on the same socket until it is told to stop.

    Args:
        name: what messages call the service.
        listener: handed to each process as ``--fd``.
        command: the service's command line.
    """

    def __init__(self, name: str, listener: socket.socket, *, command: list[str]) -> None:
        self._name = name
        self._listener = listener
        self._command = command
        self._stopping = False
        self._service: subprocess.Popen[bytes] | None = None
        self._wake, self._waker = os.pipe()

    def run(self) -> None:
        """Returns after `stop`, with the service ended and the socket removed."""
        delay = 0.0
        while not self._stopping:
            started = time.monotonic()
            what = self._run_service()
            if self._stopping:
                break
            lived = time.monotonic() - started
            delay = 0.0 if lived > _STABLE_AFTER else min(max(2 * delay, _FIRST_DELAY), _LONGEST_DELAY)
            print(f"supervisor: the {self._name} {what} after {lived:.1f} s", file=sys.stderr, flush=True)
            select.select([self._wake], [], [], delay)
        if self._listener.family == socket.AF_UNIX:
            Path(self._listener.getsockname()).unlink(missing_ok=True)
        self._listener.close()

    def _run_service(self) -> str:
        """Runs one process of the service to its end, and says how it ended."""
        try:
            self._service = self._start()
        except OSError as error:  # no memory for another process, or an installation being replaced
            return f"did not start: {error}"
        if self._stopping:  # asked to while the service was being started
            self._service.terminate()
        status = self._service.wait()
        if status == CANNOT_SERVE:
            self._stopping = True  # the next one would fail as this one did
            print("supervisor: giving up", file=sys.stderr, flush=True)
        return f"ended with status {status}"

    def stop(self, _signal: int = 0, _frame: FrameType | None = None) -> None:
        """Ends the service: asked first, killed when it does not listen."""
        if self._stopping:
            return
        self._stopping = True
        os.write(self._waker, b".")
        signal.signal(signal.SIGALRM, self._kill)
        signal.setitimer(signal.ITIMER_REAL, _STOP_TIMEOUT)
        if self._service is not None:
            self._service.terminate()
            self._service.send_signal(signal.SIGCONT)  # one that was stopped would not listen

    def _kill(self, _signal: int, _frame: FrameType | None) -> None:
        if self._service is not None:
            self._service.kill()

    def _start(self) -> subprocess.Popen[bytes]:
        descriptor = self._listener.fileno()
        arguments = [*self._command, "--fd", str(descriptor), "--supervisor", str(os.getpid())]
        return subprocess.Popen(arguments, pass_fds=[descriptor], stdin=subprocess.DEVNULL)


def main() -> None:
    """Detaches from its parent, takes the lock that says the service has a supervisor, and supervises."""
    parser = argparse.ArgumentParser(prog="azpg_runtime.supervision.supervisor")
    parser.add_argument("--name", required=True, help="what messages call the service")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--socket", type=Path, help="the path of a Unix socket")
    where.add_argument("--port", type=int, help="a TCP port on 127.0.0.1")
    parser.add_argument("--owner", type=int, default=os.geteuid(), help="the user id that may connect")
    parser.add_argument("--lock", type=Path, required=True)
    parser.add_argument("command", nargs="+", help="the service's command line, after --")
    options = parser.parse_args()
    lock = options.lock.open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SystemExit("another supervisor runs") from None
    # A socket that cannot be made must reach the caller, so it is made before detaching; the lock and the
    # socket survive the fork.
    listener = (
        tcp_listener(options.port) if options.port else unix_listener(options.socket, owner=options.owner)
    )
    supervisor = Supervisor(options.name, listener, command=options.command)
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
    os._exit(0)  # the lock is given up by the kernel, with the process: nothing is left of it then


if __name__ == "__main__":
    main()
