"""Starting and stopping the model host of one instance, from outside."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from azpg_runtime.errors import HostError
from azpg_runtime.home import InstanceHome
from azpg_runtime.host.client import host_status
from azpg_runtime.supervision.control import Supervised
from azpg_runtime.system.logs import rotate

_ANSWER_TIMEOUT = 5.0
_KEPT = ("registry.json", "settings.json", "deployments.json")
"""The host's own files, in `InstanceHome.host`."""
_LOCK = "supervisor.lock"
_REACHES = """\
import os, sys
import azpg_runtime.host
try:
    os.listdir(sys.argv[1])
except FileNotFoundError:
    pass
"""
"""Tried as the host's user, with the model store as argument."""


@dataclass(frozen=True, slots=True)
class HostUser:
    """The user that a host which root starts becomes: it reads models and texts of whoever may call it."""

    name: str
    uid: int
    gid: int


class HostControl:
    """The supervisor of one instance and, through it, the host.

    Args:
        home: the instance's folders.
        server_uid: the user id that PostgreSQL runs as.
        memory_limit: bytes that loaded models may take, for a host that is launched; None for the host's own
            choice.
    """

    def __init__(self, home: InstanceHome, *, server_uid: int, memory_limit: int | None = None) -> None:
        self._home = home
        self._server_uid = server_uid
        self._memory_limit = memory_limit
        self._supervised = Supervised(
            "model host",
            word="host",
            lock=home.host / _LOCK,
            log=home.host_log,
            socket=home.host_socket,
        )

    def running(self) -> bool:
        """Whether a supervisor runs."""
        return self._supervised.running()

    def status(self) -> dict[str, Any] | None:
        """What the host says about itself, or None when it does not answer."""
        return host_status(self._home.host_socket) if self.running() else None

    def launch(self, user: HostUser | None = None, *, say: Callable[[str], None] = lambda _: None) -> None:
        """Starts the supervisor unless it runs.

        Args:
            user: whom the host becomes, if root starts it.
            say: told that it cannot, because that user does not reach Python or the models.

        Raises `InstanceError`.
        """
        if self.running():
            return
        home = self._home
        home.host.mkdir(mode=0o700, exist_ok=True)
        rotate(home.host_log)
        if user is not None and not self._reaches(user):
            say(
                f"The model host runs as root: {user.name} cannot read {sys.prefix} and {home.home.models}, "
                "which it would need to run as nobody special (`azpg help servers`)"
            )
            user = None
        self._share(user)
        host = [
            *("--store", str(home.home.models), "--folder", str(home.host)),
            *("--models-folder", str(home.models)),
        ]
        for uid in sorted({os.geteuid(), self._server_uid}):
            host += ["--uid", str(uid)]
        if self._memory_limit is not None:
            host += ["--memory-limit", str(self._memory_limit)]
        listen = ["--socket", str(home.host_socket), "--owner", str(self._server_uid)]
        if user is not None:
            listen += ["--service-user", str(user.uid)]
            host += ["--become", str(user.uid), str(user.gid), "--own-store", str(home.own_store)]
        self._supervised.launch(
            *listen,
            module="azpg_runtime.host",
            arguments=host,
        )

    def _reaches(self, user: HostUser) -> bool:
        """Whether the host could do its work as `user`."""
        try:
            done = subprocess.run(
                [sys.executable, "-P", "-c", _REACHES, str(self._home.home.models)],
                check=False,
                cwd="/",
                stdin=subprocess.DEVNULL,
                capture_output=True,
                user=user.uid,
                group=user.gid,
                extra_groups=[],
            )
        except PermissionError:  # not even the program
            return False
        return done.returncode == 0

    def _share(self, user: HostUser | None) -> None:
        """Lets the host's user read the models folder, and write in its own, which stays root's.

        There the sticky bit keeps from it what it does not own: root sends signals to whom the lock names.
        """
        home = self._home
        if user is None:
            home.host.chmod(0o700)
            return
        (home.host / _LOCK).touch(mode=0o600)
        for name in _KEPT:
            _give(home.host / name, user)
        for folder, mode in ((home.host, 0o1770), (home.models, 0o750)):
            os.chown(folder, 0, user.gid, follow_symlinks=False)
            folder.chmod(mode)

    def wait_until_ready(self) -> None:
        """Returns after the host's first answer. Raises `HostError`."""
        self._supervised.wait_until_ready(
            lambda: host_status(self._home.host_socket, timeout=_ANSWER_TIMEOUT) is not None,
            failure=HostError,
            hint=f"See `azpg logs --host {self._home.name}`.",
        )

    def stop(self) -> None:
        """Ends the supervisor and the host, and returns when both are gone. Raises `InstanceError`."""
        self._supervised.stop()


def _give(path: Path, user: HostUser) -> None:
    """Makes `user` the owner of an ordinary file that has no other name."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # most often there is none yet
        return
    try:
        found = os.fstat(descriptor)
        if stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
            os.fchown(descriptor, user.uid, user.gid)
    finally:
        os.close(descriptor)
