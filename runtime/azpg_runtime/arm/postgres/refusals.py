"""What Microsoft.DBforPostgreSQL answers to what it does not do."""

from __future__ import annotations

from azpg_runtime.errors import ArmRefusal


def invalid(parameter: str, why: str = "") -> ArmRefusal:
    """A value that a server cannot have; `why` is a sentence or more."""
    said = f"Invalid value given for parameter {parameter}. Specify a valid parameter value."
    return ArmRefusal(400, "InvalidParameterValue", f"{said} {why}".rstrip())


def busy(server: str) -> ArmRefusal:
    """Another operation works on the server. Without Retry-After, at which clients would retry unseen."""
    return ArmRefusal(
        409,
        "ServerIsBusy",
        f"Cannot complete operation while server '{server}' is busy processing another operation. Try again "
        "later.",
    )


def not_ready(server: str, state: str) -> ArmRefusal:
    """The server does not run."""
    return ArmRefusal(
        409,
        "ServerIsNotReady",
        f"The operation cannot be done while server '{server}' is in state '{state}'. Start the server "
        "first.",
    )


def wrong_tenant(tenant: str) -> ArmRefusal:
    """A tenant that is not the local one."""
    return invalid("tenantId", f"The local ARM twin has one tenant, {tenant}.")


def not_in_twin(what: str) -> ArmRefusal:
    """Something that Azure has and the local twin has not."""
    return ArmRefusal(
        400,
        "FeatureNotSupportedByTwin",
        f"{what} is not supported by the local ARM twin of azpg; on Azure it is. "
        "See `azpg help compatibility`.",
    )


def method_not_allowed(method: str, type_: str, allowed: str) -> ArmRefusal:
    """A request that a type does not know."""
    return ArmRefusal(
        405,
        "HttpMethodNotAllowed",
        f"The HTTP method '{method}' is not supported for '{type_}'. Supported are {allowed}.",
        headers={"Allow": allowed},
    )
