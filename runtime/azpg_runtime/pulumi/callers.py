"""Who may call the provider: its port is open to all users of the machine, and it acts as one of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import grpc

from azpg_runtime.system.tcp_owners import can_be_told, owner_of_client


class OwnUserOnly(grpc.ServerInterceptor):
    """Refuses callers that run as another user of this machine.

    `port` is the provider's own, known once it listens.
    """

    def __init__(self) -> None:
        self.port = 0

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler[Any, Any] | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Wraps the method that is called; all of the provider's take one request and give one answer."""
        handler = continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:
            return None
        method = handler.unary_unary

        def checked(request: Any, context: grpc.ServicerContext) -> Any:
            if not self._is_own(context.peer()):
                context.abort(
                    grpc.StatusCode.PERMISSION_DENIED, "another user of this machine runs this provider"
                )
            return method(request, context)

        return grpc.unary_unary_rpc_method_handler(
            checked, handler.request_deserializer, handler.response_serializer
        )

    def _is_own(self, peer: str) -> bool:
        """Whether `peer`, such as ``ipv4:127.0.0.1:40000``, is this user, or it cannot be told at all."""
        port = peer.rpartition(":")[2]
        if not port.isdigit():
            return False
        return owner_of_client(int(port), server_port=self.port) == os.geteuid() or not can_be_told()
