"""What locks forbid: ReadOnly every change in its scope, CanNotDelete every deletion there."""

from __future__ import annotations

from azpg_runtime.arm.address import Address
from azpg_runtime.arm.state import State
from azpg_runtime.errors import ArmRefusal

LOCKS = "Microsoft.Authorization/locks"
_READING = {"GET", "HEAD"}


def check_locks(state: State, method: str, address: Address) -> None:
    """Raises `ArmRefusal` if a lock forbids a request that changes something.

    A lock holds for what it is on, for all that is in that, and for actions (POST). What its scope lies in
    can be changed, but not deleted. Locks themselves can be made and removed in spite of others.

    Args:
        state: where the locks are.
        method: the request's.
        address: what it is for.
    """
    if method in _READING or address.kind == LOCKS.lower():
        return
    target = address if address.is_resource or address.parent is None else address.parent
    deletes = method == "DELETE"
    verb = "delete" if deletes else "write"
    found = []
    for lock in state.all_of(LOCKS.lower()):
        scope, level = lock.address.parent, lock.properties["level"]
        if scope is None or level not in ({"ReadOnly", "CanNotDelete"} if deletes else {"ReadOnly"}):
            continue
        if _is_in(target, scope) or (deletes and _is_in(scope, target)):
            found.append(f"'{scope}'")
    if found:
        raise ArmRefusal(
            409,
            "ScopeLocked",
            f"The scope '{target}' cannot perform {verb} operation because following scope(s) are locked: "
            f"{', '.join(found)}. Please remove the lock and try again.",
        )


def _is_in(inner: Address, outer: Address) -> bool:
    return f"{inner.key}/".startswith(f"{outer.key}/")
