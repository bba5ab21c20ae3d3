"""What single values of a spec may be: names, expressions, connection strings, files."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any

from psycopg.conninfo import conninfo_to_dict
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
            f"holds a {inline[0]}, which does not belong into a file: put the connection string into an "
            "environment variable or a file of its own and write env:VARIABLE or file:PATH"
        )
    return text


class InitFile(BaseModel):
    """A file of SQL statements.

    Attributes:
        path: as the spec has it, relative to the spec.
        sha256: of its bytes, in hexadecimal digits.
        statements: its text.
    """

    model_config = ConfigDict(frozen=True)

    path: str
    sha256: str
    statements: str = Field(repr=False)

    @classmethod
    def read(cls, path: str, folder: Path) -> InitFile:
        """Reads it. Raises `ValueError`, in words, for what cannot be read or run."""
        try:
            with (folder / path).open("rb") as file:  # which may have no end
                data = file.read(statements.MAX_BYTES + 1)
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "this is no path"
            raise ValueError(f"cannot be read: {why}: use a path relative to the spec") from None
        return cls(path=path, sha256=hashlib.sha256(data).hexdigest(), statements=statements.checked(data))


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
