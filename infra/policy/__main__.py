"""The policy pack: `pulumi preview --policy-pack infra/policy`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pulumi_policy import (
    EnforcementLevel,
    PolicyConfigSchema,
    PolicyPack,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    Secret,
    StackValidationArgs,
    StackValidationPolicy,
)

from azpg_policy import rules


def per_resource(
    name: str, description: str, check: rules.Check, level: EnforcementLevel = EnforcementLevel.MANDATORY
) -> ResourceValidationPolicy:
    """A rule that looks at one resource at a time."""

    def validate(args: ResourceValidationArgs, report_violation: ReportViolation) -> None:
        for problem in check(args.resource_type, args.props):
            report_violation(problem, None)

    return ResourceValidationPolicy(
        name=name, description=description, enforcement_level=level, validate=validate
    )


def backups(args: ResourceValidationArgs, report_violation: ReportViolation) -> None:
    """As `per_resource`, with the number of days from the policy's configuration."""
    days = int(args.get_config().get("days", 7))
    for problem in rules.backups_reach_back(args.resource_type, args.props, days=days):
        report_violation(problem, None)


def local_ai(args: StackValidationArgs, report_violation: ReportViolation) -> None:
    """Looks at servers and at what they allow-list, which are different resources."""
    for problem in rules.local_ai_has_memory((each.resource_type, each.props) for each in args.resources):
        report_violation(problem, None)


def encrypt(args: ResourceValidationArgs) -> Mapping[str, Any] | None:
    """Makes a server's password a secret, in case the program forgot: a plain one stays in the state."""
    # Through the mapping itself secrets look like plain values; its target is what came over the wire.
    arrived = args.props["__target"]
    plain = [
        name
        for name, value in arrived.items()
        if rules.is_password_of_server(args.resource_type, name) and not isinstance(value, Secret)
    ]
    if not plain:
        return None
    args.props[rules.PASSWORD] = Secret(args.props[rules.PASSWORD])
    return args.props


PolicyPack(
    name="azpg",
    policies=[
        per_resource(
            "firewall-narrow", "No firewall rule lets in the whole internet.", rules.firewall_is_narrow
        ),
        per_resource(
            "tls-required", "Servers require TLS, and no broken version of it.", rules.connections_use_tls
        ),
        ResourceValidationPolicy(
            name="backups",
            description="Servers can be restored to any moment of the last days.",
            enforcement_level=EnforcementLevel.MANDATORY,
            validate=backups,
            config_schema=PolicyConfigSchema(
                properties={"days": {"type": "integer", "minimum": 7, "maximum": 35, "default": 7}}
            ),
        ),
        StackValidationPolicy(
            name="local-ai-memory",
            description="Servers with azure_local_ai are memory-optimised, with at least 4 vCores.",
            enforcement_level=EnforcementLevel.MANDATORY,
            validate=local_ai,
        ),
        per_resource(
            "no-shown-secrets", "No credentials in tags and parameters.", rules.nothing_secret_is_shown
        ),
        ResourceValidationPolicy(
            name="secrets-encrypted",
            description="The password of a server is encrypted in the state.",
            enforcement_level=EnforcementLevel.REMEDIATE,
            remediate=encrypt,
        ),
        per_resource(
            "keyless-models",
            "AI accounts take no keys.",
            rules.models_are_called_without_keys,
            EnforcementLevel.ADVISORY,
        ),
    ],
)
