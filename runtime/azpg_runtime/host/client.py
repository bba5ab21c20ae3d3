"""A blocking client of the model host, for the command line and for tests. Backends have the shim."""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from azpg_runtime.errors import HostError
from azpg_runtime.host import protocol
from azpg_runtime.host.protocol import Frame, FrameDecoder, Kind, Reply
from azpg_runtime.system.peers import peer_uid

_CHUNK = 65536


class HostClient:
    """One connection.

    Raises `HostError` where the host cannot be reached or leaves, `RemoteError` for its own errors.
    """

    def __init__(self, path: Path, *, timeout: float = 30.0) -> None:
        """Connects to the socket at `path`; `timeout` in seconds bounds each request, too."""
        self._timeout = timeout
        self._ids = itertools.count(1)
        self._decoder = FrameDecoder()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout)
        try:
            self._socket.connect(str(path))
        except OSError as error:
            self._socket.close()
            raise _unreachable(error) from None

    def __enter__(self) -> HostClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leaves; what was asked for and not answered is given up by the host."""
        self._socket.close()

    def request(self, kind: Kind, body: bytes = b"") -> Reply:
        """Asks once and waits for the answer."""
        deadline = time.monotonic_ns() + int(self._timeout * 1e9)
        frame = Frame(kind, next(self._ids), body, deadline)
        try:
            self._socket.sendall(protocol.encode(frame))
            while True:
                data = self._socket.recv(_CHUNK)
                if not data:
                    raise HostError("the model host ended the connection before it answered.")
                for reply in self._decoder.feed(data):
                    if reply.request_id == frame.request_id:
                        return protocol.unpack_reply(reply)
        except TimeoutError:
            raise HostError(f"the model host did not answer within {self._timeout:g} s.") from None
        except OSError as error:
            raise _unreachable(error) from None

    def peer(self) -> int:
        """The user id of whoever listens."""
        return peer_uid(self._socket)

    def deploy(self, uri: str, name: str) -> None:
        """Has the store's model of that name registered in the background, at the latest when it is there."""
        self.request(Kind.DEPLOY, protocol.pack_pairs([(uri, name)]))

    def status(self) -> dict[str, Any]:
        """What the host says about itself."""
        answer = self.request(Kind.STATUS)
        assert isinstance(answer, str)
        status: dict[str, Any] = json.loads(answer)
        return status


def _unreachable(error: OSError) -> HostError:
    return HostError(f"the model host cannot be reached: {error.strerror or error}.")


def host_status(path: Path, *, timeout: float = 2.0) -> dict[str, Any] | None:
    """The status of the host at `path`, with its user id as `uid`; None when none answers in time."""
    with contextlib.suppress(HostError), HostClient(path, timeout=timeout) as client:
        return {**client.status(), "uid": client.peer()}
    return None
