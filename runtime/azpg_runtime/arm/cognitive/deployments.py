"""Model deployments of an account: one is written at a time."""

from __future__ import annotations

from azure.mgmt.cognitiveservices import models

from azpg_runtime.arm.address import Address
from azpg_runtime.arm.cognitive import offered
from azpg_runtime.arm.cognitive.accounts import Accounts, conflict
from azpg_runtime.arm.exchange import Answer, Call
from azpg_runtime.arm.kinds.kind import Kind
from azpg_runtime.arm.state import Resource
from azpg_runtime.errors import ArmRefusal


class Deployments(Kind):
    """Microsoft.CognitiveServices/accounts/deployments."""

    resource_type = f"{Accounts.resource_type}/deployments"
    model = models.Deployment
    name_pattern = r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,63}"
    etags = True

    def __init__(self, accounts: Accounts) -> None:
        super().__init__(accounts.services)
        self.services.operations.verb(
            "deployment.write",
            lambda address, _: self.set_state(address, "Succeeded"),
            undo=lambda address, _: self.set_state(address, "Failed"),
        )
        self.services.operations.verb("deployment.delete", lambda address, _: self.discard(address))

    def defaults(self, resource: Resource, existing: Resource | None) -> None:
        """See `Kind`."""
        sku = resource.body.setdefault("sku", {"name": "Standard"})
        sku.setdefault("capacity", 1)
        own = resource.properties
        model = own.get("model") or {}
        found = offered.find(model.get("format"), model.get("name"), model.get("version"))
        if found is not None:
            model["version"] = found.version
            own["capabilities"] = {found.capability: "true"}
        own.setdefault("versionUpgradeOption", "OnceNewDefaultVersionAvailable")
        own["currentCapacity"] = sku["capacity"]

    def validate(self, resource: Resource, existing: Resource | None) -> None:
        """See `Kind`."""
        model = resource.properties.get("model") or {}
        if offered.find(model.get("format"), model.get("name"), model.get("version")) is None:
            known = ", ".join(f"{one.name} {one.version}" for one in offered.MODELS)
            raise ArmRefusal(
                400,
                "DeploymentModelNotSupported",
                f"The model 'Format: {model.get('format')}, Name: {model.get('name')}, Version: "
                f"{model.get('version')}' of account deployment is not supported. The local ARM twin has "
                f"{known}, all of format OpenAI.",
            )
        sku = resource.body["sku"]
        if sku["name"] not in offered.SKUS:
            raise ArmRefusal(
                400,
                "InvalidResourceProperties",
                f"The specified SKU '{sku['name']}' is none of {', '.join(offered.SKUS)}.",
            )
        if not 1 <= sku["capacity"] <= 1000:
            raise ArmRefusal(
                400, "InvalidResourceProperties", f"The capacity {sku['capacity']} is not from 1 to 1000."
            )

    def store(self, call: Call, resource: Resource, existing: Resource | None) -> Answer:
        """See `Kind`."""
        resource.properties["provisioningState"] = "Accepted" if existing else "Creating"
        account = _account(resource.address)
        operation = self.services.operations.start(
            "deployment.write",
            resource.address,
            busy=account,
            refusal=lambda: conflict(account),
            prepare=lambda: self.state.put(resource),
        )
        changed = 202 if call.method == "PATCH" else 200  # a PUT may answer no 202
        return self.services.accepted(
            call, operation, status=changed if existing else 201, body=resource.body
        )

    def delete(self, call: Call) -> Answer:
        """See `Kind`."""
        with self.state.changing():
            existing = self.find(call.address)
            if existing is None:
                self.check_parent(call.address, for_reading=True)
                return Answer(204)
            account = _account(existing.address)
            operation = self.services.operations.start(
                "deployment.delete", existing.address, busy=account, refusal=lambda: conflict(account)
            )
        return self.services.accepted(call, operation)


def _account(address: Address) -> Address:
    parent = address.parent
    assert parent is not None
    return parent
