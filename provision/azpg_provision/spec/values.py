"""What single values of a spec may be: names, expressions, connection strings, files."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any

from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import version
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictFloat,
    StrictInt,
    ValidationInfo,
    WithJsonSchema,
)

from azpg.extensions import normalise
from azpg_provision.spec import expression, identifier, secret, statements

TIMEOUT = 5
"""Seconds for which a trigger waits for the model, unless a spec says otherwise."""
_REQUIRE_AUTH_SINCE = 160000
"""libpq's version that knows `require_auth`."""


def _identifier(name: str) -> str:
    if complaint := identifier.complaint(name):
        raise ValueError(complaint)
    return name


def _model_uri(uri: str) -> str:
    """NAME without a version is its first, as in SQL."""
    name, _, version = uri.partition(":")
    if not name or uri.endswith(":") or any(one.isspace() or not one.isprintable() for one in uri):
        raise ValueError("is no model: use NAME:VERSION, such as all-minilm-l6-v2:v1")
    return uri if version else f"{name}:v1"


def extension(value: Any) -> Any:
    """An extension's name alone, as the mapping that it stands for."""
    return {"name": value} if isinstance(value, str) else value


def _extension_name(name: str) -> str:
    """As `azure.extensions` has it. Names are compared exactly by CREATE EXTENSION, so that case matters."""
    if normalise(name) != [name]:
        raise ValueError("is no extension's name: use lower case, such as vector")
    return _identifier(name)


def no_index(value: Any) -> Any:
    """``none`` as None."""
    return None if value == "none" else value


def _expression(text: str) -> str:
    expression.columns_of(text)
    return text


def without_password(text: str) -> str:
    """`text`, a reference or a connection string without a password. Raises `ValueError`, without it."""
    if secret.reference(text) is not None:
        return text
    try:
        parts = conninfo_to_dict(text)
    except Exception:  # its message holds the text
        raise ValueError(
            "is no connection string: use env:VARIABLE, file:PATH, or a URI such as "
            "postgresql://admin@host/postgres?sslmode=verify-full"
        ) from None
    if inline := sorted({"password", "sslpassword"} & parts.keys()):
        raise ValueError(
            f"holds a {inline[0]}, which belongs neither into a spec nor on a command line: put the "
            "connection string into an environment variable or a file of its own and write env:VARIABLE or "
            "file:PATH"
        )
    return text


_OF_A_SPEC = frozenset(
    """
    application_name channel_binding client_encoding connect_timeout dbname fallback_application_name
    gssencmode host keepalives keepalives_count keepalives_idle keepalives_interval load_balance_hosts
    max_protocol_version min_protocol_version options port require_auth requirepeer
    ssl_max_protocol_version ssl_min_protocol_version sslcrl sslmode sslnegotiation sslrootcert sslsni
    target_session_attrs tcp_user_timeout user
    """.split()
)
_GIVEN_AWAY = frozenset({"password", "md5"})
"""Ways to log in by which a server learns the password, or what is as good."""


def of_a_spec(dsn: str, *, secrets: bool = False) -> str:
    """A connection string that somebody else may have written, as it may be used. Raises `ValueError`.

    What it may hold is listed, because libpq's options do more than lead to a server: `passfile`, `service`,
    `servicefile` and `hostaddr` send the password of one server to another, `sslkey` loads a library,
    `sslkeylogfile` writes a file, `gssdelegation` gives a Kerberos ticket away. A password of this machine,
    such as PGPASSWORD, is proved to the server, not told.

    Args:
        dsn: libpq's connection string.
        secrets: whether it may hold passwords, as one in a file of its own may.
    """
    parts = conninfo_to_dict(dsn)
    own = {"password", "sslpassword"} if secrets else set[str]()
    if others := sorted(parts.keys() - _OF_A_SPEC - own):
        raise ValueError(
            f"holds {others[0]}, which a spec must not choose: leave it out, or put the connection string "
            "into an environment variable and write env:VARIABLE, or name it with --dsn"
        )
    ways = [one.strip() for one in str(parts.get("require_auth") or "").split(",") if one.strip()]
    if given := sorted(_GIVEN_AWAY & set(ways)):
        raise ValueError(
            f"asks for require_auth={given[0]}, by which a server learns the password: use scram-sha-256, or "
            "put the connection string into an environment variable and write env:VARIABLE"
        )
    if secrets and parts.get("password"):  # which its own writer has meant for this server
        return dsn
    if all(one.startswith("!") for one in ways):
        ways = [*dict.fromkeys([*ways, *(f"!{one}" for one in sorted(_GIVEN_AWAY))])]
    return make_conninfo(dsn, require_auth=",".join(ways)) if version() >= _REQUIRE_AUTH_SINCE else dsn


def spec_dsn(text: str) -> str:
    """As `without_password`, and as `of_a_spec` allows it. Raises `ValueError`."""
    if secret.reference(without_password(text)) is None:
        of_a_spec(text)
    return text


class OutOfFolder(Exception):
    """A path that leads to another folder than it should."""


class InitFile(BaseModel):
    """A file of SQL statements.

    Attributes:
        path: as the spec has it, relative to the spec.
        sha256: of its bytes, in hexadecimal digits.
        statements: its text.
        search_path: the schemas in which it begins to look names up.
    """

    model_config = ConfigDict(frozen=True)

    path: str
    sha256: str
    statements: str = Field(repr=False)
    search_path: tuple[str, ...]

    @classmethod
    def read(cls, path: str, folder: Path) -> InitFile:
        """Reads it. Raises `ValueError`, in words, for what cannot be read or run, or lies elsewhere."""
        try:
            place = (folder / path).resolve()
            if not place.is_relative_to(folder.resolve()):
                raise OutOfFolder
            with place.open("rb") as file:  # which may have no end
                data = file.read(statements.MAX_BYTES + 1)
        except OutOfFolder:
            raise ValueError(
                "is not below the folder of the spec, or is a link that leads out of it: put the file there"
            ) from None
        except (OSError, ValueError, RuntimeError) as error:  # the last for links that lead in a circle
            why = error.strerror if isinstance(error, OSError) else "this is no path"
            raise ValueError(f"cannot be read: {why}: use a path relative to the spec") from None
        text, search_path = statements.checked(data)
        digest = hashlib.sha256(data).hexdigest()
        return cls(path=path, sha256=digest, statements=text, search_path=search_path)


def init_file(value: Any, info: ValidationInfo) -> Any:
    """A path as the file that it leads to, from the folder of the validation's context."""
    if not isinstance(value, str):
        return value
    return InitFile.read(value, (info.context or {}).get("folder", Path()))


Identifier = Annotated[str, AfterValidator(_identifier)]
ExtensionName = Annotated[str, AfterValidator(_extension_name)]
ModelUri = Annotated[str, AfterValidator(_model_uri)]
Sql = Annotated[str, AfterValidator(_expression)]
Text = Annotated[str, Field(min_length=1, max_length=1000)]
Setting = Annotated[
    bool | StrictInt | StrictFloat | Annotated[str, Field(min_length=1, max_length=1000)],
    WithJsonSchema({"type": ["boolean", "integer", "number", "string"]}),
]
