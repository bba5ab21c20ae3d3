"""The directory: one tenant, and every identity in it.

::

    AZPG_HOME/arm/identity/
      directory.json    0600: the tenant, the identities, digests of their secrets
      signing.key       0600, see `tokens`
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from shlex import quote
from typing import Any, TypeVar

from azpg_runtime.errors import IdentityError, IdentityNotFound, SecretWrong
from azpg_runtime.files import make_folder, write_atomically
from azpg_runtime.system.locks import locked

DEFAULT_NAME = "azpg-developer"
_SECRET_BYTES = 30
_NAME_LIMIT = 120
_T = TypeVar("_T")


class Kind(StrEnum):
    """What an identity is, which decides how it gets its tokens."""

    APPLICATION = "Application"
    """A service principal with a client secret."""
    MANAGED = "ManagedIdentity"
    """Gets tokens from the managed-identity endpoint."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody who can get tokens.

    Attributes:
        object_id: `oid` in tokens, and how role assignments and administrators name it.
        client_id: `appid` in tokens, and how programs name themselves.
        name: for people.
        kind: see `Kind`.
        resource_id: the Azure resource that a managed identity belongs to; '' for none.
        secret: the SHA-256 of the client secret, in hexadecimal; '' for none.
    """

    object_id: str
    client_id: str
    name: str
    kind: Kind
    resource_id: str = ""
    secret: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class _Directory:
    """What directory.json holds; the first identity is the default one."""

    tenant_id: str
    header: str
    identities: tuple[Identity, ...]


class Identities:
    """The directory of one AZPG_HOME. Making the object touches nothing.

    Every call reads the file, so what one process adds another one sees.

    Args:
        folder: AZPG_HOME/arm/identity, which is made when it is needed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / "directory.json"

    @property
    def tenant_id(self) -> str:
        """The one tenant's id."""
        return self._read().tenant_id

    @property
    def header(self) -> str:
        """The secret that the managed-identity endpoint asks for: the value of IDENTITY_HEADER."""
        return self._read().header

    @property
    def default(self) -> Identity:
        """Who a caller is that names nobody."""
        return self._read().identities[0]

    def all(self) -> list[Identity]:
        """Every identity, the default one first."""
        return list(self._read().identities)

    def find(self, key: str) -> Identity:
        """The identity with this client id, object id or resource id, in any case.

        Raises `IdentityNotFound`.
        """
        wanted = key.lower()
        for identity in self.all():
            if wanted in {identity.client_id, identity.object_id} or (
                wanted and wanted == identity.resource_id.lower()
            ):
                return identity
        raise IdentityNotFound(
            f"there is no identity {key!r} in this directory.",
            hint="`azpg arm principal list` shows all of them.",
        )

    def authenticate(self, client_id: str, secret: str) -> Identity:
        """The application with this client id and secret.

        Raises:
            IdentityNotFound: no application has this client id.
            SecretWrong: it has another secret.
        """
        identity = self.find(client_id)
        if identity.kind is not Kind.APPLICATION or identity.client_id != client_id.lower():
            raise IdentityNotFound(
                f"{client_id!r} is not the client id of an application.",
                hint="`azpg arm principal add NAME` makes one.",
            )
        if not hmac.compare_digest(_digest(secret), identity.secret):
            raise SecretWrong(
                f"the client secret of {identity.name!r} is another one.",
                hint=f"`azpg arm principal add {quote(identity.name)}` gives it a new one.",
            )
        return identity

    def add_application(self, name: str) -> tuple[Identity, str]:
        """Makes an application, or gives the one of this name a new secret; returns it with the secret.

        The secret is kept nowhere. Raises `IdentityError` for a name that cannot be one.
        """
        _check_name(name)
        secret = secrets.token_urlsafe(_SECRET_BYTES)

        def add(directory: _Directory) -> tuple[_Directory, Identity]:
            found = [
                each for each in directory.identities if each.name == name and each.kind is Kind.APPLICATION
            ]
            identity = replace(found[0] if found else _new(name, Kind.APPLICATION), secret=_digest(secret))
            return _with(directory, identity), identity

        return self._change(add), secret

    def add_managed(self, name: str, resource_id: str) -> Identity:
        """Makes the managed identity of an Azure resource, unless it has one, and returns it."""

        def add(directory: _Directory) -> tuple[_Directory, Identity]:
            for identity in directory.identities:
                if identity.resource_id.lower() == resource_id.lower():
                    return directory, identity
            identity = replace(_new(name, Kind.MANAGED), resource_id=resource_id)
            return _with(directory, identity), identity

        return self._change(add)

    def remove(self, object_id: str) -> bool:
        """Removes an identity; its tokens end by themselves. Returns False if there was none.

        Raises `IdentityError` for the default identity, which there always is.
        """

        def remove(directory: _Directory) -> tuple[_Directory, bool]:
            if directory.identities[0].object_id == object_id:
                raise IdentityError(
                    f"{directory.identities[0].name!r} is the default identity, which stays.",
                    hint="Remove others.",
                )
            kept = tuple(each for each in directory.identities if each.object_id != object_id)
            return replace(directory, identities=kept), len(kept) < len(directory.identities)

        return self._change(remove)

    def _read(self) -> _Directory:
        try:
            return _parse(self._path)
        except FileNotFoundError:
            return self._change(lambda directory: (directory, directory))

    def _change(self, change: Callable[[_Directory], tuple[_Directory, _T]]) -> _T:
        """Applies `change` to the directory and keeps what it returns, one process after the other."""
        make_folder(self._folder, 0o700)
        with locked(self._folder / "lock"):
            try:
                before: _Directory | None = _parse(self._path)
            except FileNotFoundError:
                before = None
            after, result = change(before or _first())
            if after != before:
                text = json.dumps({"version": 1, **asdict(after)}, indent=1) + "\n"
                write_atomically(self._path, text, mode=0o600)
            return result


def _first() -> _Directory:
    return _Directory(
        tenant_id=str(uuid.uuid4()),
        header=secrets.token_urlsafe(_SECRET_BYTES),
        identities=(_new(DEFAULT_NAME, Kind.MANAGED),),
    )


def _new(name: str, kind: Kind) -> Identity:
    return Identity(object_id=str(uuid.uuid4()), client_id=str(uuid.uuid4()), name=name, kind=kind)


def _with(directory: _Directory, identity: Identity) -> _Directory:
    """The directory with `identity` in the place of the one that has its object id, or at the end."""
    others = {each.object_id: each for each in directory.identities}
    return replace(directory, identities=tuple((others | {identity.object_id: identity}).values()))


def _parse(path: Path) -> _Directory:
    """What `path` holds. Raises `IdentityError`, and `FileNotFoundError`."""
    try:
        kept: dict[str, Any] = json.loads(path.read_text())
        identities = tuple(Identity(**(each | {"kind": Kind(each["kind"])})) for each in kept["identities"])
        if not identities:
            raise ValueError("it has no identity")
        return _Directory(kept["tenant_id"], kept["header"], identities)
    except (ValueError, TypeError, KeyError) as error:
        raise IdentityError(
            f"{path} is damaged: {type(error).__name__}.",
            hint="Put back a copy of it; without one, remove it: everybody then gets a new id.",
        ) from None


def _check_name(name: str) -> None:
    if not name.strip() or len(name) > _NAME_LIMIT or not name.isprintable():
        raise IdentityError(
            f"an identity cannot be named {name[:_NAME_LIMIT]!r}.",
            hint=f"Use 1 to {_NAME_LIMIT} printable characters.",
        )


def _digest(secret: str) -> str:
    # No slow hash: a secret is 240 random bits, which nobody guesses.
    return hashlib.sha256(secret.encode(errors="surrogateescape")).hexdigest()
