"""What an extension is in PostgreSQL's catalogs, so that an updated one can be held against a fresh one."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql

Connection = psycopg.Connection[Any]

# Object ids, the order of grants and the places in a script that a default remembers differ between any two
# installations. All other columns are compared, those of a later PostgreSQL too.
_MEMBERS = """
WITH member AS (
    SELECT classid, objid FROM pg_catalog.pg_depend
    WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
      AND refobjid = (SELECT oid FROM pg_catalog.pg_extension WHERE extname = %s)
)
"""
_DESCRIPTION = f"""{_MEMBERS}
SELECT pg_catalog.pg_describe_object(classid, objid, 0) AS object, kind, value FROM (
    SELECT classid, objid, 'row' AS kind,
           to_jsonb(p) - '{{oid,pronamespace,proacl,proargdefaults}}'::text[]
           || jsonb_build_object('arguments', pg_get_function_arguments(p.oid), 'owner', proowner::regrole) AS value
    FROM member JOIN pg_catalog.pg_proc AS p ON classid = 'pg_proc'::regclass AND objid = p.oid
    UNION ALL
    SELECT classid, objid, 'row', to_jsonb(n) - '{{oid,nspacl}}'::text[]
    FROM member JOIN pg_catalog.pg_namespace AS n ON classid = 'pg_namespace'::regclass AND objid = n.oid
    UNION ALL
    SELECT m.classid, m.objid, 'comment', to_jsonb(description)
    FROM member AS m JOIN pg_catalog.pg_description AS d ON m.classid = d.classoid AND m.objid = d.objoid
    UNION ALL
    SELECT classid, objid, 'grant', to_jsonb(item::text)
    FROM member JOIN (SELECT oid, proacl AS acl FROM pg_catalog.pg_proc
                      UNION ALL SELECT oid, nspacl FROM pg_catalog.pg_namespace) AS o ON objid = o.oid,
         unnest(acl) AS item
    UNION ALL
    SELECT m.classid, m.objid, 'initial grant', to_jsonb(item::text)
    FROM member AS m JOIN pg_catalog.pg_init_privs AS i ON m.classid = i.classoid AND m.objid = i.objoid,
         unnest(initprivs) AS item
    UNION ALL
    SELECT m.classid, m.objid, 'dependency',
           to_jsonb(d.deptype::text || ' ' || pg_catalog.pg_describe_object(d.refclassid, d.refobjid, d.refobjsubid))
    FROM member AS m JOIN pg_catalog.pg_depend AS d USING (classid, objid)
    UNION ALL
    SELECT 'pg_extension'::regclass, e.oid, 'row',
           to_jsonb(e) - '{{oid,extnamespace}}'::text[] || jsonb_build_object('schema', extnamespace::regnamespace)
    FROM pg_catalog.pg_extension AS e WHERE extname = %s
    UNION ALL
    SELECT 'pg_extension'::regclass, e.oid, 'comment', to_jsonb(description)
    FROM pg_catalog.pg_extension AS e JOIN pg_catalog.pg_description ON objoid = e.oid WHERE extname = %s
) AS described
ORDER BY object, kind, value
"""
_KINDS = f"{_MEMBERS} SELECT DISTINCT classid::regclass::text FROM member"


def describe(connection: Connection, extension: str) -> list[tuple[str, str, Any]]:
    """All that the catalogs say of an installed extension and its objects: (object, kind, value).

    Raises `AssertionError` for objects of a kind that is not compared yet.
    """
    kinds = {row[0] for row in connection.execute(_KINDS, [extension]).fetchall()}
    assert kinds <= {"pg_proc", "pg_namespace"}, f"catalog.py cannot compare {sorted(kinds)} yet"
    return connection.execute(_DESCRIPTION, [extension] * 3).fetchall()


def check_updates(connection: Connection, extension: str, first: str) -> list[str]:
    """Updates every version there is to the default one and compares it with a fresh installation.

    Args:
        connection: to a database without the extension, as who may create it; it is gone again afterwards.
        extension: its name.
        first: the first released version.

    Returns:
        The versions that were updated. Raises `AssertionError` for one that cannot be updated, or becomes
        something else than a fresh installation.
    """
    name = sql.Identifier(extension)
    row = connection.execute(
        "SELECT default_version FROM pg_available_extensions WHERE name = %s", [extension]
    ).fetchone()
    assert row is not None, f"there is no extension {extension}"
    default = row[0]
    fresh = _installed(connection, extension, default)
    paths = connection.execute(
        "SELECT source, path FROM pg_extension_update_paths(%s) WHERE target = %s", [extension, default]
    ).fetchall()
    versions = connection.execute(
        "SELECT version FROM pg_available_extension_versions WHERE name = %s AND version <> %s ORDER BY 1",
        [extension, default],
    ).fetchall()
    stuck = {version for (version,) in versions} - {source for source, path in paths if path}
    assert not stuck, f"no update leads from {sorted(stuck)} to {default}"
    assert (first,) in [*versions, (default,)], f"the script of {first}, the first release, is gone"
    for (version,) in versions:
        updated = _installed(connection, extension, version, update=True)
        differing = set(map(str, fresh)) ^ set(map(str, updated))
        assert not differing, f"updated from {version}: {sorted(differing)}"
    connection.execute(sql.SQL("DROP EXTENSION IF EXISTS {}").format(name))
    return [version for (version,) in versions]


def _installed(
    connection: Connection, extension: str, version: str, *, update: bool = False
) -> list[tuple[str, str, Any]]:
    name = sql.Identifier(extension)
    connection.execute(sql.SQL("DROP EXTENSION IF EXISTS {}").format(name))
    connection.execute(sql.SQL("CREATE EXTENSION {} VERSION {}").format(name, version))
    if update:
        connection.execute(sql.SQL("ALTER EXTENSION {} UPDATE").format(name))
    return describe(connection, extension)
