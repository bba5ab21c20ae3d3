"""Ids of resources, and every other path of Azure Resource Manager: what it names.

Source: the conventions of Azure Resource Manager (resource-id, resource provider contract).

::

    /subscriptions/S/resourceGroups/G/providers/Microsoft.X/servers/s1/databases/d1
                                      |--- namespace ---|--- types and names ----|
                   |---- scope -----|

Any part may be written in any case. A path whose last type has no name is a collection, or an action when
it is posted to. An extension such as a lock has a whole resource as its scope.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

from azpg.azure.names import SERVER_NAME
from azpg.errors import UsageError

SERVER_TYPE = "Microsoft.DBforPostgreSQL/flexibleServers"
_GROUP = "subscriptions/resourcegroups"
_SUBSCRIPTION = re.compile(r"[0-9a-fA-F-]{36}")
_GROUP_NAME = re.compile(r"[^/?#\s]{1,90}")


@dataclass(frozen=True, slots=True)
class ResourceId:
    """A parsed path; not only of a resource, as `is_resource` tells.

    Attributes:
        scope: the address before ``/providers/``; None at the root.
        namespace: such as Microsoft.DBforPostgreSQL; '' for what belongs to no provider, such as groups.
        types, names: alternating in the path; there are as many names as types, or one less.
    """

    scope: Self | None
    namespace: str
    types: tuple[str, ...]
    names: tuple[str, ...]

    @classmethod
    def parse(cls, path: str) -> Self:
        """Raises `UsageError` for a path with empty segments."""
        segments = path.strip("/").split("/") if path.strip("/") else []
        if not all(segments):
            raise UsageError(f"The path '{path}' has an empty segment.")
        here: Self | None = None
        rest = segments
        while True:
            block, rest = _block(rest)
            here = cls(here, *block) if block[0] or block[1] else here
            if not rest:
                return here or cls(None, "", (), ())

    @property
    def is_resource(self) -> bool:
        """Whether it names one resource, not a collection or a namespace."""
        return bool(self.types) and len(self.types) == len(self.names)

    @property
    def type(self) -> str:
        """Such as Microsoft.DBforPostgreSQL/flexibleServers/databases, as the path writes it."""
        return "/".join(filter(None, (self.namespace, *self.types)))

    @property
    def kind(self) -> str:
        """`type` in lower case, by which kinds of resources are found."""
        return self.type.lower()

    @property
    def name(self) -> str:
        """The last name."""
        return self.names[-1]

    @property
    def key(self) -> str:
        """`str` in lower case: one for each resource, however it is written."""
        return str(self).lower()

    @property
    def subscription(self) -> str | None:
        """The subscription's id."""
        return next((one.names[0] for one in self.chain() if one._is("subscriptions") and one.names), None)

    @property
    def group(self) -> Self | None:
        """The resource group it lies in, or is."""
        for one in self.chain():
            if one._is("subscriptions", "resourcegroups") and len(one.names) >= 2:
                return replace(one, types=one.types[:2], names=one.names[:2])
        return None

    @property
    def parent(self) -> Self | None:
        """The resource that this one, or this collection, is a part of; the scope of a top-level one."""
        if len(self.types) > 1:
            keep = len(self.types) - 1
            return replace(self, types=self.types[:keep], names=self.names[:keep])
        return self.scope

    def chain(self) -> Iterator[Self]:
        """This address, its scope, the scope of that, and so on."""
        here: Self | None = self
        while here is not None:
            yield here
            here = here.scope

    def child(self, type_: str, name: str) -> Self:
        """The address of a part of this resource."""
        return replace(self, types=(*self.types, type_), names=(*self.names, name))

    def spelled(self, type_: str) -> Self:
        """This resource, with its type written as `type_` has it."""
        namespace, *types = type_.split("/")
        return replace(self, namespace=namespace, types=tuple(types))

    def __str__(self) -> str:
        own = ["providers", self.namespace] if self.namespace else []
        for number, type_ in enumerate(self.types):
            own += [type_, *self.names[number : number + 1]]
        return (str(self.scope) if self.scope else "") + "".join(f"/{one}" for one in own)

    def _is(self, *types: str) -> bool:
        return not self.namespace and tuple(one.lower() for one in self.types[: len(types)]) == types


def _block(segments: list[str]) -> tuple[tuple[str, tuple[str, ...], tuple[str, ...]], list[str]]:
    """One namespace with its types and names, and the segments after it."""
    namespace = ""
    if len(segments) > 1 and segments[0].lower() == "providers":
        namespace, segments = segments[1], segments[2:]
    end = next(
        (at for at in range(0, len(segments) - 1, 2) if segments[at].lower() == "providers"), len(segments)
    )
    own = segments[:end]
    return (namespace, tuple(own[::2]), tuple(own[1::2])), segments[end:]


def is_resource_id(text: str) -> bool:
    """Whether a text is the id of one resource in a resource group, written as Azure writes it."""
    try:
        found = ResourceId.parse(text)
    except UsageError:
        return False
    in_group = found.group is not None and bool(found.namespace) and found.key.startswith("/subscriptions/")
    return in_group and found.is_resource and found.key == text.lower()


@dataclass(frozen=True, slots=True)
class ServerId:
    """A flexible server's subscription, resource group and name."""

    subscription: str
    group: str
    name: str

    @classmethod
    def parse(cls, text: str) -> ServerId:
        """Reads an id in any case, as ARM takes it. Raises `UsageError` for what is no server's id."""
        wrong = UsageError(
            f"{text!r} is no flexible server's resource id: use /subscriptions/ID/resourceGroups/GROUP/"
            f"providers/{SERVER_TYPE}/NAME, as `az postgres flexible-server show --query id` prints it."
        )
        try:
            found = ResourceId.parse(text.strip())
        except UsageError:
            raise wrong from None
        group = found.scope
        if found.kind != SERVER_TYPE.lower() or not found.is_resource or not text.strip().startswith("/"):
            raise wrong
        if group is None or group.scope is not None or group.kind != _GROUP or not group.is_resource:
            raise wrong
        (subscription, group_name), name = group.names, found.name.lower()
        parts = ((_SUBSCRIPTION, subscription), (_GROUP_NAME, group_name), (re.compile(SERVER_NAME), name))
        if not all(pattern.fullmatch(part) for pattern, part in parts):
            raise wrong
        return cls(subscription.lower(), group_name, name)

    def __str__(self) -> str:
        return f"{self.scope}/providers/{SERVER_TYPE}/{self.name}"

    @property
    def scope(self) -> str:
        """The id of its resource group."""
        return f"/subscriptions/{self.subscription}/resourceGroups/{self.group}"
