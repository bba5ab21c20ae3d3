"""The supervisor with real processes: a small service that answers its process id, told to die in many ways."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from azpg_runtime.supervision import supervisor as module
from azpg_runtime.supervision.service import started
from azpg_runtime.system import ports
from azpg_runtime.system.locks import holder
from azpg_runtime.wait import wait_for

PATIENCE = 30.0

# A host: answers `pid`; `exit N` ends it. It waits for the file `gate`, where there is one to wait for.
HOST = """\
import os, pathlib, signal, socket, sys, threading, time
from azpg_runtime.supervision.service import end_with
folder, arguments = pathlib.Path(sys.argv[1]), sys.argv[2:]
assert arguments[0:4:2] == ["--fd", "--supervisor"], arguments
end_with(int(arguments[3]))
if (folder / "stubborn").exists():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
with (folder / "hosts").open("a") as hosts:
    hosts.write(f"{os.getpid()}\\n")
if (folder / "broken").exists():
    sys.exit(7)
while (folder / "closed").exists():
    time.sleep(0.005)
listener = socket.socket(fileno=int(arguments[1]))
def beat():
    while True:
        os.write(int(arguments[5]), b".")
        time.sleep(0.005)
if arguments[4:5] == ["--beat"]:
    threading.Thread(target=beat, daemon=True).start()
while True:
    client, _ = listener.accept()
    with client, client.makefile("rw") as stream:
        for line in stream:
            if line.startswith("exit"):
                os._exit(int(line.split()[1]))
            stream.write(f"{os.getpid()}\\n")
            stream.flush()
"""

# The supervisor, with less patience than in earnest.
SUPERVISOR = """\
import signal
import azpg_runtime.supervision.supervisor as module
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whatever the tests were started with
module._FIRST_DELAY, module._LONGEST_DELAY, module._STOP_TIMEOUT = {first}, {longest}, {stop}
module.BEAT, module._SILENCE, module._SILENCE_AT_FIRST = 0.02, 10, {patience}
module.main()
"""


def alive(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def call(where: Path | tuple[str, int], line: str = "pid") -> int:
    """Asks a host for its process id; waits in the backlog where none runs."""
    with socket.socket(socket.AF_UNIX if isinstance(where, Path) else socket.AF_INET) as client:
        client.settimeout(PATIENCE)
        client.connect(str(where) if isinstance(where, Path) else where)
        client.sendall(f"{line}\n".encode())
        return int(client.recv(100) or b"0")


class Site:
    """A folder with a supervisor in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "host.sock"
        self.lock = folder / "lock"
        self.log = folder / "log"

    def supervise(
        self,
        *,
        command: list[str] | None = None,
        owner: int | None = None,
        path: Path | None = None,
        port: int | None = None,
        first: float = 0.01,
        longest: float = 0.05,
        stop: float = 60.0,
        watched: bool = False,
        patience: int = 1_000_000,
    ) -> int:
        """Starts a supervisor and returns the exit status of the process that was started."""
        host = command or [sys.executable, "-c", HOST, str(self.folder)]
        arguments = ["--name", "host"]
        arguments += ["--port", str(port)] if port else ["--socket", str(path or self.socket)]
        if owner is not None:
            arguments += ["--owner", str(owner)]
        arguments += ["--watched"] if watched else []
        supervisor = SUPERVISOR.format(first=first, longest=longest, stop=stop, patience=patience)
        python = [sys.executable, "-c", supervisor]
        with self.start([*python, *arguments, "--lock", str(self.lock), "--", *host]) as process:
            return process.wait(PATIENCE)

    def start(self, command: list[str]) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    @property
    def supervisor(self) -> int:
        assert wait_for(lambda: bool(self.lock.read_text()), timeout=PATIENCE)
        return int(self.lock.read_text())

    def running(self) -> bool:
        """Whether a supervisor holds the lock, as `Supervised.running` asks."""
        return holder(self.lock) is not None

    @property
    def said(self) -> str:
        """What the supervisors wrote, but for the line that each begins with."""
        return self.log.read_text().replace(f"{started('host')}\n", "")

    def hosts(self) -> list[int]:
        """Every host that was ever started."""
        path = self.folder / "hosts"
        return [int(line) for line in path.read_text().splitlines()] if path.exists() else []

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        os.kill(self.supervisor, number)

    def gone(self, pid: int) -> bool:
        return wait_for(lambda: not alive(pid), timeout=PATIENCE)


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site(Path(tempfile.mkdtemp(prefix="azpg-")))
    yield site
    left = [site.supervisor] if site.running() else []
    for pid in [*left, *site.hosts()]:
        if _ours(pid, site.folder):
            os.kill(pid, signal.SIGKILL)
            site.gone(pid)
    shutil.rmtree(site.folder)


def _ours(pid: int, folder: Path) -> bool:
    with contextlib.suppress(psutil.Error):
        return any(str(folder) in part for part in psutil.Process(pid).cmdline())
    return False


def test_a_host_answers_on_the_socket_it_was_handed(site: Site) -> None:
    assert site.supervise() == 0
    assert call(site.socket) == site.hosts()[0]
    assert psutil.Process(site.hosts()[0]).ppid() == site.supervisor
    assert site.said == ""


def test_it_detaches_from_whoever_started_it(site: Site) -> None:
    site.supervise()
    assert os.getsid(site.supervisor) == site.supervisor != os.getsid(0)
    first = call(site.socket)
    site.end(signal.SIGHUP)  # as when a terminal is closed
    os.kill(first, signal.SIGKILL)
    assert site.gone(first)
    assert call(site.socket) == site.hosts()[1]


def test_the_socket_is_for_one_user_only(site: Site) -> None:
    before = os.umask(0)
    try:
        site.supervise()
    finally:
        os.umask(before)
    assert site.socket.is_socket()
    assert site.socket.stat().st_mode & 0o777 == 0o600
    assert site.socket.stat().st_uid == os.geteuid()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a socket away")
def test_as_root_the_socket_belongs_to_the_servers_user(site: Site) -> None:
    site.supervise(owner=65534)
    assert (site.socket.stat().st_uid, site.socket.stat().st_mode & 0o777) == (65534, 0o600)


def test_a_socket_left_behind_is_replaced(site: Site) -> None:
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(site.socket))
    site.supervise()
    assert call(site.socket) == site.hosts()[0]


@pytest.mark.parametrize(
    ("end", "status"),
    [
        (lambda site, pid: call(site.socket, "exit 0"), 0),
        (lambda site, pid: call(site.socket, "exit 3"), 3),
        (lambda site, pid: os.kill(pid, signal.SIGKILL), -9),
        (lambda site, pid: os.kill(pid, signal.SIGTERM), -15),
    ],
    ids=["ends", "fails", "killed", "terminated"],
)
def test_a_host_that_ends_is_replaced(site: Site, end: Callable[[Site, int], object], status: int) -> None:
    site.supervise()
    first = call(site.socket)
    supervisor = site.supervisor
    end(site, first)
    assert site.gone(first)
    second = call(site.socket)
    assert second != first
    assert site.hosts() == [first, second]
    assert site.supervisor == supervisor
    assert site.said.startswith(f"supervisor: the host ended with status {status} after ")


def test_a_host_that_hangs_is_replaced(site: Site) -> None:
    site.supervise(watched=True)
    first = call(site.socket)
    os.kill(first, signal.SIGSTOP)
    with socket.socket(socket.AF_UNIX) as client:  # it is taken by nobody, and by the next one
        client.settimeout(PATIENCE)
        client.connect(str(site.socket))
        client.sendall(b"pid\n")
        second = int(client.recv(100))
    assert site.hosts() == [first, second]
    assert site.gone(first)
    assert (
        "supervisor: the host hangs; ending it\nsupervisor: the host ended with status -9"
        in site.log.read_text()
    )


def test_a_host_that_hangs_before_it_gives_a_sign_is_replaced(site: Site) -> None:
    (site.folder / "closed").touch()
    site.supervise(watched=True, patience=20)
    assert wait_for(lambda: len(site.hosts()) >= 2, timeout=PATIENCE)
    (site.folder / "closed").unlink()
    assert call(site.socket) == site.hosts()[-1]


def test_a_supervisor_that_stood_still_itself_counts_no_silence(site: Site) -> None:
    """As with a machine that was suspended: what the host said meanwhile waits in the pipe."""
    site.supervise(watched=True)
    first = call(site.socket)
    process = psutil.Process(site.supervisor)
    for _ in range(3):
        process.suspend()
        assert call(site.socket) == first
        process.resume()
    assert call(site.socket) == first
    assert "hangs" not in site.log.read_text()


def test_callers_wait_while_the_host_is_replaced(site: Site) -> None:
    site.supervise()
    first = call(site.socket)
    (site.folder / "closed").touch()
    os.kill(first, signal.SIGKILL)
    assert site.gone(first)
    with contextlib.ExitStack() as stack:
        waiting = []
        for _ in range(200):
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)  # a full backlog would be an error
            client.connect(str(site.socket))
            client.sendall(b"pid\n")
            waiting.append(client)
        assert wait_for(lambda: len(site.hosts()) == 2, timeout=PATIENCE)
        with pytest.raises(BlockingIOError):
            waiting[0].recv(100)
        (site.folder / "closed").unlink()
        for client in waiting:
            client.settimeout(PATIENCE)
            assert int(client.recv(100)) == site.hosts()[1]
            client.close()


def test_a_host_that_cannot_live_is_tried_again_and_again(site: Site) -> None:
    (site.folder / "broken").touch()
    site.supervise(first=0.001, longest=0.02)
    assert wait_for(lambda: len(site.hosts()) >= 8, timeout=PATIENCE)
    assert alive(site.supervisor)
    (site.folder / "broken").unlink()
    assert call(site.socket) == site.hosts()[-1]
    assert "supervisor: the host ended with status 7 after " in site.log.read_text()


def test_the_pauses_grow_to_a_limit_and_end_with_a_stable_host(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = module.unix_listener(site.socket, owner=os.geteuid())
    supervisor = module.Supervisor("host", listener, command=["false"])
    pauses: list[float] = []

    def pause(_read: object, _write: object, _other: object, seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 10:  # the next host is a stable one
            times = iter([0.0, 31.0, 100.0, 100.1])
            monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(times)))
        supervisor._stopping = len(pauses) == 12

    monkeypatch.setattr(module, "select", SimpleNamespace(select=pause))
    supervisor.run()
    os.close(supervisor._wake)
    os.close(supervisor._waker)
    assert pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10, 10, 0, 0.1])
    assert not site.socket.exists()


def test_a_host_that_cannot_be_started_is_tried_again(site: Site) -> None:
    """Memory may be short at the moment, or the installation be in the middle of an upgrade."""
    program = site.folder / "program"
    site.supervise(command=[str(program)])
    said = f"supervisor: the host did not start: [Errno 2] No such file or directory: '{program}' after "
    assert wait_for(lambda: said in site.log.read_text(), timeout=PATIENCE)
    new = program.with_name("new")
    script = site.folder / "host.py"
    script.write_text(HOST)
    new.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" "{site.folder}" "$@"\n')
    new.chmod(0o755)
    new.rename(program)
    assert call(site.socket) == site.hosts()[0]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_with_its_host_and_leaves_no_socket(site: Site, number: signal.Signals) -> None:
    site.supervise()
    supervisor, host = site.supervisor, call(site.socket)
    site.end(number)
    assert site.gone(supervisor)
    assert not alive(host)
    assert not site.socket.exists()
    assert site.lock.read_text() == ""
    assert site.said == ""


def test_being_asked_twice_is_being_asked_once(site: Site) -> None:
    (site.folder / "stubborn").touch()
    site.supervise(stop=0.2)
    supervisor, host = site.supervisor, call(site.socket)
    site.end()
    with contextlib.suppress(ProcessLookupError):
        os.kill(supervisor, signal.SIGTERM)
    assert site.gone(supervisor)
    assert not alive(host)


def test_a_host_that_does_not_listen_is_killed(site: Site) -> None:
    (site.folder / "stubborn").touch()
    site.supervise(stop=0.1)
    supervisor, host = site.supervisor, call(site.socket)
    site.end()
    assert site.gone(supervisor)
    assert not alive(host)
    assert not site.socket.exists()


def test_it_stops_between_two_hosts(site: Site) -> None:
    (site.folder / "broken").touch()
    site.supervise(first=10_000.0, longest=10_000.0)
    assert wait_for(lambda: "status 7" in site.log.read_text(), timeout=PATIENCE)
    supervisor = site.supervisor
    site.end()
    assert site.gone(supervisor)
    assert not site.socket.exists()
    assert len(site.hosts()) == 1


def test_it_stops_at_whatever_moment_it_is_asked(site: Site) -> None:
    for _ in range(5):
        site.supervise()
        supervisor = site.supervisor
        os.kill(supervisor, signal.SIGTERM)
        assert site.gone(supervisor)
        assert not site.socket.exists()
        assert site.lock.read_text() == ""
        assert wait_for(lambda: not any(alive(pid) for pid in site.hosts()), timeout=PATIENCE)


def test_a_killed_supervisor_takes_its_host_along(site: Site) -> None:
    site.supervise()
    supervisor, host = site.supervisor, call(site.socket)
    site.end(signal.SIGKILL)
    assert site.gone(host)
    assert site.gone(supervisor)
    with pytest.raises(ConnectionRefusedError):
        call(site.socket)
    assert site.supervise() == 0
    assert call(site.socket) == site.hosts()[1]
    assert site.supervisor != supervisor


def test_a_host_whose_supervisor_is_gone_does_not_start() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from azpg_runtime.supervision.service import end_with; end_with(1_000_000_000)",
        ],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr == "the supervisor is gone\n"


def test_there_is_one_supervisor_at_a_time(site: Site) -> None:
    site.supervise()
    supervisor, host = site.supervisor, call(site.socket)
    assert site.supervise() == 1
    assert site.said == "another supervisor runs\n"
    assert site.supervisor == supervisor
    assert call(site.socket) == host


def test_a_supervisor_that_nobody_waits_for_any_more_ends(site: Site) -> None:
    """Who started it was killed, perhaps for taking too long: the next one must find the place free."""
    service = ["--name", "host", "--socket", str(site.socket), "--lock", str(site.lock), "--", "false"]
    site.lock.touch()
    with site.lock.open() as asking:
        fcntl.flock(asking, fcntl.LOCK_SH)  # which holds it up, as a question of an older azpg does
        with site.start([sys.executable, "-m", "azpg_runtime.supervision.supervisor", *service]) as starting:
            assert wait_for(site.running, timeout=PATIENCE)
            supervisor = holder(site.lock)
            assert supervisor
            assert supervisor != starting.pid
            starting.kill()
    assert site.gone(supervisor)
    assert not site.running()
    assert not site.socket.exists()
    assert site.said == ""
    assert site.supervise() == 0


def test_an_earlier_supervisors_number_is_forgotten_before_whoever_started_this_one_goes_on(
    site: Site,
) -> None:
    site.lock.write_text("1\n")
    site.supervise()
    assert site.lock.read_text() != "1\n"
    assert site.supervisor > 1


def test_a_socket_that_cannot_be_made_reaches_the_caller(site: Site) -> None:
    assert site.supervise(path=site.folder / "missing" / "host.sock") == 1
    assert "No such file or directory" in site.log.read_text()
    assert site.supervise(path=site.folder / ("x" * 110)) == 1
    assert "path too long" in site.log.read_text()
    assert site.hosts() == []


@pytest.mark.parametrize(
    ("left_out", "said"),
    [
        ("--name", "required: --name"),
        ("--socket", "one of the arguments --socket --port is required"),
        ("--lock", "required: --lock"),
        ("command", "required: command"),
    ],
)
def test_the_command_line_is_complete(left_out: str, said: str) -> None:
    arguments = {"--name": "n", "--socket": "s", "--lock": "l", "command": "true"}
    del arguments[left_out]
    line = [part for pair in arguments.items() for part in pair if part != "command"]
    done = subprocess.run(
        [sys.executable, "-m", "azpg_runtime.supervision.supervisor", *line],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert said in done.stderr


def test_a_service_may_listen_on_a_port(site: Site) -> None:
    port = ports.choose(())
    site.supervise(port=port)
    first = call(("127.0.0.1", port))
    os.kill(first, signal.SIGKILL)
    assert site.gone(first)
    assert call(("127.0.0.1", port)) == site.hosts()[1]
    supervisor = site.supervisor
    site.end()
    assert site.gone(supervisor)
    with pytest.raises(ConnectionRefusedError):
        call(("127.0.0.1", port))
    site.supervise(port=port)  # at once: what is left of old connections does not matter
    assert call(("127.0.0.1", port)) == site.hosts()[2]


def test_a_port_that_is_taken_reaches_the_caller(site: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert site.supervise(port=taken.getsockname()[1]) == 1
    assert "Address already in use" in site.log.read_text()
    assert not site.running()


def test_it_stays_small() -> None:
    """The supervisor lives as long as the instance, so nothing heavy is imported into it."""
    script = "import azpg_runtime.supervision.supervisor, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert not {"numpy", "onnxruntime", "psycopg", "tokenizers", "typer", "rich"} & set(done.stdout.split())
