"""Does the changes of a plan, one by one, in order; each is committed before the next begins."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass

import psycopg

from azpg.errors import AzpgError
from azpg_provision.apply import columns, database, server
from azpg_provision.apply.lock import locked
from azpg_provision.apply.reporter import Reporter
from azpg_provision.apply.work import Work
from azpg_provision.errors import ApplyFailed
from azpg_provision.plan.change import Change, Kind
from azpg_provision.plan.inspection import inspect
from azpg_provision.plan.plan import Plan
from azpg_provision.plan.planning import plan
from azpg_provision.spec.model import Spec
from azpg_provision.target.target import Target

Step = Callable[[Work, Change], str | None]
"""Does a change; returns what came of it, where there is more to say than that it is done."""
STEPS: Mapping[Kind, Step] = {
    Kind.ALLOWED_EXTENSION: server.allow,
    Kind.PRELOADED_LIBRARY: server.preload,
    Kind.RESTART: server.restart,
    Kind.DATABASE: server.create_database,
    Kind.EXTENSION: database.extension,
    Kind.SETTING: server.set_setting,
    Kind.MODEL: server.register,
    Kind.LEDGER: database.create_ledger,
    Kind.INIT: database.init,
    Kind.GRANT: database.grant,
    Kind.COLUMN: columns.column,
    Kind.SYNC: columns.sync,
    Kind.ROWS: columns.rows,
    Kind.INDEX: columns.index,
}


@dataclass(frozen=True, slots=True)
class Permission:
    """What a person has allowed an apply to do."""

    restart: bool = False
    replace: bool = False


def apply(target: Target, spec: Spec, confirmed: Plan, permission: Permission, report: Reporter) -> None:
    """Does exactly what `confirmed` says, under the target's lock.

    Args:
        target: where.
        spec: what the plan was made of.
        confirmed: what a person has seen and said yes to.
        permission: what of it they have allowed explicitly.
        report: told what is done.

    Raises `PlanRefused` before anything is done for what is not allowed, `ApplyFailed` if the server is not
    as it was when the plan was made, or when a change does not succeed. Those before it stay; another plan
    and apply go on from there, whatever has ended this one. A KeyboardInterrupt says so, too.
    """
    confirmed.check(allow_restart=permission.restart, allow_replace=permission.replace)
    changes = confirmed.changes
    rows = frozenset((change.database, change.name) for change in changes if change.kind is Kind.ROWS)
    work = Work(target, spec, report, rows)
    with locked(target, report.tell) as lock, closing(work):
        _same(changes, target, spec)
        for number, change in enumerate(changes):
            lock.check()
            report.begin(change, number + 1, len(changes))
            began = time.monotonic()
            result = _do(work, change, number, len(changes))
            report.done(change, result or "", time.monotonic() - began)
            if change.kind is Kind.RESTART:
                lock.release()
                lock.take()
                _same(changes[number + 1 :], target, spec)


def _same(expected: tuple[Change, ...], target: Target, spec: Spec) -> None:
    """Raises `ApplyFailed` unless a plan made now is the one that was confirmed, or what is left of it."""
    now = plan(spec, inspect(target, spec)).changes
    if now != expected:
        differing = [change for change in (*now, *expected) if (change in now) is not (change in expected)]
        named = f": {differing[0]}" if differing else ""
        raise ApplyFailed(
            f"{target.name} has changed since the plan was made{named}. Nothing more is done: look at `azpg "
            "plan` and apply again."
        )


def _do(work: Work, change: Change, number: int, total: int) -> str | None:
    try:
        return STEPS[change.kind](work, change)
    except KeyboardInterrupt as error:
        raise type(error)(_stand(number, total)) from None
    except psycopg.Error as error:
        said = (error.diag.message_primary or str(error)).strip().splitlines()[0].rstrip(".")
        details = "".join(
            f". {' '.join(part.split()).rstrip('.')}"
            for part in (error.diag.message_detail, error.diag.message_hint)
            if part
        )
        raise ApplyFailed(f"{change}: {said}{details}. {_stand(number, total)}") from None
    except AzpgError as error:
        raise ApplyFailed(f"{change}: {error} {_stand(number, total)}") from None


def _stand(number: int, total: int) -> str:
    return f"{number} of {total} changes are done and stay; `azpg apply` goes on from there."
