"""Root that does something with another user's rights, so that it can be led no further than that user."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def as_owner_of(folder: Path) -> Iterator[None]:
    """Within the block, root has the rights of the user and group that `folder` belongs to; others their own.

    That is for looking at files and changing them in a folder that somebody else may change at the same time.
    All threads of the process have these rights for so long.

    Raises `OSError` if there is no such folder.
    """
    owner = folder.lstat()
    if os.geteuid() != 0 or owner.st_uid == 0:
        yield
        return
    groups, group = os.getgroups(), os.getegid()
    os.setgroups([])
    os.setegid(owner.st_gid)
    os.seteuid(owner.st_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(groups)
