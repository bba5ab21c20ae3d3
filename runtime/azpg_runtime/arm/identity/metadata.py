"""What Azure Resource Manager says of its cloud: /metadata/endpoints, in the shapes of both its versions.

Programs ask for it to learn where to log in and which audience a token must have.
"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from azpg_runtime.arm.identity.login import LOGIN_HOST
from azpg_runtime.arm.identity.tokens import MANAGEMENT

MANAGEMENT_HOST = "management.azure.com"
_SINGLE = "2022-09-01"
"""From this version on the answer is one object; before, it is a list."""


def routes() -> list[Route]:
    """For the twin's application; they need no token."""
    return [Route("/metadata/endpoints", _endpoints)]


async def _endpoints(request: Request) -> JSONResponse:
    version = request.query_params.get("api-version", "")
    if not version:
        return JSONResponse(
            {
                "error": {
                    "code": "MissingApiVersionParameter",
                    "message": "The api-version query parameter (?api-version=) is required for all "
                    "requests.",
                }
            },
            status_code=400,
        )
    cloud = _cloud()
    return JSONResponse(cloud if version >= _SINGLE else [cloud])


def _cloud() -> dict[str, Any]:
    """The public cloud: proxied programs reach all of it here, and nothing else is there."""
    return {
        "name": "AzureCloud",
        "portal": "https://portal.azure.com",
        "authentication": {
            "loginEndpoint": f"https://{LOGIN_HOST}",
            "audiences": [f"{MANAGEMENT[1]}/", f"{MANAGEMENT[0]}/"],
            "tenant": "common",
            "identityProvider": "AAD",
        },
        "resourceManager": f"https://{MANAGEMENT_HOST}/",
        "graphAudience": "https://graph.windows.net/",
        "suffixes": {
            "azureDataLakeStoreFileSystem": "azuredatalakestore.net",
            "keyVaultDns": "vault.azure.net",
            "storage": "core.windows.net",
            "postgresqlServerEndpoint": "postgres.database.azure.com",
        },
    }
