"""What is checked before the first row: the model, its vectors' dimensions, the column's type."""

from __future__ import annotations

import psycopg

from azpg_provision.column import VectorColumn, fingerprint_of
from azpg_provision.errors import PlanRefused
from azpg_provision.live.local_ai import model_metadata
from azpg_provision.vectorize.connections import Session, Unbound
from azpg_provision.vectorize.trouble import said

_TYPE = """
SELECT type.typname, attribute.atttypmod
FROM pg_catalog.pg_attribute AS attribute JOIN pg_catalog.pg_type AS type ON type.oid = attribute.atttypid
WHERE attribute.attrelid = pg_catalog.to_regclass(%s) AND attribute.attname = %s
  AND NOT attribute.attisdropped
"""


def check(session: Session, column: VectorColumn) -> None:
    """Makes a session one for a column.

    Raises `PlanRefused` if the column cannot hold what its model makes, or was made by an earlier azpg, and
    `LedgerMismatch` and `ExtensionMismatch`.
    """
    name = column.name
    try:
        session.prepare(column)
    except Unbound as error:
        raise PlanRefused(f"{name}: {error.why}.") from None
    connection = session.connection
    try:
        metadata = model_metadata(connection, column.model)
    except psycopg.Error as error:
        if error.sqlstate is None or not error.sqlstate.startswith("42"):
            raise
        raise PlanRefused(
            f"{name} needs the model {column.model!r}, and the server says: {said(error)}. "
            "Register it, for which `azpg apply` takes the spec's `models`."
        ) from None
    if metadata.get("dimensions") != column.dimensions:
        raise PlanRefused(
            f"{name} is for {column.dimensions} dimensions, and {column.model!r} makes "
            f"{metadata.get('dimensions')}: change one of them in the spec, and run `azpg apply`."
        )
    if fingerprint_of(metadata) != column.fingerprint:
        raise PlanRefused(
            f"{name} was set up for another {column.model!r} than the server has now, whose vectors differ: "
            "run `azpg apply`, which vectorizes it anew."
        )
    found = connection.execute(_TYPE, [column.relation.as_string(connection), column.column]).fetchone()
    if found is None:
        raise PlanRefused(f"{name} is not there: run `azpg apply`, which makes it.")
    type_, size = found
    if type_ in {"vector", "halfvec"} and size not in {-1, column.dimensions}:
        raise PlanRefused(
            f"{name} is a {type_}({size}), and {column.model!r} makes {column.dimensions} dimensions: "
            "change the column's type or the model."
        )
