"""Makes a plan. A pure function: what a server has is read before, in `azpg_provision.plan.inspection`."""

from __future__ import annotations

from functools import partial

from azpg_provision.plan.columns import plan_columns
from azpg_provision.plan.database import plan_database
from azpg_provision.plan.plan import Draft, Plan
from azpg_provision.plan.server import plan_server
from azpg_provision.plan.state import State
from azpg_provision.spec.model import Spec


def plan(spec: Spec, state: State, *, refused: bool = False) -> Plan:
    """The changes that lead from `state` to `spec`; none where it is as it should be.

    Raises `PlanRefused` with every reason why there can be none. With `refused`, columns and init files that
    cannot be planned are in the plan as such, beside what can.
    """
    draft = Draft()
    plan_server(spec, state, draft)
    for number, database in enumerate(spec.databases):
        plan_database(database, state, draft)
        plan_columns(database, state, draft, partial(spec.written, "databases", number, "tables"))
    return draft.finish(state.server.name, refused=refused)
