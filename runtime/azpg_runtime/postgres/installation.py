"""PostgreSQL as the instances run it: a server's files with our extensions among them.

The server finds extensions beside its own binary, so each AZPG_HOME gets its own prepared copy: hard
links where the file system allows, which cost nothing, real copies for root, because the server then runs
as a user who may not be able to reach the original. A copy is named after what went into it and never
changed afterwards; a running server keeps the one it started with.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from azpg_runtime.errors import InstanceError
from azpg_runtime.files import full_disk, make_folder
from azpg_runtime.home import Home

_DESCRIPTION = "installation.json"
_LEFT_OUT = {"bitcode", "doc", "pgxs", "pkgconfig"}  # folders that no server or client needs
_STAND_IN = "azpg_server.so"
_DECODING = ("test_decoding.so", "wal2json.so")
"""Logical decoding plug-ins of Azure; `_STAND_IN` says of those that a server lacks that it does."""


@dataclass(frozen=True, slots=True)
class Original:
    """A PostgreSQL to make a copy of.

    Attributes:
        root: a folder above all the others, which are relative to it and keep their places in the copy: that
            is how a moved server finds its files.
        bin: the folder of initdb, pg_ctl, postgres and psql.
        lib: the folder of the libraries that a server can load.
        share: the folder that holds `extension`.
        others: further folders and files that its programs need.
        extensions: our own files for this server, in `lib` and `share/extension`.
        key: stands for everything that goes into the copy.
    """

    major: int
    root: Path
    bin: Path
    lib: Path
    share: Path
    others: tuple[Path, ...]
    extensions: Path
    key: str


@dataclass(frozen=True, slots=True)
class Installation:
    """A PostgreSQL that can be started; the folders are those of `Original`."""

    major: int
    root: Path
    bin: Path
    lib: Path
    share: Path

    @classmethod
    def open(cls, root: Path) -> Installation:
        """The prepared copy in a folder. Raises `InstanceError` where there is none."""
        try:
            raw = json.loads((root / _DESCRIPTION).read_text())
            bin_, lib, share = (root / raw[name] for name in ("bin", "lib", "share"))
            return cls(int(raw["major"]), root, bin_, lib, share)
        except (OSError, ValueError, KeyError, TypeError):
            raise InstanceError(
                f"the server's files in {root} are missing or damaged.",
                hint="`azpg up` makes them again, once its postmaster has ended.",
            ) from None

    def has_extension(self, name: str) -> bool:
        """Whether the server carries an extension."""
        return (self.share / "extension" / f"{name}.control").is_file()

    def has_library(self, name: str) -> bool:
        """Whether the server carries a library that can be preloaded."""
        path = self.lib / f"{name}.so"
        return path.is_file() and not (path.is_symlink() and path.readlink() == Path(_STAND_IN))

    @property
    def lacks_it(self) -> str:
        """What is said of an extension or a library that the server does not carry."""
        return (
            f"this PostgreSQL {self.major} lacks it; `azpg up NAME --pg-config PATH` takes one that has it, "
            "and `azpg help extensions` says what each has"
        )


def prepared(home: Home, original: Original) -> Path:
    """Where `prepare` puts a copy."""
    return home.server / f"pg{original.major}-{original.key}"


def prepare(home: Home, original: Original, *, private: bool) -> Installation:
    """The prepared copy of a server, made if it does not exist yet.

    Args:
        home: where the copy lives.
        original: what to copy.
        private: False lets the copy share the original's files by hard links.
    """
    target = prepared(home, original)
    if target.is_dir():
        return Installation.open(target)
    make_folder(home.server, 0o755)
    temporary = Path(tempfile.mkdtemp(dir=home.server, prefix=f".pg{original.major}-"))
    copy = _copy if private else _link
    try:
        temporary.chmod(0o755)
        for part in (original.bin, original.share, *original.others, original.lib):
            if (original.root / part).is_dir():
                _tree(original.root / part, temporary / part, copy)
            else:
                make_folder((temporary / part).parent, 0o755)
                copy(str(original.root / part), temporary / part)
        _tree(original.extensions / "lib", temporary / original.lib, copy)
        _tree(original.extensions / "share" / "extension", temporary / original.share / "extension", copy)
        for name in _DECODING:
            if not os.path.lexists(temporary / original.lib / name):
                (temporary / original.lib / name).symlink_to(_STAND_IN)
        description = {name: str(getattr(original, name)) for name in ("major", "bin", "lib", "share")}
        (temporary / _DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n")
        (temporary / _DESCRIPTION).chmod(0o644)
        try:
            temporary.rename(target)
        except OSError:
            if not target.is_dir():  # otherwise another `azpg up` was quicker
                raise
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        needs = f"a copy of PostgreSQL takes {_size(original) / 1e6:.0f} MB"
        full = full_disk(error, home.server, needs=needs)
        if full is None:
            raise
        raise full from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Installation.open(target)


def _tree(source: Path, target: Path, copy: Callable[[str, Path], None]) -> None:
    """Copies a folder into another one, which may exist; files that are there already stay."""
    make_folder(target, 0o755)
    for entry in os.scandir(source):
        path = target / entry.name
        if entry.is_dir(follow_symlinks=False):
            if entry.name not in _LEFT_OUT:
                _tree(Path(entry.path), path, copy)
        elif not entry.name.endswith(".a") and not os.path.lexists(path):
            if entry.is_symlink():
                path.symlink_to(_link_target(Path(entry.path)))
            else:
                copy(entry.path, path)


def _size(original: Original) -> int:
    """Bytes of the files that go into a copy, but for our own."""
    parts = [original.root / part for part in (original.bin, original.share, *original.others, original.lib)]
    files = {file for part in parts for file in (part.rglob("*") if part.is_dir() else [part])}
    return sum(file.lstat().st_size for file in files)


def _link_target(link: Path) -> Path:
    """Where a link leads: as it is within its folder, else to the place it means."""
    named = link.readlink()
    return named if len(named.parts) == 1 else link.parent.joinpath(named)


def _copy(source: str, target: Path) -> None:
    shutil.copyfile(source, target)
    target.chmod(0o755 if Path(source).stat().st_mode & stat.S_IXUSR else 0o644)


def _link(source: str, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or files of another owner
        _copy(source, target)
