"""Keeps one service running: ``python -m azpg_runtime.supervision.supervisor``.

The supervisor owns the listening socket and hands it to each process of the service that it starts. While
one is being replaced, the socket still stands and callers queue in its backlog, so the first call after a
crash is simply answered by the next. Imports stay light: this process lives as long as the instance.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

from azpg_runtime.supervision.service import BEAT, CANNOT_SERVE, started
from azpg_runtime.system.locks import claim

_BACKLOG = 1024
_FIRST_DELAY, _LONGEST_DELAY, _STABLE_AFTER = 0.1, 10.0, 30.0
"""Seconds: between restarts of a service that keeps dying, and how long it must live to be called stable."""
_SILENCE, _SILENCE_AT_FIRST = 15, 120
"""Beats that a service may miss, and until its first: then it hangs, and is ended.

They are counted by the supervisor's own, so that time in which the whole machine stood still does not count.
"""
_STOP_TIMEOUT = 5.0
_STOPPING = (signal.SIGTERM, signal.SIGINT)


def unix_listener(path: Path, *, owner: int, service: int | None = None) -> socket.socket:
    """A listening Unix socket that only the user `owner` may connect to; one that was left is replaced.

    `service` is the user that the service will be. Clients are told that it is who listens, from the first
    connection on, which may come before the service runs.
    """
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(mask)
    if owner != os.geteuid():
        os.chown(path, owner, -1, follow_symlinks=False)
    own = os.geteuid()
    os.seteuid(own if service is None else service)
    try:
        listener.listen(_BACKLOG)
    finally:
        os.seteuid(own)
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
        watched: whether it gives signs of life, through the pipe that it gets as ``--beat``.
    """

    def __init__(
        self, name: str, listener: socket.socket, *, command: list[str], watched: bool = False
    ) -> None:
        self._name = name
        self._watched = watched
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
        signs = -1
        try:
            self._service, signs = self._start()
            if self._stopping:  # asked to while the service was being started
                self._service.terminate()
            if self._watched:
                self._watch(self._service, signs)
            status = self._service.wait()
        except OSError as error:  # no memory for another process, or an installation being replaced
            return f"did not start: {error}"
        finally:
            if signs >= 0:
                os.close(signs)
        if status == CANNOT_SERVE:
            self._stopping = True  # the next one would fail as this one did
            print("supervisor: giving up", file=sys.stderr, flush=True)
        return f"ended with status {status}"

    def _watch(self, service: subprocess.Popen[bytes], signs: int) -> None:
        """Returns when the service has ended, or closed the pipe of its signs; one that hangs is killed."""
        missed, limit = 0, _SILENCE_AT_FIRST
        while service.poll() is None:
            if select.select([signs], [], [], BEAT)[0]:
                if not os.read(signs, 4096):
                    return
                missed, limit = 0, _SILENCE
                continue
            missed += 1
            if missed > limit and not self._stopping:  # while it is stopping, a timer sees to that
                print(f"supervisor: the {self._name} hangs; ending it", file=sys.stderr, flush=True)
                service.kill()
                return

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

    def _start(self) -> tuple[subprocess.Popen[bytes], int]:
        """The service, and the end of the pipe by which it gives signs of life; -1 if it gives none."""
        descriptors = [self._listener.fileno()]
        arguments = [*self._command, "--fd", str(descriptors[0]), "--supervisor", str(os.getpid())]
        signs, beats = os.pipe() if self._watched else (-1, -1)
        if self._watched:
            descriptors.append(beats)
            arguments += ["--beat", str(beats)]
        try:
            service = subprocess.Popen(arguments, pass_fds=descriptors, stdin=subprocess.DEVNULL)
        except OSError:
            if self._watched:
                os.close(signs)
            raise
        finally:
            if self._watched:
                os.close(beats)
        return service, signs


def main() -> None:
    """Leaves a process behind that supervises, and ends when that one has the lock and listens, or cannot."""
    parser = argparse.ArgumentParser(prog="azpg_runtime.supervision.supervisor")
    parser.add_argument("--name", required=True, help="what messages call the service")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--socket", type=Path, help="the path of a Unix socket")
    where.add_argument("--port", type=int, help="a TCP port on 127.0.0.1")
    parser.add_argument("--owner", type=int, default=os.geteuid(), help="the user id that may connect")
    parser.add_argument("--service-user", type=int, help="the user id that the service is going to have")
    parser.add_argument("--lock", type=Path, required=True)
    parser.add_argument("--watched", action="store_true", help="the service gives signs of life, by --beat")
    parser.add_argument("command", nargs="+", help="the service's command line, after --")
    options = parser.parse_args()
    answer, answering = os.pipe()
    if os.fork():
        os.close(answering)
        os._exit(0 if os.read(answer, 1) else 1)  # nothing was answered: it ended, and said why
    os.close(answer)
    os.setsid()
    # From the moment that it has the lock it may be asked to stop.
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
    lock = claim(options.lock)
    if lock is None:
        raise SystemExit("another supervisor runs")
    listener = (
        tcp_listener(options.port)
        if options.port
        else unix_listener(options.socket, owner=options.owner, service=options.service_user)
    )
    supervisor = Supervisor(options.name, listener, command=options.command, watched=options.watched)
    for number in _STOPPING:
        signal.signal(number, supervisor.stop)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    print(started(options.name), file=sys.stderr, flush=True)
    try:
        os.write(answering, b".")
    except BrokenPipeError:  # whoever started it has given up: nobody knows that it runs
        supervisor.stop()
    os.close(answering)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)
    with contextlib.suppress(KeyboardInterrupt):
        supervisor.run()
    lock.truncate(0)
    os._exit(0)  # the lock is given up by the kernel, with the process: nothing is left of it then


if __name__ == "__main__":
    main()
