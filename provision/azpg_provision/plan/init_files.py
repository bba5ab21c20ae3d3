"""Whose functions, operators and types an init file would use, looked up where others may have put some.

What fits better than PostgreSQL's own is called in its place, with the rights of who applies.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from importlib.resources import files

from psycopg import sql

from azpg_provision.live.trust import administers, trusted
from azpg_provision.spec.identifier import quoted
from azpg_provision.spec.values import InitFile
from azpg_provision.sync.session import template
from azpg_provision.target.target import Connection

# A grant to pg_database_owner is one to whoever owns the database.
_CREATOR = """
CASE WHEN given.rolname OPERATOR(pg_catalog.=) 'pg_database_owner' THEN database.datdba ELSE acl.grantee END,
acl.grantee OPERATOR(pg_catalog.=) schema.nspowner
"""


def troubles(connection: Connection, wanted: Iterable[InitFile]) -> list[str]:
    """Why files cannot be run by this role, and what to do; nothing but catalogues is read."""
    by_path: dict[tuple[str, ...], list[str]] = {}
    for file in wanted:
        by_path.setdefault(file.search_path, []).append(file.path)
    return [text for path, names in by_path.items() for text in _troubles(connection, path, names)]


def _troubles(connection: Connection, path: tuple[str, ...], names: list[str]) -> Iterator[str]:
    query = sql.SQL(_query()).format(
        schemas=sql.Literal(list(path)),
        creators=template("creators").format(owner=sql.SQL("session_user"), who=sql.SQL(_CREATOR)),
        trusted=trusted("role"),
        admin=administers("role"),
    )
    many = len(names) > 1
    looks = f"{' and '.join(names)} {'look' if many else 'looks'} names up in the schema"
    begin = (
        f"begin {'each file' if many else 'the file'} with SET search_path = …, pg_temp and only schemas in "
        "which nobody else may create"
    )
    for schema, role, owns, count, name, user in connection.execute(query).fetchall():
        who = "everybody" if role is None else f"the role {role!r}"
        me, place = quoted(user), quoted(schema)
        if count:
            what = (
                f"{count} functions, operators and types, such as {name}, belong"
                if count > 1
                else f"{name} belongs"
            )
            them = "them" if count > 1 else "it"
            yield (
                f"{looks} {schema}, where {what} to {who}, who could let {them} do anything with the rights "
                f"of {user!r}: drop {them}, or ALTER … OWNER TO {me} once you have read {them}, or {begin}"
            )
        elif owns:
            yield (
                f"{looks} {schema}, in which {who} may create, to which it belongs: its functions could be "
                f"called with the rights of {user!r}. Let that role apply the spec, or ALTER SCHEMA {place} "
                f"OWNER TO {me}, or {begin}"
            )
        else:
            grantee = "PUBLIC" if role is None else quoted(role)
            yield (
                f"{looks} {schema}, in which {who} may create: functions of others could be called with the "
                f"rights of {user!r}. REVOKE CREATE ON SCHEMA {place} FROM {grantee}, or {begin}"
            )


@cache
def _query() -> str:
    return files(__package__).joinpath("init_files.sql").read_text(encoding="utf-8")
