"""The TLS front as a process: ``python -m azpg_runtime.postgres.front``, started by its supervisor."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import resource
import signal
import socket
import sys
from pathlib import Path

from azpg_runtime import access_tokens
from azpg_runtime.postgres.entra.access import AccessFile
from azpg_runtime.postgres.front.relay import Client, Front
from azpg_runtime.postgres.front.tls import server_context
from azpg_runtime.supervision.beating import give_signs_of_life
from azpg_runtime.supervision.service import CANNOT_SERVE, become, end_with

log = logging.getLogger(__name__)

_BACKLOG = 1024


def main() -> None:
    """Serves one instance on the listening socket that the supervisor handed down."""
    parser = argparse.ArgumentParser(prog="azpg_runtime.postgres.front")
    parser.add_argument("--fd", type=int, required=True, help="the listening socket")
    parser.add_argument("--supervisor", type=int, required=True, help="the process to end with")
    parser.add_argument("--beat", type=int, help="the pipe for signs of life; an older supervisor has none")
    parser.add_argument("--instance", required=True, help="the instance's name")
    parser.add_argument("--server-port", type=int, required=True, help="PostgreSQL's own, on 127.0.0.1")
    parser.add_argument("--certificate", type=Path, required=True, help="private key and certificate")
    parser.add_argument("--access", type=Path, required=True, help="who may log in, and how")
    parser.add_argument("--sockets", type=Path, required=True, help="the folder of PostgreSQL's own socket")
    parser.add_argument("--uid", type=int, required=True, help="the user to become")
    parser.add_argument("--gid", type=int, required=True)
    options = parser.parse_args()
    end_with(options.supervisor)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s front[%(process)d] %(levelname)s %(message)s")
    try:
        context = server_context(options.certificate)
    except OSError as error:
        print(f"front: {options.certificate}: {error}", file=sys.stderr, flush=True)
        raise SystemExit(CANNOT_SERVE) from None
    _allow_many_connections()
    access_tokens.prepare()
    if options.uid != os.geteuid():
        become(options.uid, options.gid)
        end_with(options.supervisor)
    front = Front(
        options.instance,
        options.server_port,
        context,
        access=AccessFile(options.access),
        socket=options.sockets / f".s.PGSQL.{options.server_port}",
    )
    asyncio.run(serve(front, socket.socket(fileno=options.fd), beat=options.beat))


async def serve(front: Front, listener: socket.socket, *, beat: int | None) -> None:
    """Serves `listener` until SIGTERM or SIGINT, and gives signs of life to the pipe `beat`."""
    give_signs_of_life(beat)
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    server = await loop.create_server(lambda: Client(front), sock=listener, backlog=_BACKLOG)
    log.info("ready")
    await stopping.wait()
    server.close()
    for client in list(front.clients):
        client.abort()


def _allow_many_connections() -> None:
    """Each client takes two descriptors; the usual limit of 1,024 is meant for programs that use select()."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


if __name__ == "__main__":
    main()
