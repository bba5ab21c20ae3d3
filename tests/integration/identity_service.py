"""The identity endpoints and the CONNECT proxy as a process: ``python -m tests.integration.identity_service``.

Beside them it answers one path of Azure Resource Manager, so that a token that was issued is also used.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from azpg_runtime.arm.identity import metadata, tls
from azpg_runtime.arm.identity.identities import Identities
from azpg_runtime.arm.identity.login import Login
from azpg_runtime.arm.identity.proxy import Proxy
from azpg_runtime.arm.identity.tokens import MANAGEMENT, Issuer
from azpg_runtime.errors import TokenRefused
from azpg_runtime.home import Home


def application(home: Home) -> Starlette:
    folder = home.root / "arm" / "identity"
    identities = Identities(folder)
    issuer = Issuer(folder, identities)

    async def caller(request: Request) -> JSONResponse:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        try:
            claims = issuer.verify(token, MANAGEMENT)
        except TokenRefused as error:
            return JSONResponse(
                {"error": {"code": "AuthenticationFailed", "message": str(error)}}, status_code=401
            )
        return JSONResponse({"host": request.url.netloc, "oid": claims.object_id})

    return Starlette(
        routes=[*Login(identities, issuer).routes(), *metadata.routes(), Route("/subscriptions", caller)]
    )


async def serve(home: Home, listener: socket.socket, proxy_listener: socket.socket) -> None:
    pem = str(tls.certify(home))
    server = uvicorn.Server(
        uvicorn.Config(
            application(home), ssl_certfile=pem, ssl_keyfile=pem, log_level="warning", lifespan="off"
        )
    )
    async with Proxy(listener.getsockname()[1]).serving(proxy_listener):
        await server.serve(sockets=[listener])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--proxy-fd", type=int, required=True)
    options = parser.parse_args()
    sockets = [socket.socket(fileno=number) for number in (options.fd, options.proxy_fd)]
    asyncio.run(serve(Home(options.home), *sockets))


if __name__ == "__main__":
    main()
