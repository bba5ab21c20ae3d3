"""What goes wrong: one fault after the other, chosen by a seed."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import psycopg

from azpg_runtime.errors import RuntimeTwinError
from tests.chaos.commands import Command
from tests.chaos.lines import Proxy
from tests.chaos.site import Site
from tests.integration.calls import family, postmaster

HOST_MODULE = "azpg_runtime.host"
SHORTEST, LONGEST = 1.5, 5.0
"""Seconds between two faults."""


@dataclass
class Fault:
    """One that was tried: seconds since the beginning, its name, and what it met."""

    at: float
    name: str
    what: str


@dataclass
class Nemesis:
    """A thread that does one fault after the other.

    Attributes:
        killed: the ids of PostgreSQL's processes that it killed.
        full: whether it ever filled the disk.
        up: seconds that `azpg up` took after a postmaster was killed.
    """

    site: Site
    commands: list[Command]
    proxy: Proxy
    seed: int
    log: list[Fault] = field(default_factory=list)
    killed: set[int] = field(default_factory=set)
    full: bool = False
    up: list[float] = field(default_factory=list)
    failure: BaseException | None = None
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="nemesis", daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Ends it; what was stopped goes on, what was killed is up again."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        for process in family(self.site.home):
            with suppress(psutil.Error):
                if process.status() == psutil.STATUS_STOPPED:
                    process.resume()
        self._heal()

    def _run(self) -> None:
        chance = random.Random(f"{self.seed} faults")
        faults: list[tuple[int, str, Callable[[random.Random], str]]] = [
            (4, "host killed", lambda _: self._kill_host()),
            (3, "host stopped", self._stop_host),
            (4, "backend killed", self._kill_backend),
            (2, "postmaster killed", lambda _: self._kill_postmaster()),
            (4, "worker killed", lambda chance: self._kill(f"worker {chance.randint(1, 2)}")),
            (3, "vectorize killed", lambda _: self._kill("vectorize")),
            (3, "apply killed", lambda _: self._kill("apply")),
            (3, "lines cut", lambda chance: f"{self.proxy.cut(chance)} connections"),
        ]
        if not self.site.no_disk:
            faults.append((2, "disk full", self._fill))
        weights = [weight for weight, _, _ in faults]
        begun = time.monotonic()
        try:
            while not self._over.wait(chance.uniform(SHORTEST, LONGEST)):
                ((_, name, fault),) = chance.choices(faults, weights)
                # Each fault has a seed of its own: what one meets does not change the next.
                own = random.Random(chance.random())
                self.log.append(Fault(time.monotonic() - begun, name, fault(own)))
        except BaseException as error:
            self.failure = error

    def _kill(self, name: str) -> str:
        (command,) = [one for one in self.commands if one.name == name]
        pid = command.kill()
        return "did not run" if pid is None else f"process {pid}"

    def _host(self) -> psutil.Process | None:
        for process in family(self.site.home):
            with suppress(psutil.Error):
                words = process.cmdline()
                if HOST_MODULE in words and "--" not in words:  # the supervisor has it behind a --
                    return process
        return None

    def _kill_host(self) -> str:
        host = self._host()
        if host is None:
            return "did not run"
        with suppress(psutil.NoSuchProcess):
            host.kill()
        return f"process {host.pid}"

    def _stop_host(self, chance: random.Random) -> str:
        host = self._host()
        if host is None:
            return "did not run"
        seconds = chance.uniform(0.5, 6)
        with suppress(psutil.NoSuchProcess):
            host.suspend()
            self._over.wait(seconds)
            host.resume()
        return f"process {host.pid} for {seconds:.1f} s"

    def _kill_backend(self, chance: random.Random) -> str:
        query = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' ORDER BY pid"
        try:
            with self.site.instance.superuser() as connection:
                pids = [pid for (pid,) in connection.execute(query) if pid != connection.info.backend_pid]
        except (psycopg.Error, RuntimeTwinError):
            return "the server was away"
        if not pids:
            return "there was none"
        pid = chance.choice(pids)
        with suppress(ProcessLookupError):
            self.killed.add(pid)
            os.kill(pid, signal.SIGKILL)
        return f"process {pid}"

    def _kill_postmaster(self) -> str:
        try:
            process = postmaster(self.site.instance)
        except (OSError, ValueError, IndexError, psutil.NoSuchProcess):
            return "did not run"
        with suppress(psutil.NoSuchProcess):
            process.kill()
        self.killed.add(process.pid)
        return f"process {process.pid}, {self._heal()}"

    def _fill(self, chance: random.Random) -> str:
        """Leaves nothing of the disk for a while."""
        self.full = True
        seconds = chance.uniform(1, 4)
        path = Path(self.site.home.root) / "filled"
        filled = 0
        try:
            with path.open("wb") as file:
                piece = 64 << 20
                while piece >= 4096:
                    try:
                        os.posix_fallocate(file.fileno(), filled, piece)
                        filled += piece
                    except OSError:
                        piece //= 2
            self._over.wait(seconds)
        finally:
            path.unlink()
        return f"{filled / 1e6:,.0f} MB for {seconds:.1f} s, {self._heal()}"

    def _heal(self) -> str:
        """What a person does: `azpg up`."""
        begun = time.monotonic()
        try:
            self.site.instance.up()
        except RuntimeTwinError as error:  # once more: the old server's last processes may just be going
            first = str(error)
            try:
                self.site.instance.up()
            except RuntimeTwinError as again:
                raise AssertionError(f"azpg up fails twice: {first}; {again}") from again
        self.up.append(time.monotonic() - begun)
        return f"up again after {self.up[-1]:.1f} s"
