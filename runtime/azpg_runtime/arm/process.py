"""What runs inside the ARM twin's process."""

from __future__ import annotations

import logging
import os
import socket

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from azpg_runtime.arm.application import Application
from azpg_runtime.arm.breaking import breakable
from azpg_runtime.arm.catalog import build
from azpg_runtime.arm.faults import Faults
from azpg_runtime.arm.files import ArmFiles
from azpg_runtime.arm.hosts import addressed
from azpg_runtime.arm.identity.login import LOGIN_HOST
from azpg_runtime.arm.identity.proxy import Proxy
from azpg_runtime.arm.identity.service import IdentityService
from azpg_runtime.arm.identity.tls import NAMES
from azpg_runtime.arm.operations import Operations
from azpg_runtime.arm.services import Services
from azpg_runtime.arm.settings import STATUS_PATH, Settings
from azpg_runtime.arm.state import State
from azpg_runtime.errors import ArmError
from azpg_runtime.home import Home

log = logging.getLogger(__name__)

_GRACE = 2


async def serve(home: Home, listener: socket.socket) -> None:
    """Serves until SIGTERM or SIGINT. Raises `ArmError` for files that it cannot use."""
    files = ArmFiles(home)
    settings = Settings.load(files.settings)
    state = State(files.state)
    state.fact("subscription")
    identity = IdentityService(home)
    faults = Faults(files.faults)
    operations = Operations(state, before=lambda address: faults.of_operation(str(address)))
    services = Services(home, settings, state, operations, identity)
    router = build(services)
    router.start()
    operations.resume()

    async def status(_: Request) -> JSONResponse:
        return JSONResponse(
            {
                "version": 1,
                "pid": os.getpid(),
                "subscription_id": state.fact("subscription"),
                "tenant_id": services.tenant,
            }
        )

    authority = f"https://{LOGIN_HOST}/{services.tenant}"
    arm = Application(router, faults, verify=identity.caller, authority=authority)
    app = Starlette(routes=[Route(STATUS_PATH, status), *identity.routes(), Mount("/", arm)])
    config = uvicorn.Config(
        breakable(addressed(app, NAMES)),
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
        ws="none",
        ssl_certfile=files.certificate,
        timeout_graceful_shutdown=_GRACE,
    )
    async with Proxy(settings.port).serving(_proxy_listener(settings.proxy_port)):
        log.info("ready")
        await uvicorn.Server(config).serve(sockets=[listener])
    operations.close()
    state.close()


def _proxy_listener(port: int) -> socket.socket:
    try:
        return socket.create_server(("127.0.0.1", port), backlog=128)
    except OSError as error:
        raise ArmError(
            f"the ARM twin's proxy cannot listen on port {port}: {error.strerror}.",
            hint="`azpg arm down`, then `azpg arm up`, which chooses another port.",
        ) from None
