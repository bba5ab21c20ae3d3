"""Role assignments and locks."""

from __future__ import annotations

from typing import Literal, Required

from typing_extensions import TypedDict

from azpg_runtime.arm.schema.types.common import Proxy, Read


class RoleAssignmentProperties(TypedDict, total=False):
    """Microsoft.Authorization/roleAssignments."""

    roleDefinitionId: Required[str]
    principalId: Required[str]
    principalType: Literal["User", "Group", "ServicePrincipal", "ForeignGroup", "Device"]
    description: str
    condition: str
    conditionVersion: str
    delegatedManagedIdentityResourceId: str
    scope: Read
    createdOn: Read
    updatedOn: Read
    createdBy: Read
    updatedBy: Read


class RoleAssignment(Proxy, total=False):
    """Microsoft.Authorization/roleAssignments."""

    properties: Required[RoleAssignmentProperties]


class LockOwner(TypedDict, total=False):
    """An application that may hold a lock."""

    applicationId: str


class LockProperties(TypedDict, total=False):
    """Microsoft.Authorization/locks."""

    level: Required[Literal["CanNotDelete", "ReadOnly", "NotSpecified"]]
    notes: str
    owners: list[LockOwner]


class Lock(Proxy, total=False):
    """Microsoft.Authorization/locks."""

    properties: Required[LockProperties]
