"""The account whose models azure_ai calls, and the server's right to call them without a key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
from pulumi_azure_native import authorization
from pulumi_azure_native import cognitiveservices as azure

from azpg_infra import naming
from azpg_infra.component import LONG, Component
from azpg_infra.settings import Deployment

OPENAI_USER = "5e0bd9bd-7b93-4f28-af87-19fc36ad61bd"
"""The role Cognitive Services OpenAI User: may call models, may change nothing."""
ROLES = "providers/Microsoft.Authorization/roleDefinitions"
OPENAI_ENDPOINT = "OpenAI Language Model Instance API"
"""The endpoint that azure_ai speaks with, as an account of kind AIServices names it."""


@dataclass(frozen=True, slots=True)
class AiAccountArgs:
    """An account and its deployments.

    Attributes:
        kind: OpenAI or AIServices.
        local_auth: whether keys work besides Entra tokens.
        public: whether it may be called from the internet.
    """

    group: pulumi.Input[str]
    account_name: str
    location: str
    kind: str
    local_auth: bool
    public: bool
    deployments: Sequence[Deployment]
    tags: dict[str, str]


class AiAccount(Component):
    """An account with its own domain, without which it takes no Entra tokens, and its models."""

    def __init__(self, name: str, args: AiAccountArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("AiAccount", name, opts)
        self.account = azure.Account(
            name,
            resource_group_name=args.group,
            account_name=args.account_name,
            location=args.location,
            kind=args.kind,
            sku=azure.SkuArgs(name="S0"),
            properties=azure.AccountPropertiesArgs(
                custom_sub_domain_name=args.account_name,
                disable_local_auth=not args.local_auth,
                public_network_access="Enabled" if args.public else "Disabled",
            ),
            tags=args.tags,
            opts=self.child(pulumi.ResourceOptions(custom_timeouts=LONG)),
        )
        self.id: pulumi.Output[str] = self.account.id
        self.endpoint: pulumi.Output[str] = self.account.properties.apply(
            lambda properties: _endpoint(properties.endpoint, properties.endpoints)
        )
        self.done: list[pulumi.Resource] = [self.account]
        for deployment in args.deployments:
            self.done.append(
                azure.Deployment(
                    f"{name}-{deployment.name}",
                    resource_group_name=args.group,
                    account_name=self.account.name,
                    deployment_name=deployment.name,
                    sku=azure.SkuArgs(name=deployment.sku, capacity=deployment.capacity),
                    properties=azure.DeploymentPropertiesArgs(
                        model=azure.DeploymentModelArgs(
                            format=deployment.format, name=deployment.model, version=deployment.version
                        ),
                        # Vectors of two versions cannot be compared: we say when it changes.
                        version_upgrade_option="NoAutoUpgrade",
                    ),
                    opts=self.in_turn(self.done, pulumi.ResourceOptions(custom_timeouts=LONG)),
                )
            )
        self.register_outputs({"id": self.id, "endpoint": self.endpoint})

    def key(self, group: pulumi.Input[str]) -> pulumi.Output[str]:
        """The first key, as a secret; there is none while local authentication is off."""
        keys = azure.list_account_keys_output(resource_group_name=group, account_name=self.account.name)
        return pulumi.Output.secret(keys.apply(lambda found: found.key1))


def _endpoint(first: str | None, endpoints: Mapping[str, str] | None) -> str | None:
    return (endpoints or {}).get(OPENAI_ENDPOINT) or first


@dataclass(frozen=True, slots=True)
class ModelUserArgs:
    """Who may call the models of an account; `principal_id` is that of a managed identity."""

    subscription_id: str
    account_id: pulumi.Input[str]
    principal_id: pulumi.Input[str]


class ModelUser(Component):
    """A managed identity's right to call an account's models."""

    def __init__(self, name: str, args: ModelUserArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("ModelUser", name, opts)
        role = f"/subscriptions/{args.subscription_id}/{ROLES}/{OPENAI_USER}"
        assignment: pulumi.Output[str] = pulumi.Output.all(args.account_id, args.principal_id).apply(
            lambda parts: naming.role_assignment(scope=parts[0], principal=parts[1], role=OPENAI_USER)
        )
        self.assignment = authorization.RoleAssignment(
            name,
            scope=args.account_id,
            role_assignment_name=assignment,
            role_definition_id=role,
            principal_id=args.principal_id,
            # Without it Azure looks a new identity up in Entra, where it may not have arrived yet.
            principal_type="ServicePrincipal",
            opts=self.child(),
        )
        self.register_outputs({"id": self.assignment.id})
