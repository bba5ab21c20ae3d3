"""Counts a table's rows and runs nothing of its owner's."""

from __future__ import annotations

from psycopg import errors, sql

from azpg_provision.errors import PlanRefused
from azpg_provision.target.connecting import atomic
from azpg_provision.target.target import Connection

# The column whose values take the least; what is generated cannot be copied.
_NARROWEST = """
SELECT attribute.attname::pg_catalog.text
FROM pg_catalog.pg_attribute AS attribute
WHERE attribute.attrelid OPERATOR(pg_catalog.=) pg_catalog.to_regclass({relation})
  AND attribute.attnum OPERATOR(pg_catalog.>) 0 AND NOT attribute.attisdropped
  AND attribute.attgenerated OPERATOR(pg_catalog.=) ''
ORDER BY attribute.attlen OPERATOR(pg_catalog.<) 0, attribute.attlen, attribute.attnum
LIMIT 1
"""


def count(connection: Connection, schema: str, table: str) -> int:
    """The rows of an ordinary table, without those of tables that inherit from it.

    By COPY, whose rows come here: it looks the name up once, takes no view or foreign table, and reads the
    table without planning. Any query is planned, and then the functions in the expressions of the owner's
    indexes would run with the rights of who counts (see `azpg_provision.live.owner`).

    Raises `PlanRefused` for what is no ordinary table.
    """
    relation = sql.Identifier(schema, table)
    name = relation.as_string(connection)
    with atomic(connection):
        return _copied(connection, relation, name)


def _copied(connection: Connection, relation: sql.Identifier, name: str) -> int:
    # With row security, rows would be left out by functions of the owner's, which PostgreSQL would run here.
    query = sql.SQL("SET LOCAL row_security = off; {}").format(
        sql.SQL(_NARROWEST).format(relation=sql.Literal(name))
    )
    cursor = connection.execute(query)
    cursor.nextset()
    column = cursor.fetchone()
    columns = sql.SQL(" ({})").format(sql.Identifier(column[0])) if column else sql.SQL("")
    try:
        with connection.cursor() as cursor:
            with cursor.copy(sql.SQL("COPY {}{} TO STDOUT").format(relation, columns)) as rows:
                for _ in rows:
                    pass
            return cursor.rowcount
    except (errors.WrongObjectType, errors.UndefinedTable, errors.UndefinedColumn) as error:
        raise PlanRefused(
            f"{name} is no ordinary table any more, or its columns are others, since this began: run "
            "`azpg plan`, which says what there is."
        ) from error
