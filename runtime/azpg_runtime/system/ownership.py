"""Giving a folder and all in it from one user to another, whatever the first does with it meanwhile.

That user's processes may still run, and put links and other folders in the place of what has just been looked
at. So nothing is given by its path: a descriptor says what something is, and that is given, or left alone.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from azpg_runtime.errors import InstanceError
from azpg_runtime.files import read_plainly, write_atomically

_DEEPEST = 64
"""Folders within each other; PostgreSQL's are at most four."""
_LONGEST = 20
"""Bytes of a user's number."""


def give_tree(root: Path, *, uid: int, gid: int) -> None:
    """Gives a folder and what its owner has in it to another user.

    What belongs to anybody else in there stays theirs, such as a file of root's that was linked into it. A
    link is given, what it leads to is not. First root takes the folder, so that nobody else gets into it, and
    gives it away last; what was interrupted is done again.

    Args:
        root: the folder, in one that only root can write. Beside it stands meanwhile whose it was.
        uid: to whom; if it is theirs already, nothing is done.
        gid: that user's group.

    Raises `InstanceError` for folders that nobody nests so deeply, `OSError`.
    """
    record = root.with_name(f"{root.name}.owner")
    top = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if os.fstat(top).st_uid != uid:
            before = _owner(top, record)
            os.fchown(top, 0, 0)
            os.fchmod(top, stat.S_IRWXU)
            _give_entries(top, before, uid, gid, root, depth=1)
            os.fchown(top, uid, gid)
        record.unlink(missing_ok=True)
    finally:
        os.close(top)


def _owner(top: int, record: Path) -> int:
    """Whose the folder was before root took it, which is written down first."""
    before = os.fstat(top).st_uid
    if before == 0 and record.exists():  # what was interrupted
        return int(read_plainly(record, limit=_LONGEST))
    write_atomically(record, f"{before}\n", mode=0o600)
    return before


def _give_entries(folder: int, before: int, uid: int, gid: int, root: Path, *, depth: int) -> None:
    if depth > _DEEPEST:
        raise InstanceError(
            f"folders in {root} are more than {_DEEPEST} deep, which none of PostgreSQL's is.",
            hint="Look at what is in there, and take away what is not PostgreSQL's.",
        )
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries]
    for name in names:
        try:
            with _opened(name, os.O_PATH, folder) as entry:
                found = os.fstat(entry)
                if found.st_uid == before and not (before == 0 and _has_other_names(found)):
                    os.chown(f"/proc/self/fd/{entry}", uid, gid)
                elif found.st_uid != uid:
                    continue
                if stat.S_ISDIR(found.st_mode):
                    with _opened(".", os.O_RDONLY | os.O_DIRECTORY, entry) as below:
                        _give_entries(below, before, uid, gid, root, depth=depth + 1)
        except FileNotFoundError:  # removed or moved since it was listed
            continue


def _has_other_names(found: os.stat_result) -> bool:
    return not stat.S_ISDIR(found.st_mode) and found.st_nlink > 1


@contextmanager
def _opened(name: str, how: int, folder: int) -> Iterator[int]:
    """A descriptor of what has that name in a folder, of a link itself."""
    descriptor = os.open(name, how | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
