"""What a model host is made of, so that one that runs other code than is installed by now can be told."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import azpg

_PACKAGES = ("embedding", "host", "models")


@cache
def code_version(root: Path = Path(__file__).parents[1]) -> str:
    """The version of azpg and a digest of the host's source files, as they were when first asked for.

    Args:
        root: the folder of azpg_runtime.
    """
    digest = hashlib.sha256()
    for package in _PACKAGES:
        for path in sorted((root / package).glob("*.py")):
            digest.update(f"{package}/{path.name}\0".encode() + path.read_bytes())
    return f"{azpg.__version__}+{digest.hexdigest()[:12]}"
