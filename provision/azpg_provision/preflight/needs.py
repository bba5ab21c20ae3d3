"""What a spec needs of a server, as far as it can be looked at beforehand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from azpg_provision.spec.model import Spec


@dataclass(frozen=True, slots=True)
class Column:
    """Vectors that are to be made; `dimensions` is None where the spec leaves them to the model."""

    schema: str
    table: str
    model: str
    dimensions: int | None = None
    indexed: bool = False


@dataclass(frozen=True, slots=True)
class Model:
    """A model to register: the URI, and what `model_register` is given, where that is known."""

    uri: str
    source: str = ""
    tokenizer: str | None = None


@dataclass(frozen=True, slots=True)
class Database:
    """A database, its extensions, and its vectorized columns."""

    name: str
    extensions: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()


@dataclass(frozen=True, slots=True)
class Needs:
    """Everything.

    Attributes:
        allow: extensions to allow-list beyond those of the databases.
        preload: libraries to preload beyond those that the extensions need.
        models: the models to register.
    """

    allow: tuple[str, ...] = ()
    preload: tuple[str, ...] = ()
    models: tuple[Model, ...] = ()
    databases: tuple[Database, ...] = ()

    @property
    def extensions(self) -> list[str]:
        """Every extension, once, by name."""
        return sorted({*self.allow, *self.created})

    @property
    def created(self) -> frozenset[str]:
        """The extensions that databases are to have."""
        return frozenset(name for one in self.databases for name in one.extensions)


NO_SPEC = Needs(allow=("vector", "azure_local_ai"))
"""What anybody wants who asks without a spec."""


def of_spec(spec: Spec) -> Needs:
    """What a spec asks."""
    return Needs(
        allow=spec.server.allow,
        preload=spec.server.preload,
        models=tuple(Model(one.uri, one.source, one.tokenizer_path) for one in spec.models),
        databases=tuple(
            Database(
                one.name,
                tuple(extension.name for extension in one.extensions),
                tuple(
                    Column(
                        table.schema_,
                        table.name,
                        embedding.model,
                        embedding.dimensions,
                        indexed=embedding.index is not None,
                    )
                    for table, embedding in one.embeddings()
                ),
            )
            for one in spec.databases
        ),
    )
