"""What the tests of plan and apply share: specs as text, applied to a twin, in databases of their own."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from azpg_provision.apply.apply import Permission, apply
from azpg_provision.apply.reporter import Silent
from azpg_provision.plan.change import Change
from azpg_provision.plan.inspection import inspect
from azpg_provision.plan.plan import Plan
from azpg_provision.plan.planning import plan
from azpg_provision.spec.model import Spec
from azpg_provision.spec.reading import parse
from azpg_provision.target.local import LocalTarget
from azpg_provision.target.target import Target
from azpg_runtime.postgres.instance import Instance
from tests.conftest import URI

Connection = psycopg.Connection[Any]

HEAD = f"""\
version: 1
models: [{{uri: {URI}}}]
databases:
- name: NAME
  extensions: [vector, azure_local_ai]
"""
PRODUCTS = """\
CREATE TABLE products (id bigint PRIMARY KEY, title text, description text);
INSERT INTO products SELECT n, 'title ' || n, 'description ' || n FROM generate_series(1, 20) AS n;
INSERT INTO products VALUES (21, 'only a title', NULL), (22, NULL, NULL), (23, '', '');
"""
TABLE = f"""\
  init: [init.sql]
  tables:
  - name: products
    embeddings:
    - column: embedding
      source: [title, description]
      model: {URI}
"""


class Told(Silent):
    """Who keeps what is said, and may do something before a change begins."""

    def __init__(self, begin: Callable[[Change], None] = lambda change: None) -> None:
        self.said: list[str] = []
        self._begin = begin

    def tell(self, text: str) -> None:
        self.said.append(text)

    def begin(self, change: Change, number: int, total: int) -> None:
        self._begin(change)


@dataclass
class Site:
    """A database of a test's own on a twin, which need not exist, and a folder for what a spec names."""

    twin: Instance
    folder: Path
    name: str = field(default_factory=lambda: f"site_{uuid.uuid4().hex[:12]}")

    @property
    def target(self) -> Target:
        return LocalTarget(self.twin)

    def file(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        return path

    def spec(self, text: str = HEAD + TABLE, init: str | None = PRODUCTS) -> Spec:
        if init is not None:
            self.file("init.sql", init)
        data = text.replace("NAME", self.name).encode()
        return parse(data, name="azpg.yaml", folder=self.folder)

    def plan(self, spec: Spec) -> Plan:
        return plan(spec, inspect(self.target, spec))

    def apply(
        self,
        spec: Spec,
        *,
        restart: bool = False,
        replace: bool = False,
        confirmed: Plan | None = None,
        begin: Callable[[Change], None] = lambda change: None,
    ) -> list[str]:
        """Plans and applies; returns what was said meanwhile."""
        report = Told(begin)
        permission = Permission(restart=restart, replace=replace)
        apply(self.target, spec, confirmed or self.plan(spec), permission, report)
        return report.said

    def connect(self) -> Connection:
        return self.twin.connect(self.name, autocommit=True)

    def drop(self) -> None:
        with self.twin.superuser() as connection:
            statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(self.name))
            connection.execute(statement)


def kinds(found: Plan) -> list[str]:
    return [f"{change.action} {change.kind}" for change in found.changes]


def wrong_rows(
    connection: Connection,
    table: str = "products",
    column: str = "embedding",
    text: str = "concat_ws(' ', title, description)",
) -> int:
    """How many rows do not have the embedding of their text, as the server computes it now."""
    query = sql.SQL(
        "SELECT count(*) FROM {table} WHERE ({column} IS NULL) <> (nullif({text}, '') IS NULL AND coalesce(title, description) IS NULL) "
        "OR {column} <-> azure_local_ai.create_embeddings({uri}, {text})::vector > 1e-4"
    ).format(table=sql.Identifier(table), column=sql.Identifier(column), text=sql.SQL(text), uri=URI)
    row = connection.execute(query).fetchone()
    assert row is not None
    return int(row[0])
