"""What the parts of a flexible server have in common."""

from __future__ import annotations

from collections.abc import Callable

from azpg_runtime.arm.address import Address
from azpg_runtime.arm.exchange import Answer, Call
from azpg_runtime.arm.kinds.kind import Kind
from azpg_runtime.arm.postgres import refusals
from azpg_runtime.arm.postgres.servers import Servers
from azpg_runtime.arm.services import not_found
from azpg_runtime.arm.state import Json, Resource
from azpg_runtime.errors import ArmRefusal, InstanceError
from azpg_runtime.postgres.instance import Instance


class Part(Kind):
    """A type whose resources lie in a flexible server, which is changed by one operation at a time."""

    def __init__(self, servers: Servers) -> None:
        super().__init__(servers.services)
        self.servers = servers

    def server(self, address: Address) -> Resource:
        """The server of a part. Raises `ArmRefusal` where there is none."""
        parent = server_address(address)
        found = self.servers.find(parent)
        if found is None:
            raise not_found(parent)
        return found

    def instance(self, address: Address) -> Instance:
        """The local server of a part."""
        return self.services.instance(server_address(address))

    def check_parent(self, address: Address, *, for_reading: bool = False) -> None:
        """See `Kind`."""
        self.servers.find(server_address(address))  # which notices one that somebody has removed
        super().check_parent(address, for_reading=for_reading)

    def begin(
        self,
        call: Call,
        verb: str,
        address: Address,
        arguments: Json | None = None,
        *,
        prepare: Callable[[], None] = lambda: None,
    ) -> Answer:
        """Starts an operation on the part's server. Raises `ArmRefusal` if that is busy or does not run."""
        server = self.server(address)
        self.servers.check_ready(server)
        operation = self.services.operations.start(
            verb,
            address,
            arguments=arguments,
            busy=server.address,
            refusal=lambda: refusals.busy(server.address.name),
            prepare=prepare,
        )
        return self.services.accepted(call, operation)


def server_address(address: Address) -> Address:
    """The address of the server that something is a part of."""
    return Address(address.scope, address.namespace, address.types[:1], address.names[:1])


def refused(error: InstanceError) -> ArmRefusal:
    """What a local server refuses, as Azure would say it."""
    return ArmRefusal(400, "InvalidParameterValue", str(error))
