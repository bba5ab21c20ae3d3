"""What a person is told whose disk is full when a server is made or started."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from azpg.process import find_program
from azpg_runtime.home import Home
from azpg_runtime.postgres.instance import Instance
from tests.command_line import AZPG, PATIENCE
from tests.conftest import remove_instances

OnDisk = Callable[[int], Home]
MOUNT = find_program("mount") or "mount"
FREE_SOME = "Free some, or set AZPG_HOME to a folder on another disk; then repeat the command."


@pytest.fixture
def disk() -> Iterator[OnDisk]:
    """Makes an AZPG_HOME on a disk of so many megabytes. The kernel lets root do that, and not every root."""
    folder = Path(tempfile.mkdtemp(prefix="azpg-disk-"))
    umount = find_program("umount")
    homes: list[Home] = []

    def make(megabytes: int) -> Home:
        if umount is None or os.geteuid() != 0:
            pytest.skip("only root mounts a disk")
        options = f"size={megabytes}m,mode=711"
        done = subprocess.run(
            [MOUNT, "-t", "tmpfs", "-o", options, "azpg-test", str(folder)],
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            pytest.skip(f"this kernel lets nobody mount: {done.stderr.strip()}")
        homes.append(Home(folder / "home"))
        return homes[-1]

    yield make
    for home in homes:
        (folder / "filled").unlink(missing_ok=True)
        remove_instances(home)
        assert umount is not None
        subprocess.run([umount, str(folder)], check=True)
    folder.rmdir()


def up(home: Home, *before: str) -> subprocess.CompletedProcess[str]:
    """Runs `azpg up`, by the program `before` if there is one."""
    return subprocess.run(
        [*before, *AZPG, "up"],
        env={**os.environ, "AZPG_HOME": str(home.root)},
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """The line with which a command failed."""
    assert done.returncode == 1, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    line = done.stderr.splitlines()[-1]
    assert line.startswith("azpg: ")
    assert "\\" not in line, "nothing but words"
    return line.removeprefix("azpg: ")


def fill(disk: Path) -> None:
    with (disk / "filled").open("wb", buffering=0) as file, suppress(OSError):
        while shutil.disk_usage(disk).free:
            file.write(bytes(1 << 16))


def test_no_room_for_postgresql_itself(disk: OnDisk) -> None:
    home = disk(12)
    pattern = rf"No space left on device: a copy of PostgreSQL takes \d\d MB, and 1\d MB are free in {home.server}. {FREE_SOME}"
    assert re.fullmatch(pattern, refusal(up(home)))
    assert home.instance_names() == []
    assert list(home.root.joinpath("instances").glob("*")) == []
    assert home.instance("default").os_user not in {one.pw_name for one in pwd.getpwall()}


def test_no_room_for_a_new_server_and_then_there_is(disk: OnDisk) -> None:
    home = disk(400)
    assert up(home).returncode == 0
    first = Instance(home=home)
    size = sum(file.lstat().st_size for file in home.server.rglob("*")) // 1_000_000
    first.down(delete=True)
    root = home.root.parent
    subprocess.run([MOUNT, "-o", f"remount,size={size + 33}m", str(root)], check=True)
    folder = first.home.root
    pattern = rf"No space left on device: a new server takes about \d\d MB, and \d\d MB are free in {folder}. {FREE_SOME}"
    assert re.fullmatch(pattern, refusal(up(home)))
    assert list(folder.glob("data*")) == []
    subprocess.run([MOUNT, "-o", "remount,size=400m", str(root)], check=True)
    assert up(home).returncode == 0
    # The same server, on a disk that has been filled since
    first.down()
    fill(root)
    line = refusal(up(home))
    free = "Free some, then repeat the command."
    assert line == f"No space left on device: 0 MB are free in {home.root}. {free}"
    (root / "filled").unlink()
    assert up(home).returncode == 0


def test_a_limit_of_the_size_of_files(home: Home) -> None:
    limit = "import os, resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (15_000_000,) * 2); os.execv(sys.argv[1], sys.argv[1:])"
    said = "this process may not write files of the size that is needed. Raise the limit, as by `ulimit -f unlimited`."
    assert refusal(up(home, sys.executable, "-c", limit)) == f"File too large: {said}"
