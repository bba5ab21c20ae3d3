"""A model's folder as somebody else made it: its files are opened so that none leads out of it.

Whoever adds a model publishes what its files hold. In a folder of somebody else's, a link may point at a
file that only we may read; so links are followed by ourselves, one component after the other and from open
folders, where nobody can exchange what was looked at.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Literal

from azpg_runtime.errors import ModelUnreadable
from azpg_runtime.models.sources import unreadable

_MOST_LINKS = 40  # as the kernel
_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_SNAPSHOTS, _REPOSITORY = "snapshots", "models--"


class ForeignFolder:
    """A folder with a model, held open.

    Links in it may lead to any place of the folder, and in the Hugging Face hub's cache, which is made of
    links, to any place of the same repository. They and what they lead to must have the same owner.

    Args:
        path: the folder; links on the way to it are followed.

    Raises `ModelUnreadable` if it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            real = path.resolve(strict=True)
            self._boundary = _boundary(real)
            self._descriptor = os.open(self._boundary, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except (OSError, RuntimeError, ValueError) as error:
            raise unreadable(path, error) from None
        self._inside = real.relative_to(self._boundary)

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)

    def file(self, name: str) -> ForeignFile:
        """The file of that name, which need not exist; `name` may name folders, too."""
        return ForeignFile(self, PurePosixPath(name))

    def open(self, name: PurePosixPath) -> BinaryIO:
        """Opens a regular file to read it. Raises `ModelUnreadable`, with the `OSError` as its cause."""
        try:
            descriptor = self._walk(name)
        except (OSError, ValueError) as error:
            raise unreadable(self.path / name, error) from error
        return os.fdopen(descriptor, "rb")

    def _walk(self, name: PurePosixPath) -> int:
        """A descriptor of the file, found without leaving the boundary, whatever happens meanwhile."""
        waiting = [*reversed((self._inside / name).parts)]
        owners: set[int] = set()
        links = 0
        with ExitStack() as held:
            folders = [self._descriptor]
            while waiting:
                part = waiting.pop()
                if part == "..":
                    folders.pop()
                    if not folders:
                        raise self._leaves(name)
                    continue
                found = os.open(part, _LOOK, dir_fd=folders[-1])
                held.callback(os.close, found)
                about = os.fstat(found)
                if stat.S_ISLNK(about.st_mode):
                    links += 1
                    target = os.readlink("", dir_fd=found)
                    if links > _MOST_LINKS:
                        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                    if target.startswith("/"):
                        raise self._leaves(name)
                    owners.add(about.st_uid)
                    waiting.extend(part for part in reversed(target.split("/")) if part not in {"", "."})
                elif stat.S_ISDIR(about.st_mode):
                    folders.append(found)
                elif waiting:
                    raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
                else:
                    self._check(name, about, owners, os.fstat(folders[-1]))
                    # The very file that was looked at: a name could be another's by now.
                    return os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_CLOEXEC)
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))

    def _check(
        self, name: PurePosixPath, about: os.stat_result, owners: set[int], folder: os.stat_result
    ) -> None:
        if not stat.S_ISREG(about.st_mode):
            raise ModelUnreadable(f"could not read {self.path / name}: {name} is no file")
        if owners - {about.st_uid}:
            raise ModelUnreadable(
                f"could not read {self.path / name}: {name} is a link to a file of another owner",
                hint="Put the file itself into the folder, in place of the link.",
            )
        # A hard link, or a file that was moved here: its reader may be allowed more than the folder's owner.
        if about.st_uid != folder.st_uid and not about.st_mode & stat.S_IROTH:
            raise ModelUnreadable(
                f"could not read {self.path / name}: {name} belongs to somebody else than its folder, "
                "and not everybody may read it",
                hint="Give it to the owner of the folder, or let everybody read it: `chmod o+r`.",
            )

    def _leaves(self, name: PurePosixPath) -> ModelUnreadable:
        return ModelUnreadable(
            f"could not read {self.path / name}: {name} is a link that leaves the model's folder",
            hint="Put the file itself into the folder, in place of the link.",
        )


@dataclass(frozen=True, slots=True)
class ForeignFile:
    """A file of a `ForeignFolder`, by its name there; it need not exist."""

    folder: ForeignFolder
    place: PurePosixPath

    @property
    def name(self) -> str:
        """Its last component."""
        return self.place.name

    @property
    def path(self) -> Path:
        """For people: where it is."""
        return self.folder.path / self.place

    def beside(self, name: str) -> ForeignFile:
        """The file `name` in the same folder."""
        return ForeignFile(self.folder, self.place.parent / name)

    def open(self, mode: Literal["rb"] = "rb") -> BinaryIO:
        """See `ForeignFolder.open`; as a `Path` is opened."""
        return self.folder.open(self.place)

    def exists(self) -> bool:
        """Whether there is anything of that name. Raises `ModelUnreadable` for a link that is refused."""
        try:
            self.open().close()
        except ModelUnreadable as error:
            if isinstance(error.__cause__, FileNotFoundError | NotADirectoryError):
                return False
            raise
        return True


def _boundary(folder: Path) -> Path:
    """The folder that links must not leave: of the hub's cache, the repository's."""
    for one in (folder, *folder.parents):
        if one.parent.name == _SNAPSHOTS and one.parent.parent.name.startswith(_REPOSITORY):
            return one.parent.parent
    return folder
