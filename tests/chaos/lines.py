"""A proxy on the loopback whose connections can be cut as a broken line cuts them: without a word."""

from __future__ import annotations

import random
import select
import socket
import struct
import threading
from contextlib import suppress

_PIECE = 65536
_RESET = struct.pack("ii", 1, 0)


class Proxy:
    """Passes bytes on to a port of this machine."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._lock = threading.Lock()
        self._clients: dict[socket.socket, threading.Thread] = {}
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, name="proxy", daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                thread = threading.Thread(target=self._pass, args=(client,), name="line", daemon=True)
                with self._lock:
                    self._clients[client] = thread
                thread.start()

    def _pass(self, client: socket.socket) -> None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self._to)) as server:
            while self._step(client, server):
                pass
        with self._lock:
            del self._clients[client]
        client.close()

    @staticmethod
    def _step(client: socket.socket, server: socket.socket) -> bool:
        """Passes on what there is; False at the end of one side."""
        readable, _, _ = select.select([client, server], [], [])
        for one in readable:
            piece = one.recv(_PIECE)
            if not piece:
                return False
            (server if one is client else client).sendall(piece)
        return True

    def cut(self, chance: random.Random) -> int:
        """Cuts half of the connections; how many."""
        with self._lock:
            chosen = [client for client in self._clients if chance.random() < 0.5]
            for client in chosen:
                _cut(client)
        return len(chosen)

    def close(self) -> None:
        """Ends the proxy and its connections."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        with self._lock:
            left = dict(self._clients)
            for client in left:
                _cut(client)
        for thread in left.values():
            thread.join()


def _cut(client: socket.socket) -> None:
    """Its thread sees the end, and closes it with a reset."""
    with suppress(OSError):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        client.shutdown(socket.SHUT_RDWR)
