"""Managed identities: principals that belong to a resource, with ids that stay as long as they do."""

from __future__ import annotations

import uuid

from azpg_runtime.arm.address import Address
from azpg_runtime.arm.state import Json, Resource, State
from azpg_runtime.errors import ArmRefusal

_PRINCIPAL = "principal_id"
USER_ASSIGNED = "Microsoft.ManagedIdentity/userAssignedIdentities"


def fill_identity(state: State, tenant: str, resource: Resource) -> None:
    """Gives a resource's identity what only the service knows. Raises `ArmRefusal` for an unknown one."""
    identity = resource.body.get("identity")
    if identity is None:
        resource.private.pop(_PRINCIPAL, None)
        return
    kinds = {one.strip() for one in str(identity.get("type", "None")).split(",")}
    if "SystemAssigned" in kinds:
        identity["principalId"] = resource.private.setdefault(_PRINCIPAL, str(uuid.uuid4()))
    else:
        resource.private.pop(_PRINCIPAL, None)
        identity.pop("principalId", None)
    if kinds != {"None"}:
        identity["tenantId"] = tenant
    else:
        identity.pop("tenantId", None)
    if "UserAssigned" in kinds:
        named = identity.get("userAssignedIdentities") or {}
        identity["userAssignedIdentities"] = {id_: _assigned(state, id_) for id_ in named}
    else:
        identity.pop("userAssignedIdentities", None)


def _assigned(state: State, id_: str) -> Json:
    found = state.get(Address.parse(id_))
    if found is None or found.body["type"] != USER_ASSIGNED:
        raise ArmRefusal(
            400,
            "FailedIdentityOperation",
            f"The identity '{id_}' was not found. Create the {USER_ASSIGNED} first.",
        )
    return {name: found.properties[name] for name in ("principalId", "clientId")}
