"""The operating system's user that PostgreSQL runs as: ourselves, or an unprivileged one when we are root."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from azpg.errors import UsageError
from azpg_runtime.errors import InstanceError

DEFAULT_OS_USER = "azpg"
_OS_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")


@dataclass(frozen=True, slots=True)
class Account:
    """A user of this machine."""

    name: str
    uid: int
    gid: int

    @property
    def other(self) -> bool:
        """Whether it is somebody else than this process."""
        return self.uid != os.geteuid()

    def run_options(self) -> dict[str, Any]:
        """What makes `subprocess` run a command as this user."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []} if self.other else {}

    def own(self, path: Path) -> None:
        """Gives an existing path to this user."""
        if self.other:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def check_runs(self, program: Path) -> None:
        """Raises `InstanceError` unless this user can run `program`, by running it for its version."""
        try:
            subprocess.run(
                [str(program), "--version"],
                cwd="/",
                check=False,
                capture_output=True,
                **self.run_options(),
            )
        except PermissionError:
            raise InstanceError(
                f"the user {self.name!r}, which PostgreSQL runs as, cannot reach {program}.",
                hint="Set AZPG_HOME to a folder whose parents that user may enter, such as /var/lib/azpg.",
            ) from None


def own_account() -> Account:
    """The user of this process. Raises `InstanceError` for one without a name."""
    own = _find(os.geteuid())
    if own is None:
        raise InstanceError(
            f"user id {os.geteuid()} has no name, and PostgreSQL does not start without one.",
            hint="Add the user to /etc/passwd.",
        )
    return own


def server_account(os_user: str | None, *, create: bool = False) -> Account:
    """The user to run PostgreSQL as.

    Args:
        os_user: as root, the user's name; None stands for `DEFAULT_OS_USER`. Anybody else runs everything as
            themselves and may not name another.
        create: whether a user that does not exist is made.

    Raises `InstanceError`, and `UsageError` for a name that cannot be given to a new user.
    """
    if os.geteuid() != 0:
        own = own_account()
        if os_user not in {None, own.name}:
            raise InstanceError(f"only root can run PostgreSQL as {os_user!r}.", hint="Leave --os-user out.")
        return own
    name = os_user or DEFAULT_OS_USER
    found = _find(name) or (_made(name) if create else None)
    if found is None:
        raise InstanceError(
            f"the user {name!r}, which PostgreSQL runs as, does not exist.", hint="`azpg up` makes it again."
        )
    if found.uid == 0:
        raise InstanceError("PostgreSQL refuses to run as root.", hint="Name another user with --os-user.")
    return found


def _made(name: str) -> Account:
    if not _OS_USER.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot be a user's name: use up to 32 lower-case letters, digits, '_' and '-', "
            "a letter or '_' first"
        )
    said = "there is no program useradd"
    with contextlib.suppress(FileNotFoundError):
        done = subprocess.run(
            [
                *("useradd", "--system", "--no-create-home", "--home-dir", "/nonexistent"),
                *("--shell", "/bin/false", "--", name),
            ],
            check=False,
            capture_output=True,
            text=True,
        )
        said = done.stderr.strip()
    found = _find(name)  # also when another `azpg up` was quicker
    if found is None:
        raise InstanceError(
            f"the user {name!r} could not be created: {said}.",
            hint="Name an existing unprivileged user with --os-user.",
        )
    return found


def _find(key: str | int) -> Account | None:
    try:
        entry = pwd.getpwnam(key) if isinstance(key, str) else pwd.getpwuid(key)
    except KeyError:
        return None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
