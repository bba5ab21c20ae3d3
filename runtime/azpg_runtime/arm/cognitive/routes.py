"""Where everything of Microsoft.CognitiveServices is."""

from __future__ import annotations

from azpg_runtime.arm.cognitive import domains
from azpg_runtime.arm.cognitive.accounts import KINDS, Accounts
from azpg_runtime.arm.cognitive.deployments import Deployments
from azpg_runtime.arm.cognitive.keys import add_keys
from azpg_runtime.arm.cognitive.names import DELETED, NAMESPACE
from azpg_runtime.arm.cognitive.offered import MODELS
from azpg_runtime.arm.exchange import Answer, Call, listed
from azpg_runtime.arm.router import Router
from azpg_runtime.arm.services import Services
from azpg_runtime.errors import ArmRefusal


def add_cognitive(router: Router, services: Services) -> None:
    """Adds accounts with all their parts."""
    accounts = Accounts(services)
    router.add(accounts)
    router.add(Deployments(accounts))

    def models_of_account(call: Call) -> Answer:
        assert call.address.parent is not None
        accounts.existing(call.address.parent)
        return listed([one.as_json() for one in MODELS])

    def models_of_region(call: Call) -> Answer:
        accounts.check_region(call.address.names[0])
        return listed(
            [
                {"kind": kind, "skuName": "S0", "model": one.as_json(), "description": ""}
                for kind in ("OpenAI", "AIServices")
                for one in MODELS
            ]
        )

    def skus(call: Call) -> Answer:
        assert call.address.parent is not None
        account = accounts.existing(call.address.parent)
        names = KINDS[account.body["kind"]]
        return listed([{"resourceType": accounts.resource_type, "sku": {"name": name}} for name in names])

    def check_domain(call: Call) -> Answer:
        body = call.body if isinstance(call.body, dict) else {}
        name = body.get("subdomainName")
        if not name:
            raise ArmRefusal(400, "BadRequest", "The request needs a subdomainName and a type.")
        taken = domains.is_taken(services.state, str(name))
        return Answer(
            body={
                "isSubdomainAvailable": not taken,
                "reason": f"The subdomain name '{name}' is already used." if taken else None,
                "subdomainName": name,
                "type": body.get("type", accounts.resource_type),
                "kind": body.get("kind"),
            }
        )

    add_keys(router, services)
    router.on("GET", f"{accounts.resource_type}/models", models_of_account)
    router.on("GET", f"{accounts.resource_type}/skus", skus)
    router.on("GET", f"{accounts.resource_type}/usages", lambda _: listed([]))
    router.on("GET", f"{NAMESPACE}/locations/models", models_of_region)
    router.on("GET", f"{NAMESPACE}/locations/usages", lambda _: listed([]))
    router.on("GET", f"{NAMESPACE}/deletedAccounts", accounts.deleted.listing)
    router.on("GET", DELETED, accounts.deleted.get)
    router.on("DELETE", DELETED, accounts.deleted.purge)
    router.on_question(f"{NAMESPACE}/checkDomainAvailability", check_domain)
