"""Locks on files, which the kernel frees however their holder ends.

There are two kinds. `locked` waits for its turn. `claim` is for a process that holds on for life, and
`holder` asks the kernel who that is without touching the lock, so that asking can never keep the process
from taking it, and the answer is never the number of a process that was there before.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from azpg_runtime.files import make_folder
from azpg_runtime.wait import wait_for

UNKNOWN = 0
"""Stands for a holder that cannot be told from here, such as one in another container."""
_CLAIM_TIMEOUT = 2.0
_FLOCK = "hhqqi4x"
"""struct flock of 64-bit Linux: l_type, l_whence, l_start, l_len, l_pid."""


@contextlib.contextmanager
def locked(path: Path, *, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Holds an exclusive lock on `path`, which is made and never removed; the kernel frees it at exit.

    `waiting` is called once if somebody else holds the lock.
    """
    make_folder(path.parent, 0o700)
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)) as file:
        if not _flock(file.fileno(), fcntl.LOCK_EX):
            if waiting is not None:
                waiting()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def claim(path: Path) -> IO[str] | None:
    """Takes the lock on `path` for this process and writes its id into the file.

    The lock is the process's own: a child made by fork does not have it. It ends when the process does, or
    closes the file, or opens it once more and closes that.

    Returns:
        The file, which is to be kept open; None if another process holds the lock.
    """
    file = path.open("a+")
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        file.close()
        return None
    # By this lock azpg up to e0fcee3 knows that the file has a holder. Those who ask for it have it for a
    # moment; whoever asks from now on finds the first lock, and leaves this one alone.
    if not wait_for(lambda: _flock(file.fileno(), fcntl.LOCK_EX), timeout=_CLAIM_TIMEOUT):
        file.close()
        return None
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file


def holder(path: Path) -> int | None:
    """The id of the process that holds the lock of `claim`, `UNKNOWN` if it cannot be told, None if none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))
        if kind != fcntl.F_UNLCK:
            return max(int(pid), UNKNOWN)
        if _flock(descriptor, fcntl.LOCK_SH):
            return None
        return _older_holder(descriptor)
    finally:
        os.close(descriptor)


def _older_holder(descriptor: int) -> int:
    """The holder of a lock as azpg took it up to e0fcee3: whom the file names, if that has the file open."""
    with contextlib.suppress(OSError, ValueError):
        pid, file = int(os.pread(descriptor, 32, 0)), os.fstat(descriptor)
        if any(os.path.samestat(file, one.stat()) for one in Path(f"/proc/{pid}/fd").iterdir()):
            return pid
    return UNKNOWN


def _flock(descriptor: int, how: int) -> bool:
    """Whether a lock of the file as a whole could be taken at once."""
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
