"""Whom and what azpg trusts in a database before it runs anything that is kept there.

Whoever may write in schema azpg decides what runs with the rights of who provisions: `azpg.columns` holds
SQL. Any role with CREATE on the database could have made the schema first. So nothing in it is looked at
before the catalogues have said that it is as `azpg apply` makes it, and belongs to a role that could do no
more by it than it can already.
"""

from __future__ import annotations

import re

from psycopg import sql

from azpg_provision.errors import LedgerMismatch
from azpg_provision.live.trust import trusted
from azpg_provision.target.target import Connection

_FUNCTIONS = (
    *("is_replaced", "has_one_owner", "in_hand", "trusted_function"),
    *("text_calls", "is_as_applied", "as_applied", "last_before", "is_last"),
    *("has_safe_types", "types_in_hand", "has_same_names", "names_in_hand"),
)
"""What triggers ask."""
_COMMENT = re.compile(r"azpg (\d+):")
# All in one: it is asked before each look at the ledger.
_SCHEMA = """
SELECT pg_catalog.obj_description(schema.oid, 'pg_namespace'),
       pg_catalog.has_schema_privilege(schema.oid, 'USAGE'),
       {trusted}, owner.rolname::pg_catalog.text, current_user::pg_catalog.text,
       strange.name, strange.why, creator.name
FROM pg_catalog.pg_namespace AS schema
JOIN pg_catalog.pg_roles AS owner ON owner.oid OPERATOR(pg_catalog.=) schema.nspowner
LEFT JOIN LATERAL ({strange}) AS strange (name, why) ON true
LEFT JOIN LATERAL ({creators}) AS creator (name) ON true
WHERE schema.nspname OPERATOR(pg_catalog.=) 'azpg'
"""
# What every session reads must be the schema's owner's, and run nothing of anybody's. What belongs to a
# column is its table's owner's, and touched with the owner's rights only (azpg_provision.sync.acting).
_STRANGE = """
SELECT relation.relname::pg_catalog.text,
       CASE
           WHEN relation.relkind OPERATOR(pg_catalog.<>) 'r' THEN 'is no ordinary table'
           WHEN relation.relhasrules OR relation.relrowsecurity THEN 'has a rule or row-level security'
           WHEN found.triggers THEN 'has a trigger'
           WHEN found.heirs THEN 'inherits'
           WHEN found.types THEN 'has a column of a type that is not PostgreSQL''s own'
           WHEN relation.relowner OPERATOR(pg_catalog.<>) schema.nspowner
               THEN 'belongs to another role than the schema'
           ELSE 'may be written by others'
       END
FROM pg_catalog.pg_class AS relation
CROSS JOIN LATERAL (
    SELECT EXISTS (SELECT FROM pg_catalog.pg_trigger AS trigger
                   WHERE trigger.tgrelid OPERATOR(pg_catalog.=) relation.oid AND NOT trigger.tgisinternal),
           EXISTS (SELECT FROM pg_catalog.pg_inherits AS heir
                   WHERE relation.oid OPERATOR(pg_catalog.=) ANY (ARRAY[heir.inhparent, heir.inhrelid])),
           EXISTS (SELECT FROM pg_catalog.pg_attribute AS attribute
                   JOIN pg_catalog.pg_type AS type ON type.oid OPERATOR(pg_catalog.=) attribute.atttypid
                   WHERE attribute.attrelid OPERATOR(pg_catalog.=) relation.oid
                     AND type.typnamespace OPERATOR(pg_catalog.<>) 'pg_catalog'::pg_catalog.regnamespace),
           EXISTS (SELECT FROM pg_catalog.aclexplode(relation.relacl) AS acl
                   LEFT JOIN pg_catalog.pg_roles AS role ON role.oid OPERATOR(pg_catalog.=) acl.grantee
                   WHERE acl.privilege_type OPERATOR(pg_catalog.<>) 'SELECT'
                     AND NOT coalesce({trusted_role}, false))
) AS found (triggers, heirs, types, open)
WHERE relation.relnamespace OPERATOR(pg_catalog.=) schema.oid
  AND relation.relname OPERATOR(pg_catalog.=) ANY ('{{columns,owned,claims,marks}}'::pg_catalog.name[])
  AND (relation.relkind OPERATOR(pg_catalog.<>) 'r' OR relation.relhasrules OR relation.relrowsecurity
       OR found.triggers OR found.heirs OR found.types OR found.open
       OR relation.relowner OPERATOR(pg_catalog.<>) schema.nspowner)
UNION ALL
SELECT function.proname::pg_catalog.text, 'belongs to another role than the schema'
FROM pg_catalog.pg_proc AS function
WHERE function.pronamespace OPERATOR(pg_catalog.=) schema.oid
  AND function.proname OPERATOR(pg_catalog.=) ANY ({functions}::pg_catalog.name[])
  AND function.proowner OPERATOR(pg_catalog.<>) schema.nspowner
ORDER BY 1 LIMIT 1
"""
_CREATORS = """
SELECT coalesce(role.rolname::pg_catalog.text, 'PUBLIC')
FROM pg_catalog.aclexplode(schema.nspacl) AS acl
LEFT JOIN pg_catalog.pg_roles AS role ON role.oid OPERATOR(pg_catalog.=) acl.grantee
WHERE acl.privilege_type OPERATOR(pg_catalog.=) 'CREATE'
  AND NOT coalesce({trusted_role}, false)
ORDER BY 1 LIMIT 1
"""


def version(connection: Connection) -> int | None:
    """Of this database's schema azpg; None if it has none.

    Raises `LedgerMismatch` unless it is azpg's, to be seen by this role, as azpg makes it, and of whom to
    trust.
    """
    database = connection.info.dbname
    query = sql.SQL(_SCHEMA).format(
        trusted=trusted("owner"),
        strange=sql.SQL(_STRANGE).format(
            trusted_role=trusted("role"), functions=sql.Literal(list(_FUNCTIONS))
        ),
        creators=sql.SQL(_CREATORS).format(trusted_role=trusted("role")),
    )
    row = connection.execute(query).fetchone()
    if row is None:
        return None
    comment, visible, fine, owner, user, strange, why, creator = row
    match = _COMMENT.match(comment or "")
    if match is None:
        raise LedgerMismatch(
            f"the database {database!r} has a schema azpg that azpg has not made: "
            "rename it, or use another database."
        )
    if not visible:
        raise LedgerMismatch(
            f"the role {user!r} may not see schema azpg of the database {database!r}: log in "
            "as the server's admin, or the role that applied first (--user, or the connection string)."
        )
    if not fine:
        raise LedgerMismatch(
            f"schema azpg of the database {database!r} belongs to the role {owner!r}, which is no admin of "
            f"this server as {user!r} is, so that nothing in it is trusted: if azpg made it, let the role "
            f"{owner!r} run this, or look through it and ALTER SCHEMA azpg OWNER TO {user!r}, of its tables, "
            "too; otherwise drop it."
        )
    if strange is not None:
        raise LedgerMismatch(
            f"azpg.{strange} of the database {database!r} {why}, which azpg does not make so: "
            "nothing in schema azpg is trusted until you have looked who did that, and put it right."
        )
    if creator is not None:
        raise LedgerMismatch(
            f"the role {creator} may create things in schema azpg of the database {database!r}: look "
            "through it, and REVOKE CREATE ON SCHEMA azpg."
        )
    return int(match[1])
