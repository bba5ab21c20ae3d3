"""Whether azpg may act as the owners of tables: its rights, the types of keys, and what is attached.

Of many tables in one statement: what that costs is its planning. Two more say what is wrong where a key has
types that do not come with PostgreSQL, or something is attached that is not plainly the owner's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from azpg_provision.live.trust import own
from azpg_provision.spec.identifier import quoted
from azpg_provision.sync import attached
from azpg_provision.sync.dependencies import judged_for, of_keys, wrong_key
from azpg_provision.sync.tables import Tables, Wanted
from azpg_provision.target.target import Connection

# 'SET' is a privilege of a membership since PostgreSQL 16.
_OWNERS = """
SELECT azpg_wanted.number, owner.rolname::pg_catalog.text,
       pg_catalog.pg_has_role(owner.oid, CASE
           WHEN pg_catalog.current_setting('server_version_num')::pg_catalog.int4
                OPERATOR(pg_catalog.<) 160000
           THEN 'MEMBER' ELSE 'SET' END) AND pg_catalog.pg_has_role(owner.oid, 'USAGE'),
       current_user::pg_catalog.text, schema.nspname::pg_catalog.text,
       coalesce(pg_catalog.has_schema_privilege(
           owner.oid, pg_catalog.to_regnamespace('azure_local_ai')::pg_catalog.oid, 'USAGE'), true),
       class.relrowsecurity AND class.relforcerowsecurity AND NOT (owner.rolsuper OR owner.rolbypassrls),
       pg_catalog.has_schema_privilege(owner.oid, class.relnamespace, 'USAGE'),
       landlord.rolname::pg_catalog.text, {own},
       {to_judge}
FROM ({tables}) AS azpg_wanted (number, relation, keys, written, strict)
JOIN pg_catalog.pg_class AS class
  ON class.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass(azpg_wanted.relation)
JOIN pg_catalog.pg_namespace AS schema ON schema.oid OPERATOR(pg_catalog.=) class.relnamespace
JOIN pg_catalog.pg_roles AS owner ON owner.oid OPERATOR(pg_catalog.=) class.relowner
JOIN pg_catalog.pg_database AS database
  ON database.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()
JOIN pg_catalog.pg_roles AS landlord
  ON landlord.oid OPERATOR(pg_catalog.=)
     CASE WHEN pg_catalog.pg_get_userbyid(schema.nspowner) OPERATOR(pg_catalog.=) 'pg_database_owner'
          THEN database.datdba ELSE schema.nspowner END
"""
_TO_JUDGE = "EXISTS ({keys}), EXISTS ({attached})"
_THIS = """
SELECT azpg_wanted.number, azpg_wanted.relation, azpg_wanted.keys, azpg_wanted.written, azpg_wanted.strict
"""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What there is to say of a table.

    Attributes:
        owner: the role that owns it; None of one that is not there, of which nothing else is known.
        rights: why azpg cannot act as that role there, and what to do; empty if it can.
        key: what is wrong with the types of its key; empty if nothing is.
        attached: what is wrong with what is attached to it; empty if nothing is.
    """

    owner: str | None = None
    rights: str = ""
    key: str = ""
    attached: str = ""

    @property
    def foreign(self) -> str:
        """In what others have a say."""
        return self.key or self.attached

    @property
    def why(self) -> str:
        """Why rows cannot be embedded with the owner's rights, and what to do; empty if they can."""
        return self.rights or self.foreign


def _to_judge() -> sql.Composed:
    """Two expressions, over a row of tables by the name azpg_wanted: whether `judge` has more to ask.

    They cost little: whether there is something in a key's types, or attached, that has to be judged.
    """
    this = sql.SQL(_THIS)
    return sql.SQL(_TO_JUDGE).format(keys=of_keys(this), attached=attached.attached(this))


def verdicts(connection: Connection, wanted: Sequence[Wanted]) -> list[Verdict]:
    """What there is to say of tables, as many as there are. Nothing but catalogues is read.

    Args:
        connection: in any transaction, or none.
        wanted: the tables.
    """
    if not wanted:
        return []
    query = sql.SQL(_OWNERS).format(
        tables=Tables(wanted).query, own=own("landlord", "owner", members=True), to_judge=_to_judge()
    )
    rows = {number: row for number, *row in connection.execute(query).fetchall()}
    keys = _foreign_keys(connection, wanted, [number for number, row in rows.items() if row[-2]])
    others = _foreign_attached(connection, wanted, [number for number, row in rows.items() if row[-1]])
    return [
        Verdict(rows[number][0], _trouble(*rows[number][:-2]), keys.get(number, ""), others.get(number, ""))
        if number in rows
        else Verdict()
        for number in range(len(wanted))
    ]


def _foreign_keys(connection: Connection, wanted: Sequence[Wanted], numbers: Sequence[int]) -> dict[int, str]:
    """What is wrong with the keys of the tables of these numbers, by their numbers."""
    if not numbers:
        return {}
    tables = Tables([wanted[number] for number in numbers])
    found = judged_for(connection, of_keys(tables.query), members=False)
    return {
        numbers[place]: wrong_key(connection, tables.wanted[place].name, [row for _, _, row in rows])
        for place, rows in found.items()
    }


def _foreign_attached(
    connection: Connection, wanted: Sequence[Wanted], numbers: Sequence[int]
) -> dict[int, str]:
    """What is wrong with what is attached to the tables of these numbers, by their numbers."""
    if not numbers:
        return {}
    tables = Tables([wanted[number] for number in numbers])
    return dict(zip(numbers, attached.foreign_to(connection, tables), strict=True))


def _trouble(
    owner: str,
    may: bool,
    user: str,
    schema: str,
    embeds: bool,
    hides: bool,
    sees: bool,
    landlord: str,
    is_safe: bool,
) -> str:
    rows = f"the role {owner!r}, which owns the table and with whose rights its rows are embedded,"
    who = quoted(owner)
    if not may:
        return (
            f"the table belongs to the role {owner!r}, as which {user!r} cannot act: GRANT {who} TO "
            f"{quoted(user)} (from PostgreSQL 16 on WITH INHERIT TRUE, SET TRUE), or change the owner of the "
            "table, and of the functions that its triggers, indexes and constraints call"
        )
    if not sees:
        return f"{rows} may not use the schema {schema!r}: GRANT USAGE ON SCHEMA {quoted(schema)} TO {who}"
    if not is_safe:
        return (
            f"the schema {schema!r} belongs to the role {landlord!r}, which could rename it and give the "
            f"table's name to another, on which what it likes would run with the rights of {owner!r}: "
            f"ALTER SCHEMA {quoted(schema)} OWNER TO {who}, or to an admin, or ALTER TABLE … SET SCHEMA"
        )
    if hides:
        return (
            f"row-level security is forced on {rows[:-1]}: ALTER TABLE … NO FORCE ROW LEVEL SECURITY, or "
            "give that role BYPASSRLS"
        )
    if not embeds:
        return f"{rows} may not use azure_local_ai: GRANT USAGE ON SCHEMA azure_local_ai TO {who}"
    return ""
