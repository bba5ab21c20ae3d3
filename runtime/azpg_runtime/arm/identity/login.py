"""Where programs get tokens, as routes of the twin: Entra ID's login endpoints and the managed-identity one.

They answer at any host name, for programs ask for them at login.microsoftonline.com and at the twin itself.
Shapes and error codes are those of Microsoft's documentation; see spec/arm-and-sdk.md for what clients use.
"""

from __future__ import annotations

import hmac
import re
import time
import uuid
from typing import Any
from urllib.parse import parse_qs, urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from azpg_runtime.arm.identity import refusals
from azpg_runtime.arm.identity.identities import Identities, Identity
from azpg_runtime.arm.identity.refusals import NO_STORE, answered
from azpg_runtime.arm.identity.tokens import Issuer
from azpg_runtime.errors import IdentityNotFound, SecretWrong

LOGIN_HOST = "login.microsoftonline.com"
MANAGED_PATH = "/msi/token"
_ANY_TENANT = {"common", "organizations"}
"""What programs write that do not know their tenant: there is one."""
_APPLICATION_LIFETIME, _MANAGED_LIFETIME = 3599, 86400
"""Seconds, as Entra ID's."""
_LONGEST_BODY = 65536
_ENCODED = re.compile(r"application/x-www-form-urlencoded\b", re.IGNORECASE)


class Login:
    """The endpoints.

    Args:
        identities: who may get tokens.
        issuer: makes them.
    """

    def __init__(self, identities: Identities, issuer: Issuer) -> None:
        self._identities = identities
        self._issuer = issuer

    def routes(self) -> list[Route]:
        """For the twin's application; none of them begins as a path of Azure Resource Manager does."""
        return [
            Route("/{tenant}/v2.0/.well-known/openid-configuration", answered(self._configuration)),
            Route("/{tenant}/.well-known/openid-configuration", answered(self._configuration)),
            Route("/{tenant}/discovery/v2.0/keys", answered(self._keys)),
            Route("/{tenant}/discovery/keys", answered(self._keys)),
            Route("/common/discovery/instance", answered(self._instance)),
            Route("/{tenant}/oauth2/v2.0/token", answered(self._token), methods=["POST"]),
            Route(MANAGED_PATH, answered(self._managed)),
        ]

    # Discovery

    async def _configuration(self, request: Request) -> JSONResponse:
        self._check_tenant(request.path_params["tenant"])
        base = f"{_authority(request)}/{self._identities.tenant_id}"
        return JSONResponse(
            {
                "issuer": self._issuer.name,
                "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                "token_endpoint": f"{base}/oauth2/v2.0/token",
                "device_authorization_endpoint": f"{base}/oauth2/v2.0/devicecode",
                "jwks_uri": f"{base}/discovery/v2.0/keys",
                "token_endpoint_auth_methods_supported": ["client_secret_post"],
                "grant_types_supported": ["client_credentials"],
                "response_types_supported": ["token"],
                "subject_types_supported": ["pairwise"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "scopes_supported": ["openid"],
                "tenant_region_scope": None,
                "cloud_instance_name": "microsoftonline.com",
            }
        )

    async def _keys(self, request: Request) -> JSONResponse:
        self._check_tenant(request.path_params["tenant"])
        return JSONResponse({"keys": [dict(key) for key in self._issuer.trust.keys]})

    async def _instance(self, request: Request) -> JSONResponse:
        endpoint = urlsplit(request.query_params.get("authorization_endpoint", ""))
        tenant = endpoint.path.strip("/").split("/")[0]
        self._check_tenant(tenant)
        return JSONResponse(
            {
                "tenant_discovery_endpoint": (
                    f"{_authority(request)}/{tenant}/v2.0/.well-known/openid-configuration"
                ),
                "api-version": "1.1",
                "metadata": [
                    {
                        "preferred_network": LOGIN_HOST,
                        "preferred_cache": "login.windows.net",
                        "aliases": [
                            LOGIN_HOST,
                            "login.windows.net",
                            "login.microsoft.com",
                            "sts.windows.net",
                        ],
                    }
                ],
            }
        )

    # Tokens

    async def _token(self, request: Request) -> JSONResponse:
        self._check_tenant(request.path_params["tenant"])
        form = await _form(request)
        for name in ("grant_type", "client_id", "client_secret", "scope"):
            if not form.get(name):
                raise refusals.missing(name)
            if name == "grant_type" and form[name] != "client_credentials":
                raise refusals.wrong_grant(form[name])
        audience = _audience(form["scope"])
        if audience is None:
            raise refusals.wrong_scope(form["scope"])
        try:
            identity = self._identities.authenticate(form["client_id"], form["client_secret"])
        except IdentityNotFound:
            raise refusals.no_application(form["client_id"]) from None
        except SecretWrong:
            raise refusals.wrong_secret(form["client_id"]) from None
        return JSONResponse(
            {
                "token_type": "Bearer",
                "expires_in": _APPLICATION_LIFETIME,
                "ext_expires_in": _APPLICATION_LIFETIME,
                "access_token": self._issuer.issue(identity, audience, _APPLICATION_LIFETIME),
            },
            headers=NO_STORE,
        )

    async def _managed(self, request: Request) -> JSONResponse:
        given = request.headers.get("x-identity-header", "")
        if not hmac.compare_digest(given.encode(), self._identities.header.encode()):
            raise refusals.managed(
                401,
                "The header X-IDENTITY-HEADER must be the value of IDENTITY_HEADER: `azpg arm env` "
                "prints it.",
            )
        query = request.query_params
        audience = _resource(query.get("resource", ""))
        if audience is None:
            raise refusals.managed(
                400,
                "The parameter 'resource' must name a service, such as https://management.azure.com.",
            )
        try:
            identity = self._asked_for(query)
        except IdentityNotFound as error:
            raise refusals.managed(400, f"No User Assigned Managed Identity found: {error}") from None
        token = self._issuer.issue(identity, audience, _MANAGED_LIFETIME)
        return JSONResponse(
            {
                "access_token": token,
                "expires_on": str(int(time.time()) + _MANAGED_LIFETIME),
                "resource": audience,
                "token_type": "Bearer",
                "client_id": identity.client_id,
            },
            headers=NO_STORE,
        )

    def _asked_for(self, query: Any) -> Identity:
        """The identity that a request names, else the default one. Raises `IdentityNotFound`."""
        for name in ("client_id", "object_id", "principal_id", "mi_res_id"):
            if query.get(name):
                return self._identities.find(query[name])
        return self._identities.default

    def _check_tenant(self, tenant: str) -> None:
        if tenant.lower() not in {self._identities.tenant_id, *_ANY_TENANT}:
            raise refusals.no_tenant(tenant)


def _authority(request: Request) -> str:
    """Where this request reached the login endpoints: answers lead there again."""
    return f"{request.url.scheme}://{request.url.netloc}"


async def _form(request: Request) -> dict[str, str]:
    """The first value of each field; nothing of a body that is too long or no form."""
    if not _ENCODED.match(request.headers.get("content-type", "")):
        return {}
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > _LONGEST_BODY:
            return {}
    fields = parse_qs(bytes(body).decode("latin-1"), encoding="utf-8", errors="replace")
    return {name: values[0] for name, values in fields.items()}


def _audience(scope: str) -> str | None:
    """The service that a scope of version 2.0 is for: RESOURCE/.default."""
    return _resource(scope.removesuffix("/.default")) if scope.endswith("/.default") else None


def _resource(text: str) -> str | None:
    """A resource identifier as it was asked for, or None for what cannot be one."""
    if not text.isprintable() or len(text) > 500 or any(character.isspace() for character in text):
        return None
    try:
        parts = urlsplit(text)
        uuid_like = not parts.scheme and bool(uuid.UUID(text))
    except ValueError:
        return None
    return text if uuid_like or (parts.scheme in {"https", "api"} and parts.netloc) else None
