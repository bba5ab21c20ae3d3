"""Schema `azpg` in a target database: what azpg made, what it has embedded, and what waits."""

from __future__ import annotations

from azpg_provision.ledger.ledger import (
    VERSION,
    all_carried,
    bury,
    carried,
    carry,
    carry_column,
    columns,
    create,
    definition,
    dismiss,
    exists,
    find,
    forget,
    former_owners,
    left,
    make_functions,
    numbers,
    register,
)
from azpg_provision.ledger.ownership import disown_column, own_column, own_index, own_init, owned, owns
from azpg_provision.ledger.trust import version

__all__ = [
    "VERSION",
    "all_carried",
    "bury",
    "carried",
    "carry",
    "carry_column",
    "columns",
    "create",
    "definition",
    "dismiss",
    "disown_column",
    "exists",
    "find",
    "forget",
    "former_owners",
    "left",
    "make_functions",
    "numbers",
    "own_column",
    "own_index",
    "own_init",
    "owned",
    "owns",
    "register",
    "version",
]
