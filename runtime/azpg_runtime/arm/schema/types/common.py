"""What bodies of several types have in common."""

from __future__ import annotations

from typing import Annotated, Any, Required

from typing_extensions import TypedDict

from azpg_runtime.arm.schema.fields import READ

Read = Annotated[Any, READ]
Tags = dict[str, str]


class Tracked(TypedDict, total=False):
    """What every resource with a location has."""

    id: Read
    name: Read
    type: Read
    etag: Read
    systemData: Read
    location: Required[str]
    tags: Tags


class Proxy(TypedDict, total=False):
    """What every resource without a location has."""

    id: Read
    name: Read
    type: Read
    etag: Read
    systemData: Read


class SubResource(TypedDict, total=False):
    """A reference to another resource."""

    id: Required[str]


class Reference(TypedDict, total=False):
    """A reference to another resource that may come with more of it, which is not taken."""

    id: Required[str]
    name: Read
    type: Read
    etag: Read
    location: Read
    tags: Read
    properties: Read
