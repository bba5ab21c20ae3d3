"""Role assignments."""

from __future__ import annotations

import re
import uuid

from azpg_runtime.arm.exchange import Answer, Call, listed
from azpg_runtime.arm.kinds.kind import Kind
from azpg_runtime.arm.schema.types import authorization
from azpg_runtime.arm.state import Resource
from azpg_runtime.errors import ArmRefusal

_FIXED = ("roleDefinitionId", "principalId")


class RoleAssignments(Kind):
    """Who may do what in a scope. Nothing is enforced by the twin."""

    resource_type = "Microsoft.Authorization/roleAssignments"
    model = authorization.RoleAssignment

    def defaults(self, resource: Resource, existing: Resource | None) -> None:
        """See `Kind`."""
        scope = resource.address.scope
        resource.properties["scope"] = str(scope) if scope else "/"
        resource.properties.setdefault("principalType", "User")

    def validate(self, resource: Resource, existing: Resource | None) -> None:
        """See `Kind`."""
        own = resource.properties
        for what, value in (("name", resource.address.name), ("principalId", own["principalId"])):
            if not _is_guid(value):
                raise ArmRefusal(
                    400, "InvalidRequestContent", f"The role assignment's {what} '{value}' is not a GUID."
                )
        if existing and any(_last(existing.properties[one]) != _last(own[one]) for one in _FIXED):
            raise ArmRefusal(
                400,
                "RoleAssignmentUpdateNotPermitted",
                "Tenant ID, application ID, principal ID, and scope are not allowed to be updated. Delete "
                "the role assignment and make another.",
            )
        for other in self.state.all_of(self.resource_type.lower(), resource.address.parent):
            same = all(_last(other.properties[one]) == _last(own[one]) for one in _FIXED)
            scoped = other.properties["scope"].lower() == own["scope"].lower()
            if same and scoped and other.address.key != resource.address.key:
                raise ArmRefusal(
                    409,
                    "RoleAssignmentExists",
                    "The role assignment already exists. The ID of the existing role assignment is "
                    f"{other.body['name']}.",
                )

    def listing(self, call: Call) -> Answer:
        """All of a scope and below, or those of the principal in `$filter`."""
        found = super().listing(call)
        match = re.search(r"(?:principalId eq|assignedTo\()\s*'([^']*)'", call.query.get("$filter", ""))
        if match is None:
            return found
        wanted = match[1].lower()
        return listed(
            [one for one in found.body["value"] if one["properties"]["principalId"].lower() == wanted]
        )

    def delete(self, call: Call) -> Answer:
        """Answers what was deleted."""
        with self.state.changing():
            existing = self.find(call.address)
            if existing is None:
                return Answer(204)
            super().delete(call)
            return Answer(200, existing.body)


def _last(value: str) -> str:
    """A role definition may be named with or without the scope it is asked for in."""
    return value.rsplit("/", 1)[-1].lower()


def _is_guid(value: str) -> bool:
    try:
        return str(uuid.UUID(value)) == value.lower()
    except ValueError:
        return False
