"""The operating system's users that a server runs as: ourselves, or unprivileged ones when we are root.

Root gives each instance two users of its own, so that code that somebody gets to run in one server, or in
its model host, reaches no other server's data. They are real users with names, made by useradd: initdb and
peer authentication look a name up, and ids that no user has could be given away by others, such as
containers. They go with the instance.
"""

from __future__ import annotations

import os
import pwd
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from azpg.errors import UsageError
from azpg.process import find_program
from azpg_runtime.errors import InstanceError
from azpg_runtime.system.locks import locked
from azpg_runtime.system.ownership import give_tree

SHARED_OS_USER = "azpg"
"""Whom all instances of root ran as before each had its own; `up` gives them that."""
_OWN = re.compile(r"azpg-[0-9a-f]{10}")
"""`InstanceHome.os_user`, also that of a home which has been moved since."""
_LOCK = Path("/run/azpg/users.lock")
"""Held by root while it makes or removes a user: useradd itself waits for others a whole second at a time."""
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

    def own_tree(self, root: Path) -> None:
        """Gives a folder and what is in it to this user, unless it has it already; see `give_tree`."""
        if self.other:
            give_tree(root, uid=self.uid, gid=self.gid)

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


def server_account(os_user: str, *, create: bool = False) -> Account:
    """The user to run PostgreSQL as.

    Args:
        os_user: as root, the user's name. Anybody else runs everything as themselves, whatever it says.
        create: whether a user that does not exist is made.

    Raises `InstanceError`, and `UsageError` for a name that cannot be given to a new user.
    """
    if os.geteuid() != 0:
        return own_account()
    found = _find(os_user) or (_made(os_user) if create else None)
    if found is None:
        raise InstanceError(
            f"the user {os_user!r}, which PostgreSQL runs as, does not exist.",
            hint="`azpg up` makes it again.",
        )
    if found.uid == 0:
        raise InstanceError("PostgreSQL refuses to run as root.", hint="Name another user with --os-user.")
    return found


def check_os_user(os_user: str | None) -> None:
    """Raises `InstanceError` for somebody who is not root and wants to run PostgreSQL as another user."""
    if os.geteuid() != 0 and os_user not in {None, own_account().name}:
        raise InstanceError(f"only root can run PostgreSQL as {os_user!r}.", hint="Leave --os-user out.")


def _made(name: str) -> Account:
    if not _OS_USER.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot be a user's name: use up to 32 lower-case letters, digits, '_' and '-', "
            "a letter or '_' first"
        )
    useradd = find_program("useradd")
    said = "there is no program useradd"
    if useradd is not None:
        with locked(_LOCK):
            done = subprocess.run(
                [
                    *(useradd, "--system", "--no-create-home", "--home-dir", "/nonexistent"),
                    *("--user-group", "--shell", "/bin/false", "--", name),
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


def host_os_user(os_user: str) -> str:
    """The user that the model host of a server becomes: one of its own where the server has one."""
    return f"{os_user}-m" if _OWN.fullmatch(os_user) else os_user


def remove_users(os_user: str) -> None:
    """As root, removes the users that were made for an instance, which has ended; others are left alone."""
    userdel = find_program("userdel")
    if os.geteuid() != 0 or userdel is None or not _OWN.fullmatch(os_user):
        return
    for name in (host_os_user(os_user), os_user):
        if _find(name) is not None:
            with locked(_LOCK):
                subprocess.run([userdel, "--", name], check=False, capture_output=True)


def _find(key: str | int) -> Account | None:
    try:
        entry = pwd.getpwnam(key) if isinstance(key, str) else pwd.getpwuid(key)
    except KeyError:
        return None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
