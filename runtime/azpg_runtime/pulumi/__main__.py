"""The provider's process: `pulumi-resource-azure-native`.

Pulumi starts it with the engine's address and reads the port from the first line of its standard output.
"""

from __future__ import annotations

import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from types import FrameType

import grpc
from pulumi.runtime.proto import provider_pb2_grpc

from azpg_runtime.pulumi.arm import Arm
from azpg_runtime.pulumi.callers import OwnUserOnly
from azpg_runtime.pulumi.engine import when_gone
from azpg_runtime.pulumi.journal import Journal
from azpg_runtime.pulumi.provider import Provider

_MESSAGE = 400 << 20
"""Bytes; the limit of Pulumi's own providers."""


def main() -> None:
    """Serves until the engine ends this process, or has ended itself."""
    folder = os.environ.get("AZPG_PULUMI_JOURNAL")
    provider = Provider(Arm, Journal(Path(folder) if folder else None), version("pulumi-azure-native"))
    callers = OwnUserOnly()
    server = grpc.server(
        ThreadPoolExecutor(32),
        interceptors=[callers],
        options=[("grpc.max_receive_message_length", _MESSAGE), ("grpc.max_send_message_length", _MESSAGE)],
    )
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(provider, server)
    port = callers.port = server.add_insecure_port("127.0.0.1:0")
    server.start()

    def end(number: int, frame: FrameType | None) -> None:
        server.stop(0)

    def give_up() -> None:
        provider.cancel()
        server.stop(0)

    when_gone(give_up)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
