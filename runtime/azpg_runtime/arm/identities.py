"""Managed identities: principals of the directory that belong to a resource, and stay as long as it does."""

from __future__ import annotations

from azpg_runtime.arm.address import Address
from azpg_runtime.arm.identity.identities import Identities
from azpg_runtime.arm.state import Json, Resource, State
from azpg_runtime.errors import ArmRefusal, IdentityNotFound

USER_ASSIGNED = "Microsoft.ManagedIdentity/userAssignedIdentities"


class ManagedIdentities:
    """The identities of resources.

    Args:
        state: where the resources are.
        directory: where the identities are.
    """

    def __init__(self, state: State, directory: Identities) -> None:
        self._state = state
        self._directory = directory

    def fill(self, resource: Resource) -> None:
        """Gives a resource's identity what only the service knows. Raises `ArmRefusal` for an unknown one."""
        identity = resource.body.get("identity")
        if resource.body["type"] == USER_ASSIGNED:
            return
        if identity is None:
            self.remove(resource)
            return
        kinds = {one.strip() for one in str(identity.get("type", "None")).split(",")}
        for name in ("principalId", "tenantId"):
            identity.pop(name, None)
        if "UserAssigned" in kinds:
            named = identity.get("userAssignedIdentities") or {}
            if not named:
                raise ArmRefusal(
                    400,
                    "MissingIdentityIds",
                    "The identity ids must not be null or empty for 'UserAssigned' identity type. Name one, "
                    "or use the type None or SystemAssigned.",
                )
            identity["userAssignedIdentities"] = {id_: self._assigned(id_) for id_ in named}
        else:
            identity.pop("userAssignedIdentities", None)
        if "SystemAssigned" in kinds:
            found = self._directory.add_managed(resource.address.name, str(resource.body["id"]))
            identity["principalId"] = found.object_id
        else:
            self.remove(resource)
        if kinds != {"None"}:
            identity["tenantId"] = self._directory.tenant_id

    def own(self, resource: Resource) -> Json:
        """What a user-assigned identity is."""
        found = self._directory.add_managed(resource.address.name, str(resource.body["id"]))
        return {
            "principalId": found.object_id,
            "clientId": found.client_id,
            "tenantId": self._directory.tenant_id,
        }

    def remove(self, resource: Resource) -> None:
        """Removes what belongs to a resource, if anything does."""
        try:
            found = self._directory.find(str(resource.body["id"]))
        except IdentityNotFound:
            return
        self._directory.remove(found.object_id)

    def _assigned(self, id_: str) -> Json:
        found = self._state.get(Address.parse(id_))
        if found is None or found.body["type"] != USER_ASSIGNED:
            raise ArmRefusal(
                400,
                "FailedIdentityOperation",
                f"The identity '{id_}' was not found. Create the {USER_ASSIGNED} first.",
            )
        return {name: found.properties[name] for name in ("principalId", "clientId")}


def merge_identity(old: Json | None, new: Json, *, replace_assigned: bool) -> Json:
    """A resource's identity with what a request says of it. Ids are the same in any case.

    Azure's documentation of `identity` says this of HorizonDB, and the az command line's `postgres
    flexible-server identity remove` relies on it: PUT replaces the set of user-assigned identities, PATCH
    adds to it and removes those whose value is null, and a type without UserAssigned clears it.

    Args:
        old: what there is, if anything.
        new: the request's own; an assigned identity may be null.
        replace_assigned: whether `userAssignedIdentities`, where given, is the whole set, as of PUT.
    """
    merged = (old or {}) | new
    if "userAssignedIdentities" not in new:
        return merged
    before = {} if replace_assigned else (old or {}).get("userAssignedIdentities", {})
    assigned = {id_.lower(): (id_, value) for id_, value in before.items()}
    for id_, value in new["userAssignedIdentities"].items():
        spelled = assigned.pop(id_.lower(), (id_, None))[0]
        if value is not None:
            assigned[id_.lower()] = (spelled, value)
    return merged | {"userAssignedIdentities": dict(assigned.values())}
