"""User-assigned managed identities."""

from __future__ import annotations

from typing import Literal

from typing_extensions import TypedDict

from azpg_runtime.arm.schema.types.common import Read, Tracked


class IdentityProperties(TypedDict, total=False):
    """Microsoft.ManagedIdentity/userAssignedIdentities."""

    tenantId: Read
    principalId: Read
    clientId: Read
    isolationScope: Literal["None", "Regional"]


class Identity(Tracked, total=False):
    """Microsoft.ManagedIdentity/userAssignedIdentities."""

    properties: IdentityProperties
