"""How the endpoints say no: Entra ID's OAuth errors, and those of the managed-identity endpoint."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse

NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
Endpoint = Callable[[Request], Awaitable[JSONResponse]]


class Refused(Exception):
    """Ends a request with `status` and a JSON `body`."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(status)
        self.status = status
        self.body = body


def answered(endpoint: Endpoint) -> Endpoint:
    """`endpoint`, with what it raises as `Refused` sent to the client."""

    async def answer(request: Request) -> JSONResponse:
        try:
            return await endpoint(request)
        except Refused as refused:
            return JSONResponse(refused.body, status_code=refused.status, headers=NO_STORE)

    return answer


def oauth(status: int, error: str, code: int, description: str) -> Refused:
    """An error of a login endpoint (RFC 6749, section 5.2), with Entra ID's AADSTS code."""
    trace, now = str(uuid.uuid4()), f"{datetime.now(UTC):%Y-%m-%d %H:%M:%SZ}"
    return Refused(
        status,
        {
            "error": error,
            "error_description": f"AADSTS{code}: {description} Trace ID: {trace} Timestamp: {now}",
            "error_codes": [code],
            "timestamp": now,
            "trace_id": trace,
            "correlation_id": trace,
        },
    )


def managed(status: int, message: str) -> Refused:
    """An error of the managed-identity endpoint, in App Service's shape."""
    return Refused(status, {"statusCode": status, "message": message})


def no_tenant(tenant: str) -> Refused:
    """There is no such tenant."""
    return oauth(
        400,
        "invalid_tenant",
        90002,
        f"Tenant '{tenant[:100]}' not found. There is one local tenant: `azpg arm env` prints "
        "AZURE_TENANT_ID.",
    )


def missing(name: str) -> Refused:
    """A form lacks a field."""
    return oauth(
        400,
        "invalid_request",
        900144,
        f"The request body must contain the following parameter: '{name}'.",
    )


def wrong_grant(grant: str) -> Refused:
    """Another way to get a token than there is."""
    return oauth(
        400,
        "unsupported_grant_type",
        70003,
        f"The app requested an unsupported grant type '{grant[:100]}'. This local tenant grants "
        "client_credentials only.",
    )


def wrong_scope(scope: str) -> Refused:
    """No scope that an application can ask for."""
    return oauth(
        400,
        "invalid_scope",
        1002012,
        f"The provided value for scope {scope[:200]} is not valid. Client credential flows must have a "
        "scope value with /.default suffixed to the resource identifier (application ID URI).",
    )


def no_application(client_id: str) -> Refused:
    """Nobody can log in by this client id."""
    return oauth(
        400,
        "unauthorized_client",
        700016,
        f"Application with identifier '{client_id[:100]}' was not found in this local directory. "
        "`azpg arm principal add NAME` makes one.",
    )


def wrong_secret(client_id: str) -> Refused:
    """The application has another secret."""
    return oauth(
        401,
        "invalid_client",
        7000215,
        f"Invalid client secret provided for app '{client_id}'. `azpg arm principal add NAME` gives it a "
        "new one.",
    )
