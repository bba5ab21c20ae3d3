"""In whose name a stack is made."""

from __future__ import annotations

from dataclasses import dataclass

from pulumi_azure_native import authorization

from azpg_infra.errors import NotSignedIn


@dataclass(frozen=True, slots=True)
class Caller:
    """The subscription that is paid from, and the directory in which principals live."""

    subscription_id: str
    tenant_id: str


def caller() -> Caller:
    """Who runs Pulumi. Raises `NotSignedIn` if Azure does not know."""
    try:
        found = authorization.get_client_config()
    except Exception as error:
        # The provider's words; the first line says what it tried, the others are a trace of its own.
        raise NotSignedIn(str(error).partition("\n")[0]) from None
    return Caller(found.subscription_id, found.tenant_id)
