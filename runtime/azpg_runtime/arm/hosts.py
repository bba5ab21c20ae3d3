"""By which names the twin may be addressed: its answers lead back to the one that a request has."""

from __future__ import annotations

import re
from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_HOST = re.compile(r"(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9.-]+))(?::[0-9]{1,5})?")


def addressed(app: ASGIApp, names: Collection[str]) -> ASGIApp:
    """`app` for requests whose Host is one of `names`, with any port; others get 421.

    Else whoever makes a client send another Host would have it follow links, and take its tokens, there.
    """

    async def checked(scope: Scope, receive: Receive, send: Send) -> None:
        hosts = Headers(scope=scope).getlist("host") if scope["type"] == "http" else []
        if len(hosts) == 1 and is_one(hosts[0], names):
            await app(scope, receive, send)
            return
        message = f"The twin is none of the hosts that the request names; it is {', '.join(sorted(names))}."
        answer = JSONResponse({"error": {"code": "InvalidHostName", "message": message}}, status_code=421)
        await answer(scope, receive, send)

    return checked


def is_one(host: str, names: Collection[str]) -> bool:
    """Whether a Host header names one of `names`."""
    found = _HOST.fullmatch(host)
    return found is not None and (found[1] or found[2]).lower() in names
