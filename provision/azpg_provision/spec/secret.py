"""Texts that may be secret, and references to where they are."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from azpg_provision.errors import SpecInvalid

_REFERENCE = re.compile(r"(env|file|keyvault):(.*)", re.DOTALL)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MAX_BYTES = 65_536
_LIKE_A_SECRET = re.compile(r"://[^/\s]*:[^/\s]*@|passw|secret|pwd\s*=|key\s*=", re.IGNORECASE)


class Secret:
    """A text that is never shown: neither by `repr` and `str`, nor in a traceback, nor as JSON."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def __repr__(self) -> str:
        return "Secret('***')"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def reveal(self) -> str:
        """The text itself, for whom it is meant."""
        return self._value


@dataclass(frozen=True, slots=True)
class Reference:
    """Where a secret is: ``env:VARIABLE`` or ``file:PATH``, a path beginning at the spec's folder."""

    scheme: str
    where: str

    def __str__(self) -> str:
        return f"{self.scheme}:{self.where}"

    def resolve(self, folder: Path, environment: Mapping[str, str] | None = None) -> Secret:
        """The secret, without the line break that a file ends with. Raises `SpecInvalid`, without it."""
        if self.scheme == "env":
            value = (os.environ if environment is None else environment).get(self.where)
            if not value:
                raise SpecInvalid([f"the environment variable {self.where} is not set: {self} needs it."])
            return Secret(value)
        path = folder / self.where
        try:
            with path.open("rb") as file:
                data = file.read(_MAX_BYTES + 1)
            if len(data) > _MAX_BYTES:
                raise SpecInvalid([f"{self}: {path} is too large: write the value only."])
            text = data.decode().removesuffix("\n").removesuffix("\r")
        except (OSError, ValueError) as error:
            why = "is not UTF-8" if isinstance(error, ValueError) else error.strerror or "cannot be read"
            raise SpecInvalid([f"{self}: {path}: {why}."]) from None
        if not text:
            raise SpecInvalid([f"{self}: {path} is empty: write the value only."])
        return Secret(text)


def reference(text: str) -> Reference | None:
    """The reference that `text` is, None for any other text. Raises `ValueError` for one that cannot be."""
    match = _REFERENCE.fullmatch(text)
    if match is None:
        return None
    scheme, where = match.groups()
    if scheme == "keyvault":
        raise ValueError("keyvault: references come later: use env:VARIABLE or file:PATH")
    if scheme == "env" and not _VARIABLE.fullmatch(where):
        raise ValueError("env: is not followed by a variable's name: use env:VARIABLE, such as env:AZPG_DSN")
    if scheme == "file" and (not where or "\0" in where):
        raise ValueError("file: is not followed by a path: use file:PATH, such as file:secrets/dsn")
    return Reference(scheme, where)


def shown(value: object) -> str:
    """A value of a spec for a message: short, and not at all if there could be a secret in it."""
    if isinstance(value, str):
        if _LIKE_A_SECRET.search(value):
            return "this text"
        return repr(value if len(value) <= 60 else value[:57] + "…")
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "nothing"
    if isinstance(value, int | float):
        return str(value)
    return "a list" if isinstance(value, list) else "a mapping"
