"""Reading what other people wrote: JSON files and weights of a model that is being added."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias, Union

from azpg_runtime.errors import ModelInvalid, ModelUnreadable
from azpg_runtime.models.description import FileDigest

if TYPE_CHECKING:
    from azpg_runtime.models.foreign_folder import ForeignFile

_BLOCK = 1 << 20
_LARGEST_JSON = 256 * 1024 * 1024

File: TypeAlias = Union[Path, "ForeignFile"]
"""A file of our own, or one of somebody else's folder."""


def unreadable(path: Path, error: Exception) -> ModelUnreadable:
    """The error for a file or folder of a model that could not be read."""
    return ModelUnreadable(f"could not read {path}: {getattr(error, 'strerror', None) or error}")


def open_file(file: File) -> BinaryIO:
    """Opens a file to read it. Raises `ModelUnreadable`."""
    try:
        return file.open("rb")
    except OSError as error:
        assert isinstance(file, Path)
        raise unreadable(file, error) from None


def read_file(file: File, *, limit: int = _LARGEST_JSON) -> bytes:
    """All of a file. Raises `ModelUnreadable`, and `ModelInvalid` for one of more than `limit` bytes."""
    with open_file(file) as opened:
        try:
            raw = opened.read(limit + 1)
        except OSError as error:
            raise unreadable(file if isinstance(file, Path) else file.path, error) from None
    if len(raw) > limit:
        raise ModelInvalid(f"{file.name} is over {limit} bytes")
    return raw


def digest_file(file: File, *, copy_to: Path | None = None) -> FileDigest:
    """Size and SHA-256 of a file, read once; the same bytes go to the new file `copy_to` if given.

    Raises `ModelUnreadable`, and `OSError` if `copy_to` cannot be written.
    """
    sha, size = hashlib.sha256(), 0
    with open_file(file) as source, nullcontext() if copy_to is None else copy_to.open("xb") as target:
        while block := source.read(_BLOCK):
            sha.update(block)
            size += len(block)
            if target is not None:
                target.write(block)
    return FileDigest(size, sha.hexdigest())


def copy_parts(file: File, parts: Iterable[tuple[int, int]], copy_to: Path) -> FileDigest:
    """Makes the new file `copy_to` of some bytes of `file`, at their places; between them it is empty.

    Args:
        file: is read once, as a whole.
        parts: the places [begin, end) of these bytes, in any order; they may overlap.
        copy_to: the new file.

    Returns:
        Size and SHA-256 of all of `file`.

    Raises `ModelUnreadable`, and `OSError` if `copy_to` cannot be written.
    """
    waiting = _merged(parts)
    sha, size, at = hashlib.sha256(), 0, 0
    with open_file(file) as source, copy_to.open("xb") as target:
        while block := source.read(_BLOCK):
            sha.update(block)
            while at < len(waiting) and waiting[at][0] < size + len(block):
                begin, end = max(waiting[at][0], size), min(waiting[at][1], size + len(block))
                target.seek(begin)
                target.write(block[begin - size : end - size])
                if waiting[at][1] > size + len(block):
                    break  # it goes on in the next block
                at += 1
            size += len(block)
    return FileDigest(size, sha.hexdigest())


def _merged(parts: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for begin, end in sorted(parts):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((begin, end))
    return merged


def read_json(file: File) -> dict[str, Any]:
    """A file that holds one JSON object.

    Raises `ModelUnreadable` if it cannot be read and `ModelInvalid` if it is something else.
    """
    raw = read_file(file)
    try:
        value: object = json.loads(raw)
    except (ValueError, RecursionError):
        raise ModelInvalid(f"{file.name} is not JSON") from None
    if not isinstance(value, dict):
        raise ModelInvalid(f"{file.name} is not a JSON object")
    return value


def read_json_if_there(file: ForeignFile) -> dict[str, Any] | None:
    """`read_json`, or None if there is no such file."""
    return read_json(file) if file.exists() else None


def whole_number(settings: dict[str, Any], key: str, file: str, *, least: int = 1) -> int:
    """A whole number of at least `least` from a JSON object. Raises `ModelInvalid` naming `file`."""
    value = settings.get(key)
    if type(value) is not int or value < least:
        raise ModelInvalid(f"{file}: {key!r} is {value!r}, not a whole number from {least} up")
    return value
