"""Cognitive Services accounts: a deleted one is kept for 48 hours, and can come back."""

from __future__ import annotations

from datetime import UTC, datetime

from azure.mgmt.cognitiveservices import models

from azpg.azure.regions import short_name
from azpg_runtime.arm.address import Address
from azpg_runtime.arm.cognitive import domains, keys
from azpg_runtime.arm.cognitive.deleted import DeletedAccounts
from azpg_runtime.arm.cognitive.names import ACCOUNTS
from azpg_runtime.arm.exchange import Answer, Call
from azpg_runtime.arm.kinds.kind import Kind
from azpg_runtime.arm.schema.document import check
from azpg_runtime.arm.services import Services
from azpg_runtime.arm.state import Resource
from azpg_runtime.errors import ArmRefusal

KINDS = {
    "OpenAI": ("S0",),
    "AIServices": ("S0",),
    "CognitiveServices": ("S0",),
    "TextAnalytics": ("F0", "S"),
    "TextTranslation": ("F0", "S1"),
}
"""Kinds of accounts and their SKUs."""


class Accounts(Kind):
    """Microsoft.CognitiveServices/accounts."""

    resource_type = ACCOUNTS
    model = models.Account
    name_pattern = r"[a-zA-Z0-9][a-zA-Z0-9_.-]{1,63}"
    etags = True

    def __init__(self, services: Services) -> None:
        super().__init__(services)
        self.deleted = DeletedAccounts(services)
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
            own["dateCreated"] = datetime.now(UTC).isoformat()
        keys.fill(resource)

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
        domains.check(self.state, resource, existing)

    def put(self, call: Call) -> Answer:
        """See `Kind`. A deleted account comes back only when the request says `restore`."""
        with self.state.changing():
            if self.find(call.address) is None:
                self._restore(call)
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
            prepare=lambda: self.keep(resource),
        )
        return self.services.accepted(call, operation, status=202 if existing else 201, body=resource.body)

    def delete(self, call: Call) -> Answer:
        """See `Kind`."""
        with self.state.changing():
            existing = self.find(call.address)
            if existing is None:
                return Answer(204)
            operation = self.services.operations.start(
                "account.delete",
                existing.address,
                busy=existing.address,
                refusal=lambda: conflict(existing.address),
                prepare=lambda: self.set_state(existing.address, "Deleting"),
            )
        return self.services.accepted(call, operation)

    def discard(self, address: Address) -> None:
        """Removes an account and its deployments, which its return brings back."""
        account = self.state.get(address)
        if account is None:
            return
        account.properties["provisioningState"] = "Succeeded"
        self.deleted.keep(account, parts=self.state.below(address))

    def _restore(self, call: Call) -> None:
        address = self.placed(call.address)
        body = check(self.model, call.body, "create")
        kept = self.deleted.find(address, body.get("location", ""))
        if kept is None:
            return
        if not body.get("properties", {}).get("restore"):
            raise ArmRefusal(
                409,
                "FlagMustBeSetForRestore",
                f"An existing resource with ID '{address}' has been soft-deleted. To restore the resource, "
                "you must specify 'restore' to be 'true' in the property. If you don't want to restore "
                "existing resource, please purge it first.",
            )
        self.deleted.restore(kept)


def conflict(address: Address) -> ArmRefusal:
    """Another operation works on the account."""
    return ArmRefusal(
        409,
        "RequestConflict",
        f"Another operation is being performed on the parent resource '{address}'. Please make sure that "
        "operations on one account follow each other.",
    )
