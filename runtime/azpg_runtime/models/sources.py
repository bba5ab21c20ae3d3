"""Reading what other people wrote: JSON files and weights of a model that is being added."""

from __future__ import annotations

import hashlib
import json
import os
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
    """Size and SHA-256 of a file, read once; the same bytes are copied to `copy_to` if given.

    Raises `ModelUnreadable`.
    """
    sha, size = hashlib.sha256(), 0
    try:
        with path.open("rb") as file:
            target = None if copy_to is None else _create(copy_to)
            try:
                while block := file.read(_BLOCK):
                    sha.update(block)
                    size += len(block)
                    if target is not None:
                        target.write(block)
            finally:
                if target is not None:
                    target.close()
    except OSError as error:
        raise unreadable(path, error) from None
    return FileDigest(size, sha.hexdigest())


def _create(path: Path) -> Any:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "wb")


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
