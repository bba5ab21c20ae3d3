"""Reading what other people wrote: JSON files and weights of a model that is being added."""

from __future__ import annotations

import hashlib
import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from azpg_runtime.errors import ModelInvalid, ModelUnreadable
from azpg_runtime.models.description import FileDigest

_BLOCK = 1 << 20
_LARGEST_JSON = 256 * 1024 * 1024


def unreadable(path: Path, error: OSError) -> ModelUnreadable:
    """The error for a file of a model that could not be read."""
    return ModelUnreadable(f"could not read {path}: {error.strerror or error}")


def digest_file(path: Path, *, copy_to: Path | None = None) -> FileDigest:
    """Size and SHA-256 of a file, read once; the same bytes go to the new file `copy_to` if given.

    Raises `ModelUnreadable`, and `OSError` if `copy_to` cannot be written.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise unreadable(path, error) from None
    sha, size = hashlib.sha256(), 0
    with file, nullcontext() if copy_to is None else copy_to.open("xb") as target:
        while block := file.read(_BLOCK):
            sha.update(block)
            size += len(block)
            if target is not None:
                target.write(block)
    return FileDigest(size, sha.hexdigest())


def read_json(path: Path) -> dict[str, Any]:
    """A file that holds one JSON object.

    Raises `ModelUnreadable` if it cannot be read and `ModelInvalid` if it is something else.
    """
    try:
        if path.stat().st_size > _LARGEST_JSON:
            raise ModelInvalid(f"{path.name} is over {_LARGEST_JSON} bytes")
        raw = path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from None
    try:
        value: object = json.loads(raw)
    except (ValueError, RecursionError):
        raise ModelInvalid(f"{path.name} is not JSON") from None
    if not isinstance(value, dict):
        raise ModelInvalid(f"{path.name} is not a JSON object")
    return value


def read_json_if_there(path: Path) -> dict[str, Any] | None:
    """`read_json`, or None if there is no such file."""
    return read_json(path) if path.is_file() else None


def whole_number(settings: dict[str, Any], key: str, file: str, *, least: int = 1) -> int:
    """A whole number of at least `least` from a JSON object. Raises `ModelInvalid` naming `file`."""
    value = settings.get(key)
    if type(value) is not int or value < least:
        raise ModelInvalid(f"{file}: {key!r} is {value!r}, not a whole number from {least} up")
    return value
