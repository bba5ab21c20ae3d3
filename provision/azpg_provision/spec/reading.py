"""Makes a `Spec` of a file, or says everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from azpg_provision.errors import SpecInvalid
from azpg_provision.spec import document
from azpg_provision.spec.document import Document, Written, key, said
from azpg_provision.spec.model import Spec
from azpg_provision.spec.problems import in_words, misspelt
from azpg_provision.spec.rules import check

DEFAULT = "azpg.yaml"


def read(path: Path) -> Spec:
    """The spec in a file; paths in it begin at its folder. Raises `SpecInvalid` with every mistake."""
    try:
        with path.open("rb") as file:  # which may be a pipe, or have no end
            data = file.read(document.MAX_BYTES + 1)
        if len(data) > document.MAX_BYTES:
            raise SpecInvalid(
                [f"{path}:1: the file is too large: a spec has {document.MAX_BYTES} bytes at most."]
            )
    except FileNotFoundError:
        raise SpecInvalid(
            [f"there is no {path}: name the spec, or write one; see `azpg help provisioning`."]
        ) from None
    except OSError as error:
        raise SpecInvalid([f"{path} cannot be read: {error.strerror}."]) from None
    return parse(data, name=str(path), folder=path.parent)


def parse(data: bytes, *, name: str, folder: Path) -> Spec:
    """As `read`; `name` stands before each mistake, init files are looked for in `folder`."""
    try:
        found = document.parse(data)
    except document.Unreadable as error:
        raise SpecInvalid([f"{name}:{error.line}: {error}"]) from None
    if found.value is None:
        raise SpecInvalid(
            [f"{name}:1: the file is empty: begin with `version: 1`; see `azpg help provisioning`."]
        )
    if not isinstance(found.value, dict):
        raise SpecInvalid(
            [f"{name}:1: this is no mapping: begin with `version: 1`; see `azpg help provisioning`."]
        )
    problems = [(line, key(path), text) for line, path, text in found.problems]
    spec, wrong = _validated(found, folder)
    problems += [
        (found.line(path), key(path), text if text.endswith("?") else f"{text}.") for path, text in wrong
    ]
    if problems or spec is None:
        raise SpecInvalid([said(name, *one) for one in dict.fromkeys(sorted(problems, key=_order))])
    spec._written = Written(name, found)
    return spec


def _validated(found: Document, folder: Path) -> tuple[Spec | None, list[tuple[document.Path, str]]]:
    try:
        spec = Spec.model_validate(found.value, context={"folder": folder})
    except ValidationError as error:
        wrong = in_words(error, Spec)
        return None, wrong + _below_misspelt(found, error, folder)
    return spec, list(check(spec))


def _below_misspelt(found: Document, error: ValidationError, folder: Path) -> list[tuple[document.Path, str]]:
    """What else is wrong below keys that are misspelt, as if they were not."""
    value, written = found.value, dict[document.Path, document.Path]()
    wrong = dict[document.Path, str]()
    while (renamed := _renamed(value, misspelt(error, Spec))) is not None:
        value, paths = renamed
        written |= paths
        try:
            Spec.model_validate(value, context={"folder": folder})
        except ValidationError as another:
            error = another
        else:
            break
        for path, text in in_words(error, Spec):
            if any(path[: len(one)] == one for one in written):
                wrong.setdefault(path, text)
    # What was missing until another key was read as it is meant is none of them.
    return [(_as_written(path, written), text) for path, text in wrong.items() if path not in written]


def _renamed(
    value: Any, meant: Mapping[document.Path, str]
) -> tuple[Any, dict[document.Path, document.Path]] | None:
    """The value with keys as they are meant, and by their places those where they stand; None if none is."""
    value, paths = deepcopy(value), dict[document.Path, document.Path]()
    for path, name in meant.items():
        holder = value
        for part in path[:-1]:
            holder = holder[part]
        if isinstance(holder, dict) and path[-1] in holder and name not in holder:
            holder[name] = holder.pop(path[-1])
            paths[(*path[:-1], name)] = path
    return (value, paths) if paths else None


def _as_written(path: document.Path, written: Mapping[document.Path, document.Path]) -> document.Path:
    """A place as it is in the file: the longest first, for one misspelt key may be below another."""
    for one in sorted(written, key=len, reverse=True):
        if path[: len(one)] == one:
            path = (*written[one], *path[len(one) :])
    return path


def _order(problem: tuple[int, str, str]) -> int:
    return problem[0]
