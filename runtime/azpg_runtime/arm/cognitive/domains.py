"""Custom subdomains of accounts, each of which only one account has."""

from __future__ import annotations

import re

from azpg_runtime.arm.address import Address
from azpg_runtime.arm.cognitive.names import ACCOUNTS, DELETED
from azpg_runtime.arm.state import Resource, State
from azpg_runtime.errors import ArmRefusal

_SUB_DOMAIN = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,62}[a-zA-Z0-9])"


def check(state: State, resource: Resource, existing: Resource | None) -> None:
    """Raises `ArmRefusal` for a subdomain that an account cannot have."""
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
            f"The custom subdomain name '{domain}' has characters other than letters, digits and hyphens, "
            "or is not 2 to 64 long.",
        )
    if domain and is_taken(state, domain, resource.address):
        raise ArmRefusal(
            409,
            "CustomDomainInUse",
            f"Please pick a different name. The subdomain name '{domain}' is not available as it's already "
            "used by a resource.",
        )


def is_taken(state: State, domain: str, but_for: Address | None = None) -> bool:
    """Whether another account has a subdomain, or has had it until it was deleted."""
    there = [*state.all_of(ACCOUNTS.lower()), *state.all_of(DELETED.lower())]
    return any(
        str(one.properties.get("customSubDomainName", "")).lower() == domain.lower()
        for one in there
        if but_for is None or one.address.key != but_for.key
    )
