"""What a plan changes in one database, but for its columns: extensions, ledger, init files, grants."""

from __future__ import annotations

from azpg_provision.ledger import VERSION
from azpg_provision.plan.change import Action, Kind
from azpg_provision.plan.plan import Draft
from azpg_provision.plan.state import DatabaseState, State
from azpg_provision.spec.identifier import qualified, quoted
from azpg_provision.spec.model import Database, Extension, Grant


def plan_database(database: Database, state: State, draft: Draft) -> None:
    """Adds what is missing to `draft`."""
    found = state.databases.get(database.name, DatabaseState())
    for extension in database.extensions:
        _extension(extension, database, found, state, draft)
    if (database.init or database.tables) and not found.ledger:
        draft.add(Action.CREATE, Kind.LEDGER, "azpg", database=database.name, after={"version": VERSION})
    elif found.version is not None and found.version != VERSION:
        draft.add(
            Action.UPDATE,
            Kind.LEDGER,
            "azpg",
            database=database.name,
            before={"version": found.version},
            after={"version": VERSION},
            note="carries over what an earlier azpg made, with its triggers; nothing is embedded anew",
        )
    if found.former:
        draft.add(
            Action.UPDATE,
            Kind.LEDGER,
            "azpg",
            database=database.name,
            before={"usage": list(found.former)},
            after={"usage": []},
            note=f"takes the use of the schema back from {' and '.join(map(quoted, found.former))}: no "
            "vectorized table belongs to them any more",
        )
    to_run = [file.path for file in database.init if ("init", file.path) not in found.owned]
    for reason in found.init:
        draft.refuse(reason, Kind.INIT, database=database.name, name=to_run[0])
    for reason in found.later_init:
        draft.notes.append(
            f"{reason}. `azpg apply` looks at that when the turn of the file comes, after {to_run[0]}, and "
            "ends before it if it is still so."
        )
    for file in database.init:
        ran = found.owned.get(("init", file.path))
        if ran is None:
            after = {"sha256": file.sha256}
            draft.add(Action.CREATE, Kind.INIT, file.path, database=database.name, after=after)
        elif ran.get("sha256") != file.sha256:
            draft.notes.append(
                f"{file.path} was changed after it had run in {quoted(database.name)}; it is not run again."
            )
    for grant in database.grants:
        if grant.member_of is not None:
            _membership(grant, grant.member_of, database, found, state, draft)
        else:
            _privileges(grant, database, found, state, draft)


def pending_init(database: Database, found: DatabaseState) -> bool:
    """Whether an init file is still to run, which may make what is not there yet."""
    return any(("init", file.path) not in found.owned for file in database.init)


def _extension(
    wanted: Extension, database: Database, found: DatabaseState, state: State, draft: Draft
) -> None:
    available = state.server.available.get(wanted.name)
    if available is None:
        return  # refused for the whole server
    live = found.live.extensions.get(wanted.name)
    installed = live.installed if live is not None else None
    version = wanted.version
    if version is not None and version != installed and version not in available.versions:
        draft.refuse(
            f"the server has no version {version} of the extension {wanted.name}: use "
            f"{' or '.join(sorted(available.versions))}, or leave the version out"
        )
        return
    if installed is None:
        after = {"version": version or available.default, "cascade": wanted.cascade}
        draft.add(Action.CREATE, Kind.EXTENSION, wanted.name, database=database.name, after=after)
    elif version is not None and version != installed:
        draft.add(
            Action.UPDATE,
            Kind.EXTENSION,
            wanted.name,
            database=database.name,
            before={"version": installed},
            after={"version": version},
        )


def _has_role(role: str, database: Database, found: DatabaseState, state: State, draft: Draft) -> bool:
    """Whether there is a role, or may be one after an init file."""
    if role in state.server.roles or pending_init(database, found):
        return True
    draft.refuse(
        f"there is no role {quoted(role)}: make it with CREATE ROLE, here or in an init file of "
        f"{quoted(database.name)}, or leave the grant out"
    )
    return False


def _membership(
    grant: Grant, of: str, database: Database, found: DatabaseState, state: State, draft: Draft
) -> None:
    roles = [_has_role(role, database, found, state, draft) for role in (grant.role, of)]
    if all(roles) and (grant.role, of) not in state.server.members:
        name = f"{quoted(of)} to {quoted(grant.role)}"
        draft.add(Action.CREATE, Kind.GRANT, name, database=database.name, after={"member_of": of})


def _privileges(grant: Grant, database: Database, found: DatabaseState, state: State, draft: Draft) -> None:
    on = grant.on
    if on is None or not _has_role(grant.role, database, found, state, draft):
        return
    place = qualified(on.schema_, *([on.table] if on.table is not None else []))
    there = (on.schema_, on.table) in found.live.places or database.name not in state.databases
    if not there and not pending_init(database, found):
        draft.refuse(
            f"there is no {'schema' if on.table is None else 'table'} {place} in the database "
            f"{quoted(database.name)}, and no init file that is still to run: make it, or leave the grant out"
        )
        return
    live = found.live.privileges
    missing = [one for one in grant.privileges if (grant.role, on.schema_, on.table, one) not in live]
    if missing:
        name = f"{', '.join(missing)} on {place} to {quoted(grant.role)}"
        after = {"privileges": missing}
        draft.add(Action.CREATE, Kind.GRANT, name, database=database.name, after=after)
