"""Breaking a connection on purpose, for which ASGI has no word: it takes uvicorn's own transport."""

from __future__ import annotations

from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

_EXTENSION = "azpg.break"


def breakable(app: ASGIApp) -> ASGIApp:
    """`app`, in which `break_connection` works. It must be uvicorn's own application, not inside another."""

    async def outermost(scope: Scope, receive: Receive, send: Send) -> None:
        cycle: Any = getattr(send, "__self__", None)
        scope.setdefault("extensions", {})[_EXTENSION] = cycle.transport.abort
        await app(scope, receive, send)

    return outermost


async def break_connection(scope: Scope, receive: Receive) -> None:
    """Ends the connection without an answer, and returns when it is gone."""
    scope["extensions"][_EXTENSION]()
    while (await receive())["type"] != "http.disconnect":
        pass
