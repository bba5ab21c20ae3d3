"""Who holds a lock: asked of the kernel, answered with processes of all kinds."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from azpg_runtime.system import locks, signals
from azpg_runtime.system.locks import UNKNOWN, claim, holder

HOLDER = """\
import pathlib, sys
from azpg_runtime.system.locks import claim
file = claim(pathlib.Path(sys.argv[1]))
print("refused" if file is None else "claimed", flush=True)
sys.stdin.read()
"""

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    with ExitStack() as stack:

        def start(script: str, *arguments: object) -> subprocess.Popen[str]:
            command = [sys.executable, "-c", script, *map(str, arguments)]
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield start


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_the_holder_is_the_process_that_claimed(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert holder(path) is None
    first = start(HOLDER, path)
    assert said(first) == "claimed"
    assert holder(path) == first.pid
    assert path.read_text() == f"{first.pid}\n"
    assert said(start(HOLDER, path)) == "refused"
    assert claim(path) is None
    assert path.read_text() == f"{first.pid}\n", "who is refused changes nothing"
    assert holder(path) == first.pid
    first.kill()
    first.wait()
    assert holder(path) is None
    assert path.read_text() == f"{first.pid}\n", "which means nothing any more"
    second = start(HOLDER, path)
    assert said(second) == "claimed"
    assert holder(path) == second.pid
    assert path.read_text() == f"{second.pid}\n"


def test_asking_takes_nothing(start: Start, tmp_path: Path) -> None:
    """Also where nobody holds it: a claim waits for those who are just asking, however many they are."""
    path = tmp_path / "lock"
    path.touch()
    with path.open() as one, path.open() as other:
        fcntl.flock(one, fcntl.LOCK_SH)
        fcntl.flock(other, fcntl.LOCK_SH)
        assert holder(path) is None
        process = start(HOLDER, path)
        while holder(path) is None:
            assert process.poll() is None
        assert holder(path) == process.pid
        fcntl.flock(one, fcntl.LOCK_UN)
        fcntl.flock(other, fcntl.LOCK_UN)
    assert said(process) == "claimed"


def test_a_claim_that_meets_a_lock_of_the_older_kind_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "_CLAIM_TIMEOUT", 0.05)
    path = tmp_path / "lock"
    with path.open("w") as older:
        older.write(f"{os.getpid()}\n")
        older.flush()
        fcntl.flock(older, fcntl.LOCK_EX)
        assert holder(path) == os.getpid()
        assert claim(path) is None
        assert path.read_text() == f"{os.getpid()}\n"
        path.write_text("1\n")  # which does not have it open, or does not let itself be asked
        assert holder(path) == UNKNOWN
        path.write_text("")
        assert holder(path) == UNKNOWN
    assert holder(path) is None


def test_a_child_does_not_hold_what_its_parent_claimed(start: Start, tmp_path: Path) -> None:
    forking = "import os; child = os.fork(); child and print(child, flush=True); sys.stdin.read()"
    process = start(HOLDER.replace("sys.stdin.read()", forking), tmp_path / "lock")
    assert said(process) == "claimed"
    child = int(said(process))
    process.kill()
    process.wait()
    try:
        assert (tmp_path / "lock").read_text() == f"{process.pid}\n"
        with (tmp_path / "lock").open("a+") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("allowed", [True, False], ids=["pidfd", "older-kernel"])
def test_a_signal_reaches_only_the_process_that_is_meant(
    start: Start, monkeypatch: pytest.MonkeyPatch, allowed: bool
) -> None:
    if not allowed:

        def refused(_: int) -> int:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(os, "pidfd_open", refused)
    process = start("print(1, flush=True); input()")
    assert said(process) == "1"
    signals.send(process.pid, signal.SIGTERM, when=lambda: False)
    assert process.poll() is None
    signals.send(process.pid, signal.SIGTERM, signal.SIGCONT, when=lambda: True)
    assert process.wait(20) == -signal.SIGTERM
    signals.send(process.pid, signal.SIGTERM, when=lambda: True)  # which is gone
