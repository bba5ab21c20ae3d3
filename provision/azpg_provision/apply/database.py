"""Steps in one database, but for its columns."""

from __future__ import annotations

from psycopg import sql

from azpg_provision import ledger
from azpg_provision.apply.work import Work
from azpg_provision.errors import ApplyFailed
from azpg_provision.live.reading import PRINTED_PATH
from azpg_provision.plan.change import Action, Change
from azpg_provision.plan.init_files import troubles
from azpg_provision.spec.identifier import qualified, quoted
from azpg_provision.spec.model import Grant
from azpg_provision.target.target import Connection


def extension(work: Work, change: Change) -> None:
    """Creates an extension, or brings it to another version."""
    wanted = next(one for one in work.database(change).extensions if one.name == change.name)
    name = sql.Identifier(wanted.name)
    if change.action is Action.UPDATE:
        statement = sql.SQL("ALTER EXTENSION {} UPDATE TO {}").format(name, sql.Literal(wanted.version))
    else:
        statement = sql.SQL("CREATE EXTENSION {}").format(name)
        if wanted.version is not None:
            statement += sql.SQL(" VERSION {}").format(sql.Literal(wanted.version))
        if wanted.cascade:
            statement += sql.SQL(" CASCADE")
    with work.connect(change) as connection, connection.transaction():
        connection.execute(PRINTED_PATH)  # public is where an extension goes that names no schema
        connection.execute(statement)


def create_ledger(work: Work, change: Change) -> None:
    """Makes schema azpg, brings an older one to this version, or takes it back from former owners."""
    with work.connect(change) as connection:
        if change.before is not None and "usage" in change.before:
            ledger.dismiss(connection, change.before["usage"])
        elif not ledger.create(connection):
            ledger.carry(connection)


def init(work: Work, change: Change) -> None:
    """Runs an init file, in one transaction with the note that it has run.

    Raises `ApplyFailed` where others may have put what it would call, such as since the plan was made.
    """
    file = next(one for one in work.database(change).init if one.path == change.name)
    with work.connect(change) as connection, connection.transaction():
        if reasons := troubles(connection, [file]):
            raise ApplyFailed(f"{reasons[0]}.")
        connection.execute(PRINTED_PATH)  # a file makes its tables in public, as from a new session
        connection.execute(file.statements.encode())
        # What the file has set for its session must not reach the ledger.
        connection.execute("RESET ROLE")
        connection.execute("RESET search_path")
        ledger.own_init(connection, file.path, file.sha256)


def grant(work: Work, change: Change) -> None:
    """Grants a membership or privileges."""
    for one in work.database(change).grants:
        if _name(one, change) == change.name:
            with work.session(change) as connection:
                _grant(connection, one)
            return
    raise LookupError(change.name)


def _name(wanted: Grant, change: Change) -> str:
    if wanted.on is None:
        return f"{quoted(wanted.member_of or '')} to {quoted(wanted.role)}"
    place = qualified(wanted.on.schema_, *([wanted.on.table] if wanted.on.table is not None else []))
    missing = [one for one in wanted.privileges if one in change.after.get("privileges", [])]
    return f"{', '.join(missing)} on {place} to {quoted(wanted.role)}"


def _grant(connection: Connection, wanted: Grant) -> None:
    role = sql.Identifier(wanted.role)
    if wanted.member_of is not None:
        connection.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(wanted.member_of), role))
        return
    on = wanted.on
    assert on is not None  # a rule of the spec
    privileges = sql.SQL(", ").join(sql.SQL(one) for one in wanted.privileges)
    if on.table is None:
        where = sql.SQL("SCHEMA {}").format(sql.Identifier(on.schema_))
    else:
        where = sql.SQL("TABLE {}").format(sql.Identifier(on.schema_, on.table))
    connection.execute(sql.SQL("GRANT {} ON {} TO {}").format(privileges, where, role))
