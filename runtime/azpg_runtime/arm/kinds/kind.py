"""A type of resource: what it answers to PUT, PATCH, GET, DELETE and to a listing.

What a request checks holds until it has changed what it wants to: both are one transaction of the state.
The methods are called one after the other; a type that is more than a document overrides some of them.
"""

from __future__ import annotations

import copy
import re
import uuid
from typing import Any, ClassVar

from azpg.azure.regions import REGIONS, is_known, nearest, short_name
from azpg_runtime.arm.address import Address
from azpg_runtime.arm.exchange import Answer, Call, listed
from azpg_runtime.arm.identities import merge_identity
from azpg_runtime.arm.schema.document import check
from azpg_runtime.arm.services import Services, not_found
from azpg_runtime.arm.state import Json, Resource
from azpg_runtime.errors import ArmRefusal


class Kind:
    """A type whose resources are validated and kept.

    Attributes:
        resource_type: as ids spell it.
        model: of a PUT's body.
        patch_model: of a PATCH's body; None for the same model, of which then nothing is required.
        name_pattern: what its names match; None for any.
        created: the status of a PUT that creates.
        etags: whether each change gives it another etag.
    """

    resource_type: ClassVar[str]
    model: ClassVar[type[Any]]
    patch_model: ClassVar[type[Any] | None] = None
    name_pattern: ClassVar[str | None] = None
    created: ClassVar[int] = 201
    etags: ClassVar[bool] = False

    def __init__(self, services: Services) -> None:
        self.services = services
        self.state = services.state

    # What a request does

    def put(self, call: Call) -> Answer:
        """Creates a resource, or replaces what it says of itself."""
        with self.state.changing():
            address = self.placed(call.address)
            existing = self.find(address)
            self.check_condition(call, existing)
            body = check(self.model, call.body, "create")
            resource = self.composed(address, body, existing)
            self.validate(resource, existing)
            return self.store(call, resource, existing)

    def patch(self, call: Call) -> Answer:
        """Changes some of what a resource says of itself."""
        with self.state.changing():
            existing = self.existing(call.address)
            self.check_condition(call, existing)
            body = check(self.model if self.patch_model is None else self.patch_model, call.body, "update")
            resource = self.composed(existing.address, self.merged(existing, body), existing)
            self.validate(resource, existing)
            return self.store(call, resource, existing)

    def get(self, call: Call) -> Answer:
        """One resource."""
        return Answer(body=self.shown(self.existing(call.address)))

    def delete(self, call: Call) -> Answer:
        """Removes a resource."""
        with self.state.changing():
            existing = self.find(call.address)
            if existing is None:
                return Answer(204)
            self.check_condition(call, existing)
            self.validate_deletion(existing)
            self.services.delete(call.address)
            return Answer(200)

    def listing(self, call: Call) -> Answer:
        """All resources of the type below an address."""
        parent = call.address.parent
        if parent is not None and parent.is_resource and parent.kind != "subscriptions":
            self.check_parent(call.address, for_reading=True)
        return listed([self.shown(one) for one in self.every(parent)])

    # What a type may want otherwise

    def every(self, under: Address | None = None) -> list[Resource]:
        """All resources of the type, or those below an address."""
        return self.state.all_of(self.resource_type.lower(), under)

    def find(self, address: Address) -> Resource | None:
        """The resource at an address, if there is one."""
        return self.state.get(address)

    def shown(self, resource: Resource) -> Json:
        """A resource as it is answered."""
        return resource.body

    def defaults(self, resource: Resource, existing: Resource | None) -> None:
        """Fills in what the request left open and what only the service knows."""

    def validate(self, resource: Resource, existing: Resource | None) -> None:
        """Raises `ArmRefusal` for what a model cannot say."""

    def validate_deletion(self, existing: Resource) -> None:
        """Raises `ArmRefusal` for a resource that cannot be deleted now."""

    def store(self, call: Call, resource: Resource, existing: Resource | None) -> Answer:
        """Makes it so."""
        self.keep(resource)
        return Answer(200 if existing else self.created, self.shown(resource))

    # Steps

    def keep(self, resource: Resource) -> None:
        """Stores a resource, its identity complete."""
        self.services.managed.fill(resource)
        self.state.put(resource)

    def existing(self, address: Address) -> Resource:
        """The resource at an address. Raises `ArmRefusal` where there is none."""
        found = self.find(address)
        if found is None:
            self.check_parent(address, for_reading=True)
            raise not_found(address.spelled(self.resource_type))
        return found

    def placed(self, address: Address) -> Address:
        """An address for a resource to be made at, in its proper spelling. Raises `ArmRefusal`."""
        self.check_parent(address)
        if self.name_pattern and not re.fullmatch(self.name_pattern, address.name):
            raise ArmRefusal(
                400,
                "InvalidResourceName",
                f"The name '{address.name}' of a {self.resource_type} is not allowed: it must match "
                f"{self.name_pattern}.",
            )
        return self.spelled(address)

    def spelled(self, address: Address) -> Address:
        """The address as its parent and its type spell it."""
        parent = address.parent
        stored = self.state.get(parent) if parent else None
        if stored is None or parent is None:
            return address.spelled(self.resource_type)
        if len(address.types) > 1:
            return stored.address.child(self.resource_type.rsplit("/", 1)[-1], address.name)
        return Address(stored.address, *_split(self.resource_type), (address.name,))

    def check_parent(self, address: Address, *, for_reading: bool = False) -> None:
        """Raises `ArmRefusal` where there is nothing for it to be a part of."""
        group = address.group
        if group is not None and group.key != address.key:
            found = self.state.get(group)
            if found is None:
                raise ArmRefusal(
                    404, "ResourceGroupNotFound", f"Resource group '{group.name}' could not be found."
                )
            if not for_reading:
                check_stays(found)
        parent = address.parent
        if (
            parent is None
            or not parent.is_resource
            or parent.kind in {"subscriptions", "subscriptions/resourcegroups"}
        ):
            return
        if self.state.get(parent) is None:
            if for_reading:
                raise not_found(parent)
            raise ArmRefusal(
                404,
                "ParentResourceNotFound",
                f"Can not perform requested operation on nested resource. Parent resource '{parent.name}' "
                "not found.",
            )

    def composed(self, address: Address, body: Json, existing: Resource | None) -> Resource:
        """A resource of a request's body, complete."""
        if existing is not None:
            address = existing.address
            self.check_location(existing, body)
        elif "location" in body:
            self.check_region(body["location"])
        own: Json = {"id": str(address), "name": address.name, "type": self.resource_type}
        resource = Resource(own | copy.deepcopy(body), copy.deepcopy(existing.private) if existing else {})
        self.defaults(resource, existing)
        if self.etags:
            resource.body["etag"] = f'"{uuid.uuid4()}"'
        return resource

    def merged(self, existing: Resource, body: Json, *, replace_assigned: bool = False) -> Json:
        """What a resource says of itself, with what a request changes of it.

        Tags are replaced as a whole; for the identity see `merge_identity`.
        """
        own = {name: value for name, value in existing.body.items() if name not in {"id", "name", "type"}}
        merged: Json = _merged(own, body)
        if "tags" in body:
            merged["tags"] = body["tags"]
        if "identity" in body:
            merged["identity"] = merge_identity(
                own.get("identity"), body["identity"], replace_assigned=replace_assigned
            )
        return merged

    def discard(self, address: Address) -> None:
        """Removes a resource now, whatever speaks against it: what it lies in is deleted."""
        self.services.delete(address)

    def set_state(self, address: Address, state: str) -> None:
        """Changes a resource's provisioningState, if it is there."""
        with self.state.changing():
            found = self.state.get(address)
            if found is not None:
                found.properties["provisioningState"] = state
                self.state.put(found)

    def check_condition(self, call: Call, existing: Resource | None) -> None:
        """Raises `ArmRefusal` where If-Match or If-None-Match does not hold."""
        wanted, unwanted = call.headers.get("if-match"), call.headers.get("if-none-match")
        etag = existing.body.get("etag") if existing else None
        if (wanted and (existing is None or wanted not in {"*", etag})) or (unwanted == "*" and existing):
            raise ArmRefusal(
                412,
                "PreconditionFailed",
                f"The condition on '{call.address.name}' does not hold: it has been changed meanwhile, or "
                "exists.",
            )

    def check_region(self, location: str) -> None:
        """Raises `ArmRefusal` for a location that is no region."""
        if not is_known(location) and short_name(location) != "global":
            raise no_region(location, f"resource type '{self.resource_type}'")

    def check_location(self, existing: Resource, body: Json) -> None:
        """Raises `ArmRefusal` for a resource that would have to move."""
        old, new = existing.body.get("location"), body.get("location")
        if old and new and short_name(old) != short_name(new):
            raise ArmRefusal(
                409,
                "InvalidResourceLocation",
                f"The resource '{existing.address.name}' already exists in location '{short_name(old)}'. A "
                f"resource with the same name cannot be created in location '{new}'. Please select a new "
                "resource name.",
            )


def no_region(location: str, what: str) -> ArmRefusal:
    """The refusal of something that is to be where there is no region."""
    near = nearest(location)
    instead = f"Did you mean '{near}'?" if near else f"List of available regions is '{','.join(REGIONS)}'."
    return ArmRefusal(
        400,
        f"LocationNotAvailableFor{'ResourceGroup' if what == 'resource group' else 'ResourceType'}",
        f"The provided location '{location}' is not available for {what}. {instead}",
    )


def check_stays(group: Resource | None) -> None:
    """Raises `ArmRefusal` for a resource group that is being deleted."""
    if group is not None and group.properties["provisioningState"] == "Deleting":
        raise being_deleted(group)


def being_deleted(group: Resource) -> ArmRefusal:
    """Nothing is made in a group that goes."""
    return ArmRefusal(
        409,
        "ResourceGroupBeingDeleted",
        f"The resource group '{group.address.name}' is in deprovisioning state and cannot perform this "
        "operation. Try again when it is gone.",
    )


def _split(type_: str) -> tuple[str, tuple[str, ...]]:
    namespace, *types = type_.split("/")
    return namespace, tuple(types)


def _merged(old: Any, new: Any) -> Any:
    """`old` with what `new` says, at any depth."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return new
    return old | {name: _merged(old.get(name), value) for name, value in new.items()}
