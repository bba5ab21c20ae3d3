"""The models of Azure OpenAI that azure_ai calls, and the server's right to call them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from azure.core.exceptions import HttpResponseError

from azpg_provision.preflight.check import Check, Looks, failed, passed, unknown
from azpg_provision.preflight.needs import Needs
from azpg_provision.preflight.site import NotKnown, Site

if TYPE_CHECKING:
    from azure.mgmt.cognitiveservices import models

    from azpg_provision.target.azure import AzureTarget

EXTENSION = "azure_ai"
_KINDS = ("OpenAI", "AIServices")
_MAY_CALL = {
    "5e0bd9bd-7b93-4f28-af87-19fc36ad61bd": "Cognitive Services OpenAI User",
    "a001fd3d-188f-4b5d-821b-7da978bf7442": "Cognitive Services OpenAI Contributor",
    "a97b65f3-24c7-4388-baec-2e87135dc908": "Cognitive Services User",
}
"""The built-in roles that may call models, by their ids. Owner and Contributor may not."""
_LARGEST = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072, "text-embedding-ada-002": 1536}
"""Dimensions of each embedding model."""
_FIXED = {"text-embedding-ada-002"}
"""The models that cannot give fewer."""


@dataclass
class Account:
    """The account that is meant, and what is deployed in it."""

    target: AzureTarget

    @cached_property
    def found(self) -> models.Account:
        """The account of the stack's endpoint, else of the server's group.

        Accounts without a domain have their region's endpoint in common: that in the server's group counts.

        Raises `NotKnown` where it is not clear which is meant, `LookupError` where there is none.
        """
        wanted = self.target.ai.endpoint if self.target.ai is not None else None
        accounts = [one for one in self.target.management.accounts() if one.kind in _KINDS]
        if wanted is not None:
            accounts = [one for one in accounts if _has(one, wanted)]
        scope = f"{self.target.id.scope}/".lower()
        found = [one for one in accounts if str(one.id).lower().startswith(scope)]
        if wanted is not None:
            found = found or accounts
        if not found:
            raise LookupError(
                f"There is no account of Azure OpenAI in {self.target.id.group}."
                if wanted is None
                else f"No AI account of this subscription has the endpoint {wanted}."
            )
        if len(found) > 1:
            names = ", ".join(sorted(str(one.name) for one in found))
            raise NotKnown(
                f"There are several accounts: {names}.",
                "Name the one that is meant by its stack, with --stack."
                if wanted is None
                else "Give the one that is meant a domain of its own (azpg:aiName).",
            )
        return found[0]

    @cached_property
    def known(self) -> models.Account:
        """The account. Raises `NotKnown` if there is none, which is `ai.account`'s to say."""
        try:
            return self.found
        except LookupError:
            raise NotKnown("It is not known without an account (see `ai.account`).") from None

    @cached_property
    def deployments(self) -> dict[str, models.Deployment]:
        """What is deployed, by name."""
        group = str(self.known.id).split("/")[4]
        return {str(one.name): one for one in self.target.management.deployments(group, str(self.known.name))}

    def embedding(self) -> dict[str, str]:
        """The deployments of embedding models, and their models."""
        return {
            name: model
            for name, one in sorted(self.deployments.items())
            if (model := _model(one)) in _LARGEST and _state(one.properties) == "Succeeded"
        }


def looks(site: Site, needs: Needs) -> Looks:
    """The checks, for a server on Azure that is to use azure_ai, or that was made with an account."""
    target = site.azure
    if target is None or site.unreadable is not None or not (target.ai or EXTENSION in needs.extensions):
        return
    account = Account(target)
    yield "ai.account", partial(_account, account)
    for name in target.ai.deployments if target.ai is not None else ():
        yield f"ai.deployment.{name}", partial(_deployment, account, name)
    yield "ai.dimensions", partial(_dimensions, account, needs)
    yield "ai.identity", partial(_identity, site)
    yield "ai.role", partial(_role, site, account)


def _account(account: Account) -> Check:
    try:
        found = account.found
    except LookupError as error:
        return failed(
            "ai.account", str(error), "Make one (azpg:aiKind), or log in to the subscription that has it."
        )
    state = _state(found.properties)
    if state != "Succeeded":
        return failed("ai.account", f"The account {found.name} is {state}.", "Wait until it has succeeded.")
    if found.properties is None or not found.properties.custom_sub_domain_name:
        return failed(
            "ai.account",
            f"The account {found.name} has no domain of its own, without which it takes no Entra tokens.",
            "Give it one: `az cognitiveservices account update --custom-domain NAME`.",
        )
    return passed("ai.account", f"{found.name} ({found.kind}) at {found.properties.endpoint}.")


def _deployment(account: Account, name: str) -> Check:
    id_ = f"ai.deployment.{name}"
    found = account.deployments.get(name)
    if found is None:
        there = ", ".join(sorted(account.deployments)) or "none"
        return failed(
            id_,
            f"{account.known.name} has no deployment {name}; there is: {there}.",
            "Deploy it (azpg:aiDeployments), with `pulumi up`.",
        )
    state = _state(found.properties)
    if state != "Succeeded":
        return failed(id_, f"The deployment {name} is {state}.", "Wait, or deploy it again.")
    return passed(id_, f"{name} is {_model(found)}{_version(found)}.")


def _dimensions(account: Account, needs: Needs) -> Check:
    there = account.embedding()
    if not there:
        return failed(
            "ai.dimensions",
            f"{account.known.name} has no deployment of an embedding model.",
            f"Deploy {' or '.join(sorted(_LARGEST))} (azpg:aiDeployments).",
        )
    wanted = sorted(
        {one.dimensions for db in needs.databases for one in db.columns if one.dimensions is not None}
    )
    for size in wanted:
        if not any(_gives(model, size) for model in there.values()):
            return failed(
                "ai.dimensions",
                f"No deployment gives vectors of {size} dimensions: {_sizes(there)}.",
                "Deploy a model of text-embedding-3, which gives fewer than its own where it is asked to.",
            )
    also = f"; {', '.join(map(str, wanted))} with the argument `dimensions`" if wanted else ""
    return passed("ai.dimensions", f"{_sizes(there)}{also}.")


def _gives(model: str, size: int) -> bool:
    return size == _LARGEST[model] or (model not in _FIXED and size < _LARGEST[model])


def _sizes(there: dict[str, str]) -> str:
    return ", ".join(f"{name} gives {_LARGEST[model]}" for name, model in there.items())


def _identity(site: Site) -> Check:
    principal = site.facts.principal_id
    if principal is None:
        return failed(
            "ai.identity",
            f"{site.target.name} has no identity of its own, so that it can call models with a key only.",
            "Give it a system-assigned one: `az postgres flexible-server update --set "
            "identity.type=SystemAssigned`, or by azpg's Pulumi program.",
        )
    return passed("ai.identity", f"The server's identity has the object id {principal}.")


def _role(site: Site, account: Account) -> Check:
    principal = site.facts.principal_id
    if principal is None:
        raise NotKnown("It is not known without an identity (see `ai.identity`).")
    scope = str(account.known.id)
    assert site.azure is not None
    refused = False
    for where in _above(scope):
        try:
            assignments = site.azure.management.role_assignments(where, principal)
        except HttpResponseError as error:
            if error.status_code != 403:
                raise
            refused = True
            continue
        for one in assignments:
            role = _granted(one, scope, principal)
            if role is not None:
                return passed("ai.role", f"The server's identity has the role {role}.")
    if refused:
        return unknown(
            "ai.role",
            "Who asks may not read all role assignments.",
            "Ask somebody with the role Reader, or call a model: SELECT azure_openai.create_embeddings(…).",
        )
    return failed(
        "ai.role",
        f"The server's identity may not call the models of {account.known.name}.",
        "Grant it: `az role assignment create --role 'Cognitive Services OpenAI User' "
        f"--assignee-object-id {principal} --assignee-principal-type ServicePrincipal --scope {scope}`.",
    )


def _granted(assignment: dict[str, Any], scope: str, principal: str) -> str | None:
    """The name of the role, if it is one that may call the models in a scope."""
    own = assignment["properties"]
    at = str(own.get("scope", "")).rstrip("/").lower()
    if str(own.get("principalId", "")).lower() != principal.lower() or not f"{scope.lower()}/".startswith(
        f"{at}/"
    ):
        return None
    return _MAY_CALL.get(str(own.get("roleDefinitionId", "")).rsplit("/", 1)[-1].lower())


def _above(scope: str) -> list[str]:
    """An account's id, its group's and its subscription's."""
    parts = scope.split("/")
    return [scope, "/".join(parts[:5]), "/".join(parts[:3])]


def _model(deployment: models.Deployment) -> str:
    model = deployment.properties.model if deployment.properties is not None else None
    return str(model.name) if model is not None else ""


def _version(deployment: models.Deployment) -> str:
    model = deployment.properties.model if deployment.properties is not None else None
    return f", version {model.version}" if model is not None and model.version else ""


def _state(properties: models.AccountProperties | models.DeploymentProperties | None) -> str:
    """Such as Succeeded."""
    state = properties.provisioning_state if properties is not None else None
    return str(getattr(state, "value", state))


def _has(account: models.Account, endpoint: str) -> bool:
    own = account.properties
    endpoints = [own.endpoint, *(own.endpoints or {}).values()] if own is not None else []
    return _plain(endpoint) in map(_plain, endpoints)


def _plain(endpoint: str | None) -> str:
    return re.sub(r"/+$", "", endpoint or "").lower()
