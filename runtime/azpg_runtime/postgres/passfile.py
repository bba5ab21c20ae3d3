"""The server admin's password, in the file format that libpq reads by itself."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from azpg_runtime.errors import InstanceError
from azpg_runtime.files import write_atomically

_PASSWORD_BYTES = 24
_FIELD = re.compile(r"((?:[^:\\]|\\.)*)(?::|$)")


@dataclass(frozen=True, slots=True)
class Passfile:
    """One line of HOST:PORT:DATABASE:USER:PASSWORD, readable by its owner alone."""

    path: Path

    def password(self) -> str:
        """The password. Raises `InstanceError` where there is none: only `up` makes one."""
        password = self._kept()
        if password is None:
            raise InstanceError(
                f"{self.path} is missing or damaged.", hint="`azpg up` gives the admin a new password."
            )
        return password

    def prepare(self, *, host: str, user: str, password: str | None = None) -> str:
        """Makes the file say this, with `password`, the one it has, or a new one, which is returned.

        It holds for every port, for an instance has two, which may change.
        """
        password = password or self._kept() or secrets.token_urlsafe(_PASSWORD_BYTES)
        line = ":".join([_escape(host), "*", "*", _escape(user), _escape(password)]) + "\n"
        if self._text() != line:
            write_atomically(self.path, line, mode=0o600)
        return password

    def _text(self) -> str:
        try:
            return self.path.read_text()
        except (FileNotFoundError, UnicodeDecodeError):
            return ""

    def _kept(self) -> str | None:
        fields = [_unescape(field) for field in _FIELD.findall(self._text().rstrip("\n"))]
        return fields[4] if len(fields) >= 5 and fields[4] else None


def _escape(field: str) -> str:
    return field.replace("\\", "\\\\").replace(":", "\\:")


def _unescape(field: str) -> str:
    return re.sub(r"\\(.)", r"\1", field)
