"""A PostgreSQL that somebody brings: found through its pg_config, our extensions built for it by PGXS."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from azpg_runtime.errors import InstanceError
from azpg_runtime.files import make_folder
from azpg_runtime.home import Home
from azpg_runtime.postgres.installation import Original

SUPPORTED = range(15, 19)
_LIBRARIES = ("azure_local_ai", "azpg_server")
_ASKED = ("bindir", "pkglibdir", "sharedir", "includedir-server", "pgxs", "version")
_SYSTEM = re.compile(r"/(usr/)?lib(32|64|x32)?/")
_VERSION = re.compile(r"PostgreSQL (\d+)")


@dataclass(frozen=True, slots=True)
class PgConfig:
    """What a pg_config says of its PostgreSQL.

    Attributes:
        version: such as `PostgreSQL 15.18 (Debian 15.18-0+deb12u1)`.
        pgxs: the Makefile that extensions are built with.
    """

    path: Path
    major: int
    version: str
    bin: Path
    lib: Path
    share: Path
    headers: Path
    pgxs: Path

    @classmethod
    def ask(cls, path: Path) -> PgConfig:
        """Raises `InstanceError` for what is no pg_config, or one of a PostgreSQL that azpg cannot use."""
        said = [_answer(path, option) for option in _ASKED]
        version = said[-1]
        match = _VERSION.match(version)
        if match is None:
            raise _no_pg_config(path, f"it calls its version {version[:60]!r}")
        found = cls(path, int(match[1]), version, *(Path(one) for one in said[:-1]))
        if found.major not in SUPPORTED:
            raise InstanceError(
                f"{version} cannot be used.", hint=f"Use PostgreSQL {SUPPORTED[0]} to {SUPPORTED[-1]}."
            )
        if not (found.bin / "postgres").is_file():
            raise InstanceError(
                f"{version} has no server: {found.bin / 'postgres'} is missing.",
                hint=f"On Debian and Ubuntu, install postgresql-{found.major}.",
            )
        return found

    def original(self, home: Home) -> Original:
        """The server with our extensions, built now if they have not been. Raises `InstanceError`."""
        sources = Path(str(files("azpg_runtime") / "shim"))
        built = self._key(sources)
        extensions = self._extensions(home, sources, built)
        # A moved server finds its files if they lie to each other as they did.
        libraries = _libraries([self.bin, self.lib])
        root = Path(os.path.commonpath([self.bin, self.lib, self.share, *libraries]))
        return Original(
            major=self.major,
            root=root,
            bin=self.bin.relative_to(root),
            lib=self.lib.relative_to(root),
            share=self.share.relative_to(root),
            others=tuple(library.relative_to(root) for library in libraries),
            extensions=extensions,
            key=self._key_with_neighbours(built),
        )

    def _key(self, sources: Path) -> str:
        """Changes with what our extensions are built from and for."""
        server = (self.bin / "postgres").stat()
        about = (self.version, str(self.bin), str(server.st_size), str(server.st_mtime_ns))
        digest = hashlib.sha256("\0".join(about).encode())
        for path in sorted(sources.iterdir()):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
        return digest.hexdigest()[:12]

    def _key_with_neighbours(self, key: str) -> str:
        """Changes also with other extensions, which may be installed later and get into a new copy."""
        digest = hashlib.sha256(key.encode())
        for folder in (self.lib, self.share / "extension"):
            for entry in sorted(os.scandir(folder), key=lambda entry: entry.name) if folder.is_dir() else ():
                # A link that leads nowhere has a time of its own, too.
                changed = entry.stat(follow_symlinks=entry.is_file()).st_mtime_ns
                digest.update(f"{entry.name}\0{changed}\0".encode())
        return digest.hexdigest()[:12]

    def _extensions(self, home: Home, sources: Path, key: str) -> Path:
        """Our files for this server: a folder with `lib` and `share/extension`."""
        target = home.server / f"shim-pg{self.major}-{key}"
        if target.is_dir():
            return target
        if missing := self.missing():
            raise InstanceError(
                f"the extensions cannot be built for {self.version}; missing: {', '.join(missing)}.",
                hint=f"On Debian and Ubuntu, install make, gcc and postgresql-server-dev-{self.major}.",
            )
        make_folder(home.server, 0o755)
        with tempfile.TemporaryDirectory(dir=home.server, prefix=".build-") as folder:
            built = Path(folder) / "built"
            extension = built / "share" / "extension"
            make_folder(built / "lib", 0o755)
            make_folder(extension, 0o755)
            for library in _LIBRARIES:
                shutil.copy(self._build(library, sources, Path(folder) / library), built / "lib")
            for path in sources.iterdir():
                if path.suffix in {".control", ".sql"}:
                    shutil.copyfile(path, extension / path.name)
            try:
                built.rename(target)
            except OSError:
                if not target.is_dir():  # otherwise another `azpg up` was quicker
                    raise
        return target

    def missing(self) -> list[str]:
        """What building our extensions for this server needs and is not here; empty if all of it is."""
        missing = []
        if shutil.which("make") is None:
            missing.append("make")
        if shutil.which("cc") is None:
            missing.append("a C compiler (cc)")
        if not (self.headers / "postgres.h").is_file():
            missing.append(f"the server's headers ({self.headers / 'postgres.h'})")
        if not self.pgxs.is_file():
            missing.append(f"PGXS ({self.pgxs})")
        return missing

    def _build(self, library: str, sources: Path, folder: Path) -> Path:
        shutil.copytree(sources, folder)
        done = subprocess.run(
            # The compiler that PostgreSQL was built with, and warnings that only it knows, may not be here.
            [
                *("make", "-s", "-C", str(folder), f"LIBRARY={library}", f"PG_CONFIG={self.path}"),
                *(
                    "CC=cc",
                    "PERMIT_DECLARATION_AFTER_STATEMENT=",
                    "CFLAGS=-O2 -fPIC -fno-strict-aliasing -fwrapv",
                ),
            ],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        built = folder / f"{library}.so"
        if done.returncode or not built.is_file():
            said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
            raise InstanceError(
                f"{library} could not be built for {self.version}.", detail="; ".join(said[-3:])
            )
        return built


def _libraries(folders: list[Path]) -> list[Path]:
    """The shared libraries outside the system's own folders that programs and libraries in `folders` load."""
    files = [str(path) for folder in folders for path in folder.iterdir() if path.is_file()]
    done = subprocess.run(
        ["ldd", *files], check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    found = {Path(os.path.normpath(match)) for match in re.findall(r"=> (/.+) \(0x[0-9a-f]+\)", done.stdout)}
    return sorted(path for path in found if not _SYSTEM.match(str(path)))


def _answer(path: Path, option: str) -> str:
    try:
        done = subprocess.run(
            [str(path), f"--{option}"],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        said = error.strerror if isinstance(error, OSError) else "it does not answer"
        raise _no_pg_config(path, said or "it cannot be run") from None
    if done.returncode or not done.stdout.strip():
        raise _no_pg_config(path, f"it does not know --{option}")
    return done.stdout.strip()


def _no_pg_config(path: Path, why: str) -> InstanceError:
    return InstanceError(
        f"{path} is no pg_config: {why}.",
        hint="Name that of the server, such as /usr/lib/postgresql/15/bin/pg_config.",
    )
