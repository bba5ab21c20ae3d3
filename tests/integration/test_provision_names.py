"""Names that somebody could think of, through a whole apply."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg import sql

from azpg_runtime.postgres.instance import Instance
from tests.conftest import URI
from tests.integration.provisioning import Site

NAMES = [
    '"; DROP TABLE x; --',
    "%s %(a)s %%",
    "{} {0} {a}",
    "select",
    "MixedCase",
    "ä" * 31 + "x",
    "数据" * 10 + "表",
    "back\\slash 'quote' $$ $1",
    "line\nbreak\ttab",
    "a.b",
    " ",
    "key_1",
    "hash",
    "new",
]


def cut(text: str, length: int) -> str:
    """As many whole characters as fit into `length` bytes."""
    return text.encode()[:length].decode(errors="ignore")


@pytest.fixture(params=NAMES, ids=ascii)
def site(request: pytest.FixtureRequest, twin: Instance, tmp_path: Path) -> Iterator[Site]:
    # Databases of parallel tests must not meet; a prefix that fits into the 63 bytes keeps them apart.
    site = Site(twin, tmp_path)
    site.name = cut(f"{site.name[-8:]}{request.param}", 63)
    yield site
    site.drop()


def test_any_name_in_every_place(site: Site, request: pytest.FixtureRequest) -> None:
    name = request.node.callspec.params["site"]
    schema, role = cut(name, 20), site.name
    columns = {"key": cut(name, 60), "text": cut(f"t{name}", 40), "vector": cut(f"v{name}", 62)}
    quoted = {key: sql.Identifier(value).as_string() for key, value in columns.items()}
    table = sql.Identifier(schema, name)
    init = sql.SQL(
        "CREATE SCHEMA {}; CREATE TABLE {} ({} text PRIMARY KEY, {} text); CREATE ROLE {};"
    ).format(
        sql.Identifier(schema),
        table,
        *(sql.Identifier(columns[key]) for key in ("key", "text")),
        sql.Identifier(role),
    )
    rows = sql.SQL("INSERT INTO {} VALUES ('a', 'one'), ('b', NULL), ('c', 'three %s {{}}');").format(table)
    site.file("init.sql", init.as_string() + rows.as_string())
    document = {
        "version": 1,
        "models": [{"uri": URI}],
        "databases": [
            {
                "name": site.name,
                "init": ["init.sql"],
                "extensions": ["vector", "azure_local_ai"],
                "grants": [
                    {"role": role, "privileges": ["usage"], "on": {"schema": schema}},
                    {
                        "role": role,
                        "privileges": ["select", "update"],
                        "on": {"schema": schema, "table": name},
                    },
                    {"role": role, "member_of": "azure_local_ai_setting_manager"},
                ],
                "tables": [
                    {
                        "name": name,
                        "schema": schema,
                        "embeddings": [
                            {
                                "column": columns["vector"],
                                "source": [columns["text"]],
                                "model": URI,
                                "prefix": name,
                                "index": {"method": "hnsw"},
                            },
                            {
                                "column": columns["vector"] + "2",
                                "expression": f"{quoted['text']} || '%s {{}}' || {quoted['key']}",
                                "model": URI,
                                "sync": "queue",
                            },
                            {
                                "column": columns["vector"] + "3",
                                "source": [columns["text"], columns["key"]],
                                "model": URI,
                                "sync": "generated",
                            },
                        ],
                    }
                ],
            }
        ],
    }
    spec = site.spec(json.dumps(document), None)
    try:
        site.apply(spec)
        assert site.plan(spec).changes == ()
        with site.connect() as connection:
            connection.execute(sql.SQL("SET search_path = {}, public").format(sql.Identifier(schema)))
            connection.execute(
                sql.SQL("UPDATE {} SET {} = 'changed' WHERE {} = 'a'").format(
                    table, *(sql.Identifier(columns[key]) for key in ("text", "key"))
                )
            )
            query = sql.SQL(
                "SELECT count(*) FROM {} WHERE {} <-> azure_local_ai.create_embeddings({}, {} || {})::vector < 1e-4"
            ).format(
                table,
                sql.Identifier(columns["vector"]),
                sql.Literal(URI),
                sql.Literal(name),
                sql.Identifier(columns["text"]),
            )
            assert connection.execute(query).fetchone() == (2,)
        assert all(
            change.kind == "rows" for change in site.plan(spec).changes
        )  # the queue's row waits for a worker
    finally:
        site.drop()
        with site.twin.superuser() as connection:
            connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(role)))
