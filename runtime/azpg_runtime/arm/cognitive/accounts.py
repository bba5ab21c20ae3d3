"""Cognitive Services accounts: a deleted one is kept for 48 hours, and can come back."""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime, timedelta
from typing import ClassVar

from azure.mgmt.cognitiveservices import models

from azpg_runtime.arm.address import Address
from azpg_runtime.arm.exchange import Answer, Call, listed
from azpg_runtime.arm.kinds.kind import Kind
from azpg_runtime.arm.regions import short_name
from azpg_runtime.arm.services import Services, not_found
from azpg_runtime.arm.state import Json, Resource
from azpg_runtime.errors import ArmRefusal

NAMESPACE = "Microsoft.CognitiveServices"
KIND = f"{NAMESPACE}/accounts".lower()
DELETED = f"{NAMESPACE}/locations/resourceGroups/deletedAccounts"
KINDS = {
    "OpenAI": ("S0",),
    "AIServices": ("S0",),
    "CognitiveServices": ("S0",),
    "TextAnalytics": ("F0", "S"),
    "TextTranslation": ("F0", "S1"),
}
"""Kinds of accounts and their SKUs."""
_KEPT = timedelta(hours=48)
_SUB_DOMAIN = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,62}[a-zA-Z0-9])"


class Accounts(Kind):
    """Microsoft.CognitiveServices/accounts."""

    resource_type = f"{NAMESPACE}/accounts"
    model = models.Account
    name_pattern = r"[a-zA-Z0-9][a-zA-Z0-9_.-]{1,63}"
    etags = True
    keys: ClassVar[tuple[str, ...]] = ("key1", "key2")

    def __init__(self, services: Services) -> None:
        super().__init__(services)
        services.operations.verb(
            "account.write",
            lambda address, _: self.set_state(address, "Succeeded"),
            undo=lambda address, _: self.set_state(address, "Failed"),
        )
        services.operations.verb(
            "account.delete",
            lambda address, _: self.discard(address),
            undo=lambda address, _: self.set_state(address, "Succeeded"),
        )
        services.operations.verb("account.purge", self._purge)

    # Requests

    def defaults(self, resource: Resource, existing: Resource | None) -> None:
        """See `Kind`."""
        own = resource.properties
        own.setdefault("publicNetworkAccess", "Enabled")
        own.setdefault("disableLocalAuth", False)
        domain = own.get("customSubDomainName")
        suffix = "openai" if resource.body.get("kind") == "OpenAI" else "cognitiveservices"
        region = short_name(str(resource.body.get("location", "")))
        own["endpoint"] = (
            f"https://{domain}.{suffix}.azure.com/"
            if domain
            else f"https://{region}.api.cognitive.microsoft.com/"
        )
        own["endpoints"] = {"OpenAI Language Model Instance API": own["endpoint"]}
        if existing:
            own["dateCreated"] = existing.properties["dateCreated"]
        else:
            own["dateCreated"] = _now().isoformat()
        for key in self.keys:
            resource.private.setdefault(key, secrets.token_hex(16))

    def validate(self, resource: Resource, existing: Resource | None) -> None:
        """See `Kind`."""
        body = resource.body
        if not body.get("location"):
            raise ArmRefusal(
                400, "LocationRequired", "The location property is required for this definition."
            )
        kind, sku = body.get("kind"), (body.get("sku") or {}).get("name")
        if kind not in KINDS:
            raise ArmRefusal(
                400,
                "InvalidApiSetId",
                f"The account type '{kind}' is either invalid or unavailable in given region. The local ARM "
                f"twin has {', '.join(KINDS)}.",
            )
        if sku not in KINDS[kind]:
            raise ArmRefusal(
                400,
                "InvalidSkuId",
                f"The SKU '{sku}' of kind '{kind}' is invalid. There is {', '.join(KINDS[kind])}.",
            )
        if existing and existing.body["kind"] != kind:
            raise ArmRefusal(
                400, "BadRequest", f"The account is of kind {existing.body['kind']}, which cannot change."
            )
        self._check_domain(resource, existing)

    def put(self, call: Call) -> Answer:
        """See `Kind`. A deleted account comes back only when the request says `restore`."""
        address = self.placed(call.address)
        location = str(call.body.get("location", "")) if isinstance(call.body, dict) else ""
        kept = (
            self.state.get(self._deleted_address(address, location)) if self.find(address) is None else None
        )
        if kept is not None:
            restore = (call.body.get("properties") or {}).get("restore")
            if not restore:
                raise ArmRefusal(
                    409,
                    "FlagMustBeSetForRestore",
                    f"An existing resource with ID '{address}' has been soft-deleted. To restore the "
                    "resource, you must "
                    "specify 'restore' to be 'true' in the property. If you don't want to restore existing "
                    "resource, "
                    "please purge it first.",
                )
            with self.state.changing():
                for one in kept.private["resources"]:
                    self.state.put(Resource(**one))
                self.state.delete(kept.address)
        return super().put(call)

    def store(self, call: Call, resource: Resource, existing: Resource | None) -> Answer:
        """See `Kind`."""
        resource.properties.pop("restore", None)
        resource.properties["provisioningState"] = "Accepted" if existing else "Creating"
        operation = self.services.operations.start(
            "account.write",
            resource.address,
            busy=resource.address,
            refusal=lambda: conflict(resource.address),
            prepare=lambda: self.state.put(resource),
        )
        return self.services.accepted(call, operation, status=202 if existing else 201, body=resource.body)

    def delete(self, call: Call) -> Answer:
        """See `Kind`."""
        existing = self.find(call.address)
        if existing is None:
            return Answer(204)
        existing.properties["provisioningState"] = "Deleting"
        operation = self.services.operations.start(
            "account.delete",
            existing.address,
            busy=existing.address,
            refusal=lambda: conflict(existing.address),
            prepare=lambda: self.state.put(existing),
        )
        return self.services.accepted(call, operation)

    # Keys

    def list_keys(self, call: Call) -> Answer:
        """Both keys."""
        return self._keys(self.existing(_of_action(call)))

    def regenerate_key(self, call: Call) -> Answer:
        """Replaces one of the keys."""
        account = self.existing(_of_action(call))
        name = str((call.body or {}).get("keyName", "")).lower()
        if name not in self.keys:
            raise ArmRefusal(400, "BadRequest", f"The keyName '{name}' is neither Key1 nor Key2.")
        self._keys(account)
        account.private[name] = secrets.token_hex(16)
        self.state.put(account)
        return self._keys(account)

    def _keys(self, account: Resource) -> Answer:
        if account.properties["disableLocalAuth"]:
            raise ArmRefusal(400, "BadRequest", "Failed to list key. disableLocalAuth is set to be true")
        return Answer(body={key: account.private[key] for key in self.keys})

    # Deleted accounts

    def deleted(self, call: Call) -> Answer:
        """All deleted accounts of the subscription."""
        return listed([one.body for one in self.state.all_of(DELETED.lower())])

    def get_deleted(self, call: Call) -> Answer:
        """One deleted account."""
        return Answer(body=self._existing_deleted(call.address).body)

    def purge(self, call: Call) -> Answer:
        """Removes a deleted account for good."""
        found = self.state.get(call.address)
        if found is None:
            return Answer(204)
        operation = self.services.operations.start("account.purge", found.address, busy=found.address)
        return self.services.accepted(call, operation)

    # Operations

    def discard(self, address: Address) -> None:
        """Removes an account and its deployments, which its return brings back."""
        account = self.state.get(address)
        if account is None:
            return
        account.properties["provisioningState"] = "Succeeded"
        parts = [account, *self.state.below(address)]
        where = self._deleted_address(address, account.body["location"])
        now = _now()
        dates = {"deletionDate": now.isoformat(), "scheduledPurgeDate": (now + _KEPT).isoformat()}
        body = account.body | {"id": str(where), "type": DELETED, "properties": account.properties | dates}
        with self.state.changing():
            self.services.delete(address)
            self.state.put(
                Resource(body, {"resources": [{"body": one.body, "private": one.private} for one in parts]})
            )

    def _purge(self, address: Address, _: Json) -> None:
        self.state.delete(address)

    # Parts

    def _existing_deleted(self, address: Address) -> Resource:
        found = self.state.get(address)
        if found is None:
            raise not_found(address.spelled(DELETED))
        return found

    def _deleted_address(self, address: Address, location: str) -> Address:
        group = address.group
        assert group is not None
        subscription = Address(None, "", ("subscriptions",), (str(address.subscription),))
        return Address(
            subscription,
            NAMESPACE,
            ("locations", "resourceGroups", "deletedAccounts"),
            (short_name(location), group.name, address.name),
        )

    def _check_domain(self, resource: Resource, existing: Resource | None) -> None:
        domain = resource.properties.get("customSubDomainName")
        before = existing.properties.get("customSubDomainName") if existing else None
        if before and domain != before:
            raise ArmRefusal(
                400, "CustomDomainCannotBeChanged", f"The custom subdomain name '{before}' cannot change."
            )
        if domain and not re.fullmatch(_SUB_DOMAIN, domain):
            raise ArmRefusal(
                400,
                "InvalidCustomSubDomainName",
                f"The custom subdomain name '{domain}' has characters other than letters, digits and "
                "hyphens, or is not 2 to 64 long.",
            )
        if domain and self.is_domain_taken(domain, resource.address):
            raise ArmRefusal(
                409,
                "CustomDomainInUse",
                f"Please pick a different name. The subdomain name '{domain}' is not available as it's "
                "already used by "
                "a resource.",
            )

    def is_domain_taken(self, domain: str, but_for: Address | None = None) -> bool:
        """Whether another account has a subdomain, or has had it until it was deleted."""
        there = [*self.state.all_of(KIND), *self.state.all_of(DELETED.lower())]
        return any(
            str(one.properties.get("customSubDomainName", "")).lower() == domain.lower()
            for one in there
            if but_for is None or one.address.key != but_for.key
        )


def conflict(address: Address) -> ArmRefusal:
    """Another operation works on the account."""
    return ArmRefusal(
        409,
        "RequestConflict",
        f"Another operation is being performed on the parent resource '{address}'. Please make sure that "
        "operations on one account follow each other.",
    )


def _of_action(call: Call) -> Address:
    assert call.address.parent is not None
    return call.address.parent


def _now() -> datetime:
    return datetime.now(UTC)
