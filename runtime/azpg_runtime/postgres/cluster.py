"""One PostgreSQL data folder and its postmaster: made, started, stopped, found again after a crash."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from azpg_runtime.errors import InstanceError
from azpg_runtime.files import full_disk, open_log, read_plainly, sync_folder
from azpg_runtime.postgres.account import Account
from azpg_runtime.postgres.installation import Installation
from azpg_runtime.postgres.roles import SUPERUSER
from azpg_runtime.system import signals
from azpg_runtime.wait import wait_for

_START_TIMEOUT, _STOP_TIMEOUT = 120, 30
"""Seconds: recovery after a crash may take its time; a fast shutdown does not."""
_LOG_READ = 65536
_LARGEST_PID_FILE = 8192
"""Bytes: eight lines, of which one is a path, and one the options that it was started with."""
_NEW_SIZE = 45
"""Megabytes of a new data folder."""
_OF_PG_CTL = re.compile(r"pg_ctl: |Examine the log output|(?:waiting for server|stopped waiting)")
_SEVERITY = re.compile(r"(?P<severity>FATAL|PANIC|ERROR|LOG|HINT|DETAIL):  (?P<said>.*)")


@dataclass(frozen=True, slots=True)
class Cluster:
    """A data folder with the server that runs it and the user it runs as."""

    data: Path
    installation: Installation
    account: Account

    def create(self, *, durable: bool = True) -> None:
        """Runs initdb, in a folder beside that takes the final name only when it is complete.

        `durable=False` does not wait until all of it is on the disk, which takes initdb half of its time.
        """
        # A name of its own: the initdb of a killed command may still be writing into an earlier one.
        prefix = f"{self.data.name}.new-"
        for left in self.data.parent.glob(f"{prefix}*"):
            shutil.rmtree(left, ignore_errors=True)
        temporary = Path(tempfile.mkdtemp(prefix=prefix, dir=self.data.parent))
        self.account.own(temporary)
        locale = ["--locale=C.UTF-8"]
        if self.installation.major >= 17:
            locale.append("--locale-provider=builtin")
        done = self._ask(
            "initdb",
            *("-D", str(temporary), "-U", SUPERUSER, "--encoding=UTF8", *locale),
            *("--auth-local=peer", "--auth-host=reject", "--no-instructions"),
            *([] if durable else ["--no-sync"]),
        )
        if done.returncode:
            shutil.rmtree(temporary, ignore_errors=True)
            said = done.stderr or done.stdout
            full = full_disk(said, self.data.parent, needs=f"a new server takes about {_NEW_SIZE} MB")
            raise full or InstanceError("initdb failed.", detail=reason_of_initdb(said))
        temporary.rename(self.data)
        sync_folder(self.data.parent)

    def postmaster(self) -> int | None:
        """The process id of the postmaster that runs this folder now, or None.

        A postmaster.pid proves nothing: after a reboot its process may be any other, and the server's user
        may have put anything in its place.
        """
        try:
            raw = read_plainly(self.data / "postmaster.pid", limit=_LARGEST_PID_FILE)
            pid = int(raw.split(b"\n", 1)[0])
            return pid if pid > 0 and _works_in(pid, self.data) else None
        except (OSError, ValueError):
            return None

    def start(self, configuration: Path, log: Path) -> None:
        """Starts the postmaster and waits until it accepts connections. Raises `InstanceError`."""
        self._clear_away()
        options = f"-c config_file={shlex.quote(str(configuration))}"
        with open_log(log) as output:
            position = output.tell()
            done = self._call(
                "pg_ctl",
                *("start", "-s", "-w", "-t", str(_START_TIMEOUT), "-D", str(self.data), "-o", options),
                output=output.fileno(),
            )
        if done:
            with log.open("rb") as file:
                file.seek(position)
                said = file.read(_LOG_READ).decode(errors="replace")
            full = full_disk(said, self.data)
            raise full or InstanceError("PostgreSQL does not start.", detail=reason(said), hint=f"See {log}.")

    def try_parameter(self, configuration: Path, name: str, value: str) -> tuple[str | None, str]:
        """`value` as PostgreSQL writes it, numbers in the parameter's unit; None and why, if it refuses."""
        done = self._ask(
            "postgres",
            *("-D", str(self.data), "-c", f"config_file={configuration}"),
            *("-c", f"{name}={value}", "-C", name),
        )
        if done.returncode:
            said = [line.split(":  ", 1)[-1] for line in done.stderr.splitlines() if ":  " in line]
            return None, ". ".join(said) or done.stderr.strip()
        return done.stdout.removesuffix("\n"), ""

    def stop(self) -> None:
        """Stops the postmaster: open sessions are ended, then, if that is not enough, cut off."""
        for mode in ("fast", "immediate"):
            if self.postmaster() is None:
                break
            self._call(
                "pg_ctl", *("stop", "-s", "-w", "-t", str(_STOP_TIMEOUT), "-m", mode, "-D", str(self.data))
            )
        else:
            if self.postmaster() is not None:
                raise InstanceError(f"PostgreSQL, process {self.postmaster()}, does not stop.")
        self._clear_away()

    def _clear_away(self) -> None:
        """Ends what a killed postmaster left behind, which would keep the next one from starting."""
        if self.postmaster() is not None:
            return
        orphans = [pid for pid in _processes() if _works_in(pid, self.data)]
        for pid in orphans:
            signals.send(pid, signal.SIGKILL, when=partial(_works_in, pid, self.data))
        if not wait_for(lambda: not any(_works_in(pid, self.data) for pid in orphans), timeout=10):
            raise InstanceError(f"processes of an earlier server do not end: {orphans}.")
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def _ask(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs a program that ends by itself, for its words."""
        return subprocess.run(
            [str(self.installation.bin / program), *arguments],
            **self._options(),
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )

    def _call(self, program: str, *arguments: str, output: int = subprocess.DEVNULL) -> int:
        """Runs a program that may leave a server behind, which keeps `output` open; returns its status."""
        done = subprocess.run(
            [str(self.installation.bin / program), *arguments],
            **self._options(),
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        return int(done.returncode)

    def _options(self) -> dict[str, Any]:
        # A clean environment: PGDATA, PGOPTIONS and their like must not reach the server.
        environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"}
        return {"cwd": "/", "env": environment, "umask": 0o077, **self.account.run_options()}


def _processes() -> list[int]:
    return [int(entry.name) for entry in os.scandir("/proc") if entry.name.isdigit()]


def _works_in(pid: int, folder: Path) -> bool:
    """Whether a process is a PostgreSQL that works in `folder`, as each of its processes does."""
    try:
        process = Path(f"/proc/{pid}")
        return (process / "exe").readlink().name.startswith("postgres") and (process / "cwd").samefile(folder)
    except OSError:
        return False


def reason_of_initdb(said: str) -> str:
    """Why initdb failed, from what it and the server that it runs wrote."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line.split("error: ", 1)[1] for line in lines if line.startswith("initdb: error: ")]
    served = [line for line in lines if _SEVERITY.search(line)]
    return errors[-1] if errors else reason("\n".join(served or lines))


def reason(log: str) -> str:
    """What a server that did not start gives as the reason, from what it and pg_ctl wrote."""
    lines = [line.strip() for line in log.splitlines() if line.strip() and not _OF_PG_CTL.match(line)]
    found = [match for match in map(_SEVERITY.search, lines) if match is not None]
    words = [f"{match['said']}" for match in found if match["severity"] in {"FATAL", "PANIC", "ERROR"}]
    # A configuration that cannot be read is FATAL in general terms; the lines before say what it is.
    if words and "contains errors" in words[-1]:
        words = [match["said"] for match in found if match["severity"] == "LOG"][-1:] or words
    return (words or lines or ["It said nothing."])[-1].removeprefix("postgres: ").rstrip(".")
