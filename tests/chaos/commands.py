"""Workers, `azpg vectorize` and `azpg apply` as processes beside the load; they may be killed at any moment."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from tests.chaos.site import Site

AZPG = [sys.executable, "-m", "azpg"]
PATIENCE = 120.0
"""Seconds after which a command counts as hanging, once nothing goes wrong any more."""


@dataclass(frozen=True)
class End:
    """How a command ended: `killed` if that was our doing, `code` as `subprocess` has it, None if it hung."""

    name: str
    code: int | None
    killed: bool
    seconds: float
    said: str


class Command(threading.Thread):
    """Runs a command again and again, with a pause after each, until it is stopped.

    Args:
        arguments: those of each run.
        pause: seconds between two runs.
    """

    def __init__(
        self, site: Site, name: str, arguments: Callable[[], list[str]], pause: Callable[[], float]
    ) -> None:
        super().__init__(name=name, daemon=True)
        self.ends: list[End] = []
        self._site, self._arguments, self._pause = site, arguments, pause
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._killed = False

    def run(self) -> None:
        while not self._over.is_set():
            with tempfile.TemporaryFile() as output:
                begun = time.monotonic()
                with self._lock:
                    if self._over.is_set():
                        return
                    self._killed = False
                    self._process = start(self._site, self._arguments(), output.fileno())
                code = self._process.wait()
                with self._lock:
                    self._process = None
                output.seek(0)
                said = output.read().decode(errors="replace")[-2000:]
            self.ends.append(End(self.name, code, self._killed, time.monotonic() - begun, said))
            self._over.wait(self._pause())

    def kill(self) -> int | None:
        """Kills the process, if it runs; its id."""
        with self._lock:
            if self._process is None:
                return None
            self._killed = True
            self._process.kill()
            return self._process.pid

    def finish(self) -> None:
        """Lets the process end in order, and stops; one that does not end in time is killed, and hung."""
        self._over.set()
        with self._lock:
            if self._process is not None:
                with suppress(ProcessLookupError):
                    self._process.send_signal(signal.SIGTERM)
        self.join(PATIENCE)
        if self.is_alive():
            self.ends.append(End(self.name, None, False, PATIENCE, "it did not end after SIGTERM"))
            self.kill()
            self.join()


def start(site: Site, arguments: list[str], output: int) -> subprocess.Popen[bytes]:
    """Starts `azpg` in the site's home."""
    return subprocess.Popen(
        [*AZPG, *arguments],
        env=site.environment,
        cwd=site.home.root,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
    )


def once(site: Site, *arguments: str) -> End:
    """Runs a command to its end."""
    begun = time.monotonic()
    with tempfile.TemporaryFile() as output:
        process = start(site, list(arguments), output.fileno())
        code: int | None = None
        try:
            code = process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        output.seek(0)
        said = output.read().decode(errors="replace")[-2000:]
    return End(arguments[0], code, False, time.monotonic() - begun, said)


def beside(site: Site, seed: int) -> list[Command]:
    """What runs beside the load: two workers, and vectorize and apply now and then."""
    chance = random.Random(f"{seed} commands")

    def apply() -> list[str]:
        return ["apply", str(site.spec(chance.randint(1, 2))), "--yes", "--allow-replace"]

    worker = ["worker", str(site.spec(1)), "--every", "5"]
    return [
        *(Command(site, f"worker {number}", lambda: worker, lambda: 0.1) for number in (1, 2)),
        Command(site, "vectorize", lambda: ["vectorize", str(site.spec(1))], lambda: chance.uniform(2, 6)),
        Command(site, "apply", apply, lambda: chance.uniform(6, 15)),
    ]
