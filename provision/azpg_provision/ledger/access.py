"""Who may use what azpg makes in schema azpg: its owner, whatever default privileges say of new things."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from psycopg import sql

from azpg_provision.errors import ApplyFailed
from azpg_provision.target.connecting import atomic
from azpg_provision.target.target import Connection

# To whom it is open is in the catalogues.
_CLOSE = """
DECLARE
    azpg_grantee pg_catalog.text;
BEGIN
    FOR azpg_grantee IN
        SELECT DISTINCT pg_catalog.quote_ident(role.rolname)
        FROM pg_catalog.{catalog} AS made
        CROSS JOIN LATERAL pg_catalog.aclexplode(made.{acl}) AS acl
        JOIN pg_catalog.pg_roles AS role ON role.oid OPERATOR(pg_catalog.=) acl.grantee
        WHERE made.oid OPERATOR(pg_catalog.=) ANY (ARRAY[{names}]::pg_catalog.oid[])
          AND acl.grantee OPERATOR(pg_catalog.<>) made.{owner}
        UNION ALL
        SELECT 'PUBLIC'
    LOOP
        EXECUTE pg_catalog.concat({revoke}, azpg_grantee, ' CASCADE');
    END LOOP;
END
"""
_CATALOGS = {
    "SCHEMA": {"acl": "nspacl", "owner": "nspowner", "catalog": "pg_namespace", "type": "regnamespace"},
    "TABLE": {"acl": "relacl", "owner": "relowner", "catalog": "pg_class", "type": "regclass"},
    "FUNCTION": {"acl": "proacl", "owner": "proowner", "catalog": "pg_proc", "type": "regprocedure"},
}
# What a role, or one below it, owns in schema azpg and this transaction, or a later one, made or replaced.
_MADE = """
SELECT place.classid::pg_catalog.int8, place.objid::pg_catalog.int8,
       pg_catalog.concat(function.xmin, '.', function.cmin),
       coalesce(relation.relname, function.proname)::pg_catalog.text,
       pg_catalog.pg_describe_object(place.classid, place.objid, 0)
FROM pg_catalog.pg_depend AS place
JOIN pg_catalog.pg_shdepend AS owner
  ON owner.classid OPERATOR(pg_catalog.=) place.classid AND owner.objid OPERATOR(pg_catalog.=) place.objid
JOIN pg_catalog.pg_database AS database ON database.oid OPERATOR(pg_catalog.=) owner.dbid
JOIN pg_catalog.pg_roles AS role ON role.oid OPERATOR(pg_catalog.=) owner.refobjid
LEFT JOIN pg_catalog.pg_class AS relation
       ON place.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass
      AND relation.oid OPERATOR(pg_catalog.=) place.objid
LEFT JOIN pg_catalog.pg_proc AS function
       ON place.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass
      AND function.oid OPERATOR(pg_catalog.=) place.objid
WHERE place.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass
  AND place.refobjid OPERATOR(pg_catalog.=) pg_catalog.to_regnamespace('azpg')::pg_catalog.oid
  AND database.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()
  AND owner.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_authid'::pg_catalog.regclass
  AND owner.deptype OPERATOR(pg_catalog.=) 'o'
  AND (pg_catalog.age(place.xmin) OPERATOR(pg_catalog.<=) 0
       OR pg_catalog.age(function.xmin) OPERATOR(pg_catalog.<=) 0)
  AND (role.rolname OPERATOR(pg_catalog.=) %(owner)s::pg_catalog.name
       OR role.rolname OPERATOR(pg_catalog.<>) session_user
          AND pg_catalog.pg_has_role(role.oid, %(owner)s::pg_catalog.name, 'USAGE'))
ORDER BY 4
"""
_SHOWN = 3
"""Objects that a message names."""


def granting(connection: Connection) -> None:
    """Waits, in a transaction, until nobody else changes who may use schema azpg, and keeps others waiting.

    PostgreSQL fails one of two who grant on a schema at the same time: "tuple concurrently updated". The lock
    is one that only the schema's owner can take; an advisory lock would be anybody's.
    """
    connection.execute("LOCK TABLE azpg.owned IN SHARE ROW EXCLUSIVE MODE")


@contextmanager
def creating(connection: Connection, owner: str, names: Collection[str]) -> Iterator[None]:
    """A transaction in which a role may create in schema azpg; afterwards it may see it, and no more.

    Nobody but this session sees that it may create there: it may not any more when that is committed.

    Args:
        connection: in any transaction, or none.
        owner: the role.
        names: of the tables and functions that azpg makes or gives the role there, each once.

    Raises `ApplyFailed` where the role has more afterwards, or another function in the place of one that was
    there, which only code of its own can have made.
    """
    role = sql.Identifier(owner)
    query = (
        "SELECT nspowner::pg_catalog.regrole OPERATOR(pg_catalog.=) pg_catalog.to_regrole("
        "pg_catalog.quote_ident(%s)) FROM pg_catalog.pg_namespace WHERE nspname OPERATOR(pg_catalog.=) 'azpg'"
    )
    own = connection.execute(query, [owner]).fetchone() == (True,)
    with atomic(connection):
        if not own:
            granting(connection)
            connection.execute(sql.SQL("GRANT USAGE, CREATE ON SCHEMA azpg TO {}").format(role))
            before = {tuple(row[:-2]) for row in connection.execute(_MADE, {"owner": owner}).fetchall()}
        yield
        if not own:
            found = connection.execute(_MADE, {"owner": owner}).fetchall()
            made = [(name, what) for *number, name, what in found if tuple(number) not in before]
            _check_made(made, owner, names)
            connection.execute(sql.SQL("REVOKE CREATE ON SCHEMA azpg FROM {}").format(role))


def _check_made(made: list[tuple[str | None, str]], owner: str, names: Collection[str]) -> None:
    """Raise `ApplyFailed` for what is not azpg's: another name, or another object by the same one."""
    count = Counter(name for name, _ in made)
    strange = [what for name, what in made if name not in names or count[name] > 1]
    if strange:
        more = f" and {len(strange) - _SHOWN} more" if len(strange) > _SHOWN else ""
        raise ApplyFailed(
            f"code of the role {owner!r}, who owns the table, made what is not azpg's in schema azpg: "
            f"{', '.join(strange[:_SHOWN])}{more}. Nothing was changed. A type's conditions may create "
            "nothing there, nor what they call: look at those of the types that the text names, and run "
            "`azpg apply` again."
        )


def close(connection: Connection, kind: str, *names: sql.Composable, owner: str | None = None) -> None:
    """Revokes everything from everybody but the owner, by `closing`.

    Args:
        connection: of the owner, or a member of it.
        kind: as of `closing`.
        names: as of `closing`.
        owner: as of `closing`.
    """
    connection.execute(closing(kind, *names, owner=owner))


def closing(kind: str, *names: sql.Composable, owner: str | None = None) -> sql.Composed:
    """A statement that revokes everything from everybody but the owner.

    ALTER DEFAULT PRIVILEGES can have opened what was just made to any role: then it could hang a trigger
    function, which runs with its owner's rights, on a table of its own.

    Args:
        kind: ``SCHEMA``, ``TABLE`` (a sequence, too) or ``FUNCTION``.
        names: qualified; a function's with its argument types.
        owner: whose it is afterwards, as of `giving`; None for whose it is.
    """
    words = _CATALOGS[kind]
    oids = [sql.SQL("{}::pg_catalog.{}").format(_text(one), sql.SQL(words["type"])) for one in names]
    revoke = sql.SQL("REVOKE ALL ON {} {} FROM ").format(sql.SQL(kind), sql.SQL(", ").join(names))
    body = sql.SQL(_CLOSE).format(
        names=sql.SQL(", ").join(oids),
        revoke=_text(revoke),
        **{key: sql.SQL(word) for key, word in words.items() if key != "type"},
    )
    statement = sql.SQL("DO {}").format(_text(body))
    if owner is not None:
        statement = sql.SQL("{}; {}").format(statement, giving(owner, kind, *names))
    return statement


def giving(owner: str, kind: str, *names: sql.Composable) -> sql.Composed:
    """Statements that give what was made in schema azpg to a role that may create there.

    Args:
        owner: the role.
        kind: as of `closing`.
        names: as of `closing`.
    """
    role = sql.Identifier(owner)
    return sql.SQL("; ").join(
        sql.SQL("ALTER {} {} OWNER TO {}").format(sql.SQL(kind), name, role) for name in names
    )


def _text(name: sql.Composable) -> sql.Literal:
    return sql.Literal(name.as_string())
