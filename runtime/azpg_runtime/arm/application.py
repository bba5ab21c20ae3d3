"""The ARM twin as an ASGI application."""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from azpg.failures import explain
from azpg_runtime.arm.address import Address
from azpg_runtime.arm.breaking import break_connection
from azpg_runtime.arm.exchange import Answer, Call
from azpg_runtime.arm.faults import Faults, Rule
from azpg_runtime.arm.operations import RETRY_HEADERS
from azpg_runtime.arm.router import Router
from azpg_runtime.errors import ArmRefusal, TokenExpired, TokenForAnother, TokenRefused

log = logging.getLogger(__name__)

_BODY_LIMIT = 4 * 1024 * 1024
_BARE_ERRORS = "microsoft.insights/"
"""Whose errors lack the outer object."""

_TOKEN_CODES: dict[type[TokenRefused], str] = {
    TokenExpired: "ExpiredAuthenticationToken",
    TokenForAnother: "InvalidAuthenticationTokenAudience",
}

Verify = Callable[[str], object]
"""Takes a bearer token; raises `TokenRefused` for one that is not good."""


class Application:
    """Answers every request to Azure Resource Manager.

    Args:
        router: knows what there is.
        faults: on purpose.
        verify: checks tokens.
        authority: the URL at which a client without a token may get one.
    """

    def __init__(self, router: Router, faults: Faults, *, verify: Verify, authority: str) -> None:
        self._router = router
        self._faults = faults
        self._verify = verify
        self._authority = authority

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        began = time.perf_counter()
        request = Request(scope, receive)
        path = _path(request)
        fault: Rule | None = None
        try:
            fault = self._faults.of_request(path, request.method)
            drop = fault is not None and fault.kind == "drop"
            if drop and self._faults.choose(0, 1) == 0:
                log.info("%s %s dropped", request.method, _in_log(path))
                await break_connection(scope, receive)
                return
            if fault is not None and not drop:
                raise self._refusal(fault.kind)
            call = await self._call(request)
            answer = await run_in_threadpool(self._router.answer, call)
        except ClientDisconnect:
            return
        except Exception as error:
            answer = _refused(error, path)
        milliseconds = (time.perf_counter() - began) * 1000
        log.info("%s %s %d %.1f ms", request.method, _in_log(path), answer.status, milliseconds)
        if fault is not None and fault.kind == "drop":
            await break_connection(scope, receive)
            return
        await _response(answer, request.method)(scope, receive, send)

    async def _call(self, request: Request) -> Call:
        self._authenticate(request.headers)
        query = {name.lower(): value for name, value in request.query_params.items()}
        path = _path(request)
        if not path.isprintable():
            raise ArmRefusal(
                400, "InvalidResourceId", f"The path {path!r} has characters that cannot be printed."
            )
        address = Address.parse(path)
        if not query.get("api-version"):
            raise ArmRefusal(
                400,
                "MissingApiVersionParameter",
                "The api-version query parameter (?api-version=) is required for all requests.",
            )
        return Call(
            method=request.method,
            address=address,
            base=f"{request.url.scheme}://{request.url.netloc}",
            query=query,
            headers={name.lower(): value for name, value in request.headers.items()},
            body=await _body(request),
        )

    def _authenticate(self, headers: Mapping[str, str]) -> None:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        challenge = {
            "WWW-Authenticate": f'Bearer authorization_uri="{self._authority}", error="invalid_token"'
        }
        if scheme.lower() != "bearer" or not token.strip():
            raise ArmRefusal(
                401,
                "AuthenticationFailed",
                "Authentication failed. The 'Authorization' header is missing or is no bearer token.",
                headers=challenge,
            )
        try:
            self._verify(token.strip())
        except TokenRefused as error:
            code = _TOKEN_CODES.get(type(error), "InvalidAuthenticationToken")
            raise ArmRefusal(401, code, str(error), headers=challenge) from None

    def _refusal(self, kind: str) -> ArmRefusal:
        if kind == "throttle":
            return ArmRefusal(
                429,
                "TooManyRequests",
                "The request is being throttled as the limit has been reached. (`azpg arm faults`)",
                headers=dict(RETRY_HEADERS),
            )
        status = self._faults.choose(500, 502, 503, 504)
        code = {
            500: "InternalServerError",
            502: "BadGateway",
            503: "ServiceUnavailable",
            504: "GatewayTimeout",
        }
        return ArmRefusal(status, code[status], "The service is not available. (`azpg arm faults`)")


def _path(request: Request) -> str:
    """The path, decoded once; `request.url` would show a name's ? as its escape."""
    return str(request.scope["path"])


def _in_log(path: str) -> str:
    return path if path.isprintable() else repr(path)


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


async def _body(request: Request) -> Any:
    """The parsed body; None where there is none."""
    content = b""
    async for chunk in request.stream():
        content += chunk
        if len(content) > _BODY_LIMIT:
            raise ArmRefusal(
                413, "RequestEntityTooLarge", f"The request content is longer than {_BODY_LIMIT} bytes."
            )
    if not content.strip():
        return None
    try:
        body = json.loads(content, parse_constant=_no_number)
        # Half of a surrogate pair, or a number beyond all doubles, could never be answered.
        json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
        return body
    except (ValueError, RecursionError) as error:
        raise ArmRefusal(
            400,
            "InvalidRequestContent",
            f"The request content was invalid and could not be deserialized: {error}.",
        ) from None


def _refused(error: Exception, path: str) -> Answer:
    """What a failed request is answered."""
    if not isinstance(error, ArmRefusal):
        said = explain(error)
        log.error("%s: %s", _in_log(path), said or "unexpected", exc_info=None if said else error)
        error = ArmRefusal(
            500, "InternalServerError", said or "An unexpected error occurred; see `azpg arm logs`."
        )
    body = {"code": error.code, "message": str(error)}
    bare = _BARE_ERRORS in path.lower()
    return Answer(error.status, body if bare else {"error": body}, error.headers)


def _response(answer: Answer, method: str) -> Response:
    """An answer as the server sends it."""
    headers = {**answer.headers, "x-ms-request-id": str(uuid.uuid4())}
    if answer.body is None or method == "HEAD":
        return Response(status_code=answer.status, headers=headers)
    content = json.dumps(answer.body, ensure_ascii=False).encode()
    return Response(content, answer.status, headers, media_type="application/json")
