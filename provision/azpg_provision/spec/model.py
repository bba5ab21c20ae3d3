"""What a person wants: the types of azpg.yaml.

Every field's description stands in docs/schemas/spec.json, where editors find it. Rules that concern several
fields are in `azpg_provision.spec.rules`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    WithJsonSchema,
)

from azpg_provision.spec import expression, identifier
from azpg_provision.spec.document import Written
from azpg_provision.spec.values import (
    TIMEOUT,
    ExtensionName,
    Identifier,
    InitFile,
    ModelUri,
    Setting,
    Sql,
    Text,
    extension,
    init_file,
    no_index,
    spec_dsn,
)

LOCAL_AI = "azure_local_ai"


class Section(BaseModel):
    """A mapping of the spec: known keys only, values as they are meant."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, validate_default=False)


class AzureTarget(Section):
    """A server on Azure."""

    server: Text = Field(
        description="The server's resource id, /subscriptions/…/flexibleServers/NAME.",
        pattern="^/[Ss]ubscriptions/",
    )
    user: Text | None = Field(
        None, description="The role to log in as with an Entra token. Default: the admin."
    )


class TargetSection(Section):
    """Which server; exactly one of local, dsn, azure and stack. Options of the command line go before it."""

    local: Text | None = Field(None, description="A local twin, by its name.")
    dsn: Annotated[str, AfterValidator(spec_dsn)] | None = Field(
        None, description="A connection string without a password, or where one is: env:VARIABLE, file:PATH."
    )
    azure: AzureTarget | None = Field(None, description="A server on Azure.")
    stack: Text | None = Field(None, description="The Pulumi stack that made the server.")
    cwd: Text | None = Field(None, description="The folder of the stack's project, relative to the spec.")


class Server(Section):
    """What belongs to the whole server."""

    allow: tuple[ExtensionName, ...] = Field(
        (), strict=False, description="Extensions to allow-list beyond those of the databases."
    )
    preload: tuple[ExtensionName, ...] = Field(
        (), strict=False, description="Libraries to preload beyond what the extensions need. Needs a restart."
    )
    settings: dict[Text, Setting] = Field({}, description="Settings of azure_local_ai.")


class Model(Section):
    """A model to register with azure_local_ai."""

    uri: ModelUri = Field(description="What SQL calls it, NAME:VERSION.")
    path: Text | None = Field(None, description="Its name in the model store. Default: the uri's NAME.")
    tokenizer_path: Text | None = Field(None, description="Its tokenizer, if it is not beside the model.")

    @property
    def source(self) -> str:
        """What `model_register` takes as its path."""
        return self.path or self.uri.partition(":")[0]


class Extension(Section):
    """An extension of a database."""

    name: ExtensionName = Field(description="Its name, such as vector.")
    version: Text | None = Field(None, description='In quotes, such as "1.5". Default: the server\'s.')
    cascade: bool = Field(False, description="Whether to create what it needs, too.")


class On(Section):
    """What privileges are on: a schema, or a table in it."""

    schema_: Identifier = Field("public", alias="schema", description="The schema.")
    table: Identifier | None = Field(None, description="The table. Left out: the schema itself.")


Privilege = Literal[
    "select", "insert", "update", "delete", "truncate", "references", "trigger", "usage", "create"
]


class Grant(Section):
    """A membership, or privileges, of a role that exists. Nothing is ever revoked."""

    role: Identifier = Field(description="The role that gets it.")
    member_of: Identifier | None = Field(None, description="The role that it becomes a member of.")
    privileges: tuple[Privilege, ...] = Field((), strict=False, description="What it may do.")
    on: On | None = Field(None, description="With what.")


class Index(Section):
    """An approximate index over the vectors."""

    method: Literal["hnsw", "ivfflat", "diskann"] = Field(
        description="How it searches; diskann on Azure only."
    )
    opclass: Literal["vector_cosine_ops", "vector_l2_ops", "vector_ip_ops", "vector_l1_ops"] = Field(
        "vector_cosine_ops", description="The distance that queries use."
    )
    m: Annotated[int, Field(ge=2, le=100)] | None = Field(
        None, description="hnsw: links of a node. Default 16."
    )
    ef_construction: Annotated[int, Field(ge=4, le=1000)] | None = Field(
        None, description="hnsw: candidates while it is built, 2 * m at least. Default 64."
    )
    lists: Annotated[int, Field(ge=1, le=32768)] | None = Field(
        None, description="ivfflat: clusters. Default: by the number of rows."
    )
    max_neighbors: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        None, description="diskann: links of a node. Default 32."
    )
    l_value_ib: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        None, description="diskann: candidates while it is built. Default 100."
    )

    @property
    def parameters(self) -> dict[str, int]:
        """The storage parameters that are given."""
        return self.model_dump(exclude={"method", "opclass"}, exclude_none=True)


class Embedding(Section):
    """A column of vectors, and what they are made of."""

    column: Identifier = Field(description="The column of vectors; made if it is not there.")
    source: tuple[Identifier, ...] | None = Field(
        None,
        strict=False,
        min_length=1,
        description="The columns whose texts it embeds, joined by one blank.",
    )
    expression: Sql | None = Field(None, description="Instead of source: one SQL expression over the row.")
    model: ModelUri = Field(description="A model of `models`.")
    backend: Literal["azure_local_ai"] = Field("azure_local_ai", description="What computes the vectors.")
    prefix: Annotated[str, Field(max_length=1000)] = Field(
        "", description='What stands before each text, such as "passage: ".'
    )
    dimensions: Annotated[int, Field(ge=1, le=16000)] | None = Field(
        None, description="Of the vectors; checked against the model's before the first row."
    )
    sync: Literal["generated", "trigger", "queue", "none"] = Field(
        "trigger", description="How the column keeps up with its rows."
    )
    timeout: Annotated[int, Field(ge=1, le=3600)] = Field(
        TIMEOUT,
        description="With sync trigger: seconds for which a write waits for the model. After these, "
        "it goes on without a vector.",
    )
    index: Annotated[
        Index | None, BeforeValidator(no_index, json_schema_input_type=Index | Literal["none"] | None)
    ] = Field(None, description="An approximate index over it, or none.")

    @property
    def text(self) -> str:
        """The SQL expression of a row's text."""
        return self.expression if self.expression is not None else expression.joined(self.source or ())

    @property
    def columns(self) -> frozenset[str]:
        """The columns that the text is made of."""
        return (
            frozenset(self.source or ())
            if self.expression is None
            else expression.columns_of(self.expression)
        )


class Table(Section):
    """A table with vectorized columns. It exists, or an init file makes it."""

    name: Identifier = Field(description="Its name.")
    schema_: Identifier = Field("public", alias="schema", description="Its schema.")
    key: tuple[Identifier, ...] | None = Field(
        None,
        strict=False,
        min_length=1,
        description="The columns of a unique index without NULLs. Default: the primary key.",
    )
    embeddings: tuple[Embedding, ...] = Field(
        strict=False, min_length=1, description="Its vectorized columns."
    )

    @property
    def full_name(self) -> str:
        """Its name with the schema's, as people read it."""
        return identifier.qualified(self.schema_, self.name)


class Database(Section):
    """A database; made if it is not there."""

    name: Identifier = Field(description="Its name.")
    init: tuple[
        Annotated[
            InitFile,
            BeforeValidator(init_file, json_schema_input_type=str),
            WithJsonSchema({"type": "string"}),
        ],
        ...,
    ] = Field((), strict=False, description="SQL files, relative to the spec; each runs once.")
    extensions: tuple[
        Annotated[Extension, BeforeValidator(extension, json_schema_input_type=str | Extension)], ...
    ] = Field((), strict=False, description="Its extensions.")
    grants: tuple[Grant, ...] = Field((), strict=False, description="Memberships and privileges.")
    tables: tuple[Table, ...] = Field((), strict=False, description="Its vectorized tables.")

    def embeddings(self) -> Iterator[tuple[Table, Embedding]]:
        """Every vectorized column with its table."""
        for table in self.tables:
            for embedding in table.embeddings:
                yield table, embedding

    def has(self, extension: str) -> bool:
        """Whether an extension is listed."""
        return any(one.name == extension for one in self.extensions)


class Spec(Section):
    """azpg.yaml: what a server is to have, from its extensions to its vectors and indexes."""

    version: Literal[1] = Field(description="Of the spec's form: 1.")
    target: TargetSection = Field(
        TargetSection(), description="Which server. Default: the local twin `default`."
    )
    server: Server = Field(Server(), description="What belongs to the whole server.")
    models: tuple[Model, ...] = Field((), strict=False, description="Models to register with azure_local_ai.")
    databases: tuple[Database, ...] = Field(strict=False, min_length=1, description="The databases.")
    _written: Written = PrivateAttr(default_factory=Written)

    def written(self, *path: str | int) -> str:
        """Where a key or element was read, as ``azpg.yaml:7: databases[0].name: ``; '' if it was not read."""
        return self._written.said(path)
