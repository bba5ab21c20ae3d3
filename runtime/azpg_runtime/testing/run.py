"""One run of tests: an AZPG_HOME of its own, shared by the processes of the run and removed after it.

Each process that uses the folder holds a shared lock on a file in it, which the kernel frees however the
process ends. A folder whose lock nobody holds was left by a run that was killed; the next run removes it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import stat
from dataclasses import asdict
from pathlib import Path

from azpg.errors import AzpgError, UsageError
from azpg_runtime.errors import InstanceError
from azpg_runtime.files import write_atomically
from azpg_runtime.home import Home
from azpg_runtime.models import ModelStore
from azpg_runtime.postgres.instance import Instance
from azpg_runtime.system.locks import locked
from azpg_runtime.testing import PREFIX
from azpg_runtime.testing.databases import Databases
from azpg_runtime.testing.wanted import Wanted

_LOCK = "run.lock"


class Run:
    """The run whose folder is `root`, a direct child of a folder for temporary files.

    Making the object touches nothing.
    """

    def __init__(self, root: Path) -> None:
        self.home = Home(root)
        self.store = ModelStore(Home.from_environment().models)
        self._lock: int | None = None
        self._databases: dict[str, Databases] = {}

    def join(self) -> None:
        """Makes the folder, or joins the processes that use it. Raises `InstanceError`."""
        while self._lock is None:
            with contextlib.suppress(FileNotFoundError):  # a run that removes leftovers was here meanwhile
                self._lock = self._enter()
        if self.store.root.is_dir():
            with contextlib.suppress(FileExistsError):
                self.home.models.symlink_to(self.store.root)

    def twin(self, name: str, wanted: Wanted) -> Instance:
        """The running twin of that name, made unless another process of the run was quicker.

        Raises `AzpgError`, also for a twin that exists and is not as `wanted`.
        """
        wanted.check(self.store)
        self.join()
        twin = Instance(name, home=self.home)
        made, properties = twin.home.root / "made.json", json.dumps(asdict(wanted))
        with locked(self._making(name)):
            if not made.exists():
                twin.up(wanted.wishes())
                self.databases(twin).prepare(wanted)
                write_atomically(made, properties)
        if made.read_text() != properties:
            raise UsageError(f"the twin {name!r} was made with other properties: give this one another name")
        return twin

    def databases(self, twin: Instance) -> Databases:
        """The databases of tests on a twin of this run. Raises `UsageError` for any other twin."""
        if twin.home.home != self.home:
            raise UsageError("azpg_twin must be a twin that azpg_twin_factory made")
        return self._databases.setdefault(twin.name, Databases(twin, lock=self._making(twin.name)))

    def keep(self) -> None:
        """Leaves everything as it is, also when the next run looks for leftovers."""
        (self.home.root / _LOCK).unlink(missing_ok=True)

    def remove(self) -> None:
        """Ends the twins and removes the folder. Raises `AzpgError` or OSError where that fails."""
        if self._lock is None:
            self._lock = _hold(self.home.root, fcntl.LOCK_SH)
        try:
            if self.home.root.exists():
                _remove(self.home)
        finally:
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None

    def _enter(self) -> int | None:
        root = self.home.root
        try:
            root.mkdir(mode=0o700)
        except FileExistsError:
            if not _is_ours(root):
                raise InstanceError(f"{root} belongs to somebody else.", hint="Remove it.") from None
        else:
            _remove_leftovers(root)
        if os.geteuid() == 0:
            root.chmod(0o711)  # PostgreSQL runs as somebody else
        return _hold(root, fcntl.LOCK_SH, create=True)

    def _making(self, name: str) -> Path:
        return self.home.root / "locks" / f"{name}.making.lock"


def _is_ours(root: Path) -> bool:
    found = root.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()


def _hold(root: Path, how: int, *, create: bool = False) -> int | None:
    """Locks a run's folder and returns the descriptor; None if it is gone or, for LOCK_NB, in use."""
    path, flags = root / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_CREAT if create else 0)
    try:
        descriptor = os.open(path, flags, 0o600)
    except FileNotFoundError:
        return None
    with contextlib.suppress(BlockingIOError, FileNotFoundError):
        fcntl.flock(descriptor, how)
        if os.path.samestat(os.fstat(descriptor), path.stat()):  # else it was removed meanwhile
            return descriptor
    os.close(descriptor)
    return None


def _remove_leftovers(root: Path) -> None:
    """Removes what killed runs left beside `root`. What cannot be removed stays for another try."""
    for left in root.parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(AzpgError, OSError):
            if left == root or not _is_ours(left):
                continue
            lock = _hold(left, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if lock is None:
                continue
            try:
                _remove(Home(left))
            finally:
                os.close(lock)


def _remove(home: Home) -> None:
    instances = home.root / "instances"
    for entry in instances.iterdir() if instances.is_dir() else ():
        if not entry.name.startswith("."):  # half-removed already
            _end(Instance(entry.name, home=home))
    shutil.rmtree(home.root)


def _end(twin: Instance) -> None:
    twin.discard()  # also one that was killed before it was written what it is
