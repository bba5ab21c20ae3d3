"""Deleted accounts: kept for 48 hours, with what is needed to bring them back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from azpg.azure.regions import short_name
from azpg_runtime.arm.address import Address
from azpg_runtime.arm.cognitive.names import DELETED, NAMESPACE
from azpg_runtime.arm.exchange import Answer, Call, listed
from azpg_runtime.arm.services import Services, not_found
from azpg_runtime.arm.state import Json, Resource

_KEPT = timedelta(hours=48)


class DeletedAccounts:
    """Microsoft.CognitiveServices/locations/resourceGroups/deletedAccounts."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._state = services.state
        services.operations.verb("account.purge", self._purge)

    # Requests

    def listing(self, call: Call) -> Answer:
        """All deleted accounts of the subscription."""
        return listed([one.body for one in self._state.all_of(DELETED.lower())])

    def get(self, call: Call) -> Answer:
        """One deleted account."""
        found = self._state.get(call.address)
        if found is None:
            raise not_found(call.address.spelled(DELETED))
        return Answer(body=found.body)

    def purge(self, call: Call) -> Answer:
        """Removes a deleted account for good."""
        with self._state.changing():
            found = self._state.get(call.address)
            if found is None:
                return Answer(204)
            operation = self._services.operations.start("account.purge", found.address, busy=found.address)
        return self._services.accepted(call, operation)

    def _purge(self, address: Address, _: Json) -> None:
        self._state.delete(address)

    # What accounts want of it

    def keep(self, account: Resource, *, parts: list[Resource]) -> None:
        """Makes an account a deleted one."""
        address, now = account.address, datetime.now(UTC)
        dates = {"deletionDate": now.isoformat(), "scheduledPurgeDate": (now + _KEPT).isoformat()}
        where = _address(address, account.body["location"])
        body = account.body | {"id": str(where), "type": DELETED, "properties": account.properties | dates}
        kept = [{"body": one.body, "private": one.private} for one in (account, *parts)]
        with self._state.changing():
            self._services.delete(address)
            self._state.put(Resource(body, {"resources": kept}))

    def find(self, account: Address, location: str) -> Resource | None:
        """What is kept of an account that was deleted in a region."""
        return self._state.get(_address(account, location))

    def restore(self, deleted: Resource) -> None:
        """Makes a deleted account what it was, with its parts."""
        with self._state.changing():
            for one in deleted.private["resources"]:
                self._state.put(Resource(**one))
            self._state.delete(deleted.address)


def _address(account: Address, location: str) -> Address:
    group = account.group
    assert group is not None
    subscription = Address(None, "", ("subscriptions",), (str(account.subscription),))
    return Address(
        subscription,
        NAMESPACE,
        ("locations", "resourceGroups", "deletedAccounts"),
        (short_name(location), group.name, account.name),
    )
