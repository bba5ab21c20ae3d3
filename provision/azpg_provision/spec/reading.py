"""Makes a `Spec` of a file, or says everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from azpg_provision.errors import SpecInvalid
from azpg_provision.spec import document
from azpg_provision.spec.document import Document
from azpg_provision.spec.model import Spec
from azpg_provision.spec.problems import in_words
from azpg_provision.spec.rules import check

DEFAULT = "azpg.yaml"
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")


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
            [f"there is no {path}: name the spec, or write one; see docs/provisioning.md."]
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
            [f"{name}:1: the file is empty: begin with `version: 1`; see docs/provisioning.md."]
        )
    if not isinstance(found.value, dict):
        raise SpecInvalid(
            [f"{name}:1: this is no mapping: begin with `version: 1`; see docs/provisioning.md."]
        )
    problems = [(line, _key(path), text) for line, path, text in found.problems]
    spec, wrong = _validated(found, folder)
    problems += [
        (found.line(path), _key(path), text if text.endswith("?") else f"{text}.") for path, text in wrong
    ]
    if problems or spec is None:
        raise SpecInvalid([_said(name, *one) for one in dict.fromkeys(sorted(problems, key=_order))])
    return spec


def _validated(found: Document, folder: Path) -> tuple[Spec | None, list[tuple[document.Path, str]]]:
    try:
        spec = Spec.model_validate(found.value, context={"folder": folder})
    except ValidationError as error:
        return None, in_words(error, Spec)
    return spec, list(check(spec))


def _order(problem: tuple[int, str, str]) -> int:
    return problem[0]


def _said(name: str, line: int, key: str, text: str) -> str:
    return f"{name}:{line}: {key}: {text}" if key else f"{name}:{line}: {text}"


def _key(path: Iterable[Any]) -> str:
    """A place as people write it: ``databases[0].tables[1].name``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            shown = part if part and set(part) <= _PLAIN else repr(part[:60])
            text += f".{shown}" if text else shown
    return text
