"""Functions of azure-native: reads that a program makes while it runs."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable

from azpg_runtime.errors import PulumiError
from azpg_runtime.pulumi.arm import SCOPE, Arm
from azpg_runtime.pulumi.kind import Json, kinds

_GET = re.compile(r"azure-native:(\w+):get([A-Z]\w*)")


def client_config(arm: Arm, arguments: Json) -> Json:
    """Who the caller is, from the token's claims."""
    claims = _claims(arm.credential.get_token(SCOPE).token)
    return {
        "clientId": claims.get("appid", ""),
        "objectId": claims.get("oid", ""),
        "subscriptionId": arm.subscription,
        "tenantId": claims.get("tid", ""),
    }


def client_token(arm: Arm, arguments: Json) -> Json:
    """A token for another audience."""
    scope = str(arguments.get("endpoint") or SCOPE.removesuffix("/.default"))
    return {"token": arm.credential.get_token(f"{scope}/.default").token}


def list_account_keys(arm: Arm, arguments: Json) -> Json:
    """Both keys of an AI account."""
    kind = kinds()["azure-native:cognitiveservices:Account"]
    return arm.post(f"{kind.id(arguments, arm.subscription)}/listKeys", kind.api)


_FUNCTIONS: dict[str, Callable[[Arm, Json], Json]] = {
    "azure-native:authorization:getClientConfig": client_config,
    "azure-native:authorization:getClientToken": client_token,
    "azure-native:cognitiveservices:listAccountKeys": list_account_keys,
}


def invoke(arm: Arm, token: str, arguments: Json) -> Json:
    """What a function answers. Raises `PulumiError` for one that is not known, and for what is not there."""
    if token in _FUNCTIONS:
        return _FUNCTIONS[token](arm, arguments)
    found = _GET.fullmatch(token)
    kind = kinds().get(f"azure-native:{found[1]}:{found[2]}") if found else None
    if kind is None:
        known = ", ".join(sorted(_FUNCTIONS))
        raise PulumiError(
            f"the offline provider does not know the function {token}",
            detail=f"It knows {known}, and `get…` of the resource types in kinds.toml.",
            hint="Run this program against Azure, or take the call out.",
        )
    resource_id = kind.id(arguments, arm.subscription)
    answer = arm.get(resource_id, kind.api)
    if answer is None:
        raise PulumiError(f"{resource_id} does not exist", hint="Check the names that the program asks for.")
    return kind.outputs(answer)


def _claims(token: str) -> dict[str, str]:
    part = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    assert isinstance(claims, dict)
    return claims
