"""Who may log in to an instance, and how: a file with no secret in it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from azpg_runtime.access_tokens import Trust
from azpg_runtime.errors import EntraError
from azpg_runtime.files import write_atomically


class PrincipalType(StrEnum):
    """What a principal is; the values of Azure's principalType."""

    USER = "User"
    GROUP = "Group"
    SERVICE_PRINCIPAL = "ServicePrincipal"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody of the tenant who logs in with a token.

    Attributes:
        object_id: what their tokens say of whom they were issued to or, for a group, of who is in it.
        name: the role's.
        type: see `PrincipalType`.
    """

    object_id: str
    name: str
    type: PrincipalType


@dataclass(frozen=True, slots=True)
class Access:
    """How people log in through the TLS front. An instance that nobody configured takes passwords only.

    Attributes:
        trust: whose tokens are believed; None where Microsoft Entra authentication is off.
        password: whether roles that are no principals log in with their passwords.
        administrators: the principals that are roles of this instance.
        former: names of roles that were principals and could not be dropped; they cannot log in.
    """

    trust: Trust | None = None
    password: bool = True
    administrators: tuple[Principal, ...] = ()
    former: tuple[str, ...] = ()

    def principal(self, role: bytes) -> Principal | None:
        """The principal that is this role, named as a client does."""
        for principal in self.administrators:
            if principal.name.encode() == role:
                return principal
        return None

    @classmethod
    def load(cls, path: Path) -> Access:
        """What `path` holds, or the default without a file. Raises `EntraError` for a damaged one."""
        try:
            kept: dict[str, Any] = json.loads(path.read_text())
            trust = kept["trust"]
            return cls(
                Trust(trust["issuer"], tuple(trust["keys"])) if trust is not None else None,
                bool(kept["password"]),
                tuple(
                    Principal(each["object_id"], each["name"], PrincipalType(each["type"]))
                    for each in kept["administrators"]
                ),
                tuple(kept["former"]),
            )
        except FileNotFoundError:
            return cls()
        except (ValueError, TypeError, KeyError) as error:
            raise EntraError(
                f"{path} is damaged: {type(error).__name__}.",
                hint="Remove it, and configure Microsoft Entra authentication again.",
            ) from None

    def save(self, path: Path) -> None:
        """Keeps this for `load`."""
        write_atomically(path, json.dumps({"version": 1, **asdict(self)}, indent=1) + "\n")


class AccessFile:
    """The same, read again only when the file is another one.

    Args:
        path: what `Access.save` writes.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, ...] | None = None
        self._access = Access()

    def current(self) -> Access:
        """What holds now. Raises `EntraError` for a damaged file."""
        try:
            found = self._path.stat()
            seen: tuple[int, ...] | None = (found.st_ino, found.st_mtime_ns, found.st_size)
        except FileNotFoundError:
            seen = None
        if seen != self._seen:
            self._access = Access.load(self._path)
            self._seen = seen
        return self._access
