"""Resource groups."""

from __future__ import annotations

from typing import Required

from typing_extensions import TypedDict

from azpg_runtime.arm.schema.types.common import Read, Tags


class GroupProperties(TypedDict, total=False):
    """Microsoft.Resources/resourceGroups."""

    provisioningState: Read


class Group(TypedDict, total=False):
    """Microsoft.Resources/resourceGroups."""

    id: Read
    name: Read
    type: Read
    location: Required[str]
    managedBy: str
    tags: Tags
    properties: GroupProperties
