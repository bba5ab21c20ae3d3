"""Files that survive a crash whole, folders and logs with exactly the mode they should have."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path
from typing import IO

from azpg_runtime.errors import DiskFull, NotWritten

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


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


def not_written(what: str, error: OSError) -> NotWritten:
    """The error for something, named in words, that could not be written."""
    said = f"could not write {what}: {error.strerror or error}"
    if error.errno in _FULL:
        return DiskFull(said, hint="Free some space on that disk, then repeat the call.")
    return NotWritten(said)


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
