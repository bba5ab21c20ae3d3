"""Files that survive a crash whole, folders and logs with exactly the mode they should have."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import IO

from azpg_runtime.errors import DiskFull, NotWritten

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_LARGEST = 16 << 20
_NEARLY_NOTHING = 1_000_000
"""Bytes: with less than this free, a disk counts as full."""


def write_atomically(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Replaces `path` by a file that holds `text` and has `mode`, and syncs it to the disk."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), mode)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def read_plainly(path: Path, *, limit: int = _LARGEST) -> bytes:
    """All of a file in a folder that another user may write in: no link, no pipe, nothing endless.

    Raises `OSError`, also for what is no ordinary file, and for one of more than `limit` bytes.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENXIO}:  # a link, a socket
            raise OSError(errno.EINVAL, "it is no ordinary file") from None
        raise
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no ordinary file")
        raw = file.read(limit + 1)
    if len(raw) > limit:
        raise OSError(errno.EINVAL, f"it is over {limit} bytes")
    return raw


def not_written(what: str, error: OSError) -> NotWritten:
    """The error for something, named in words, that could not be written."""
    said = f"could not write {what}: {error.strerror or error}"
    if error.errno in _FULL:
        return DiskFull(said, hint="Free some space on that disk, then repeat the call.")
    return NotWritten(said)


def full_disk(failure: OSError | str, folder: Path, *, needs: str = "") -> DiskFull | None:
    """The error for a failure if the reason is that the disk is full, else None.

    Args:
        failure: what happened, or what a program said of it, which runs without a locale.
        folder: on the disk in question.
        needs: what was to be written and how much that is, as a clause.
    """
    words = [os.strerror(number) for number in _FULL]
    if isinstance(failure, OSError):
        reason = os.strerror(failure.errno) if failure.errno in _FULL else None
    else:
        reason = next((one for one in words if one in failure), None)
    free = shutil.disk_usage(folder).free
    if reason is None and free < _NEARLY_NOTHING and not isinstance(failure, OSError):
        reason = os.strerror(errno.ENOSPC)  # a log on the same disk cannot say so
    if reason is None:
        return None
    if reason == os.strerror(errno.EFBIG):
        said = "this process may not write files of the size that is needed."
        return DiskFull(f"{reason}: {said}", hint="Raise the limit, as by `ulimit -f unlimited`.")
    there = f"{free / 1e6:.0f} MB are free in {folder}"
    if needs:
        return DiskFull(
            f"{reason}: {needs}, and {there}.",
            hint="Free some, or set AZPG_HOME to a folder on another disk; then repeat the command.",
        )
    return DiskFull(f"{reason}: {there}.", hint="Free some, then repeat the command.")


def make_folder(path: Path, mode: int) -> None:
    """Makes a folder and its parents with `mode`, whatever the umask says; what exists is left alone."""
    try:
        path.mkdir(mode=mode)
    except FileNotFoundError:
        make_folder(path.parent, mode)
        make_folder(path, mode)
    except FileExistsError:
        if not path.is_dir():
            raise
    else:
        path.chmod(mode)


def open_log(path: Path) -> IO[bytes]:
    """Opens a log at its end; nobody else may read it, for statements stand in it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    os.fchmod(descriptor, 0o600)
    file = os.fdopen(descriptor, "ab")
    file.seek(0, os.SEEK_END)
    return file


def sync_folder(folder: Path) -> None:
    """Syncs a folder's entries to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
