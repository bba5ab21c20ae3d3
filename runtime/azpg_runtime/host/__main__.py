"""The model host as a process: ``python -m azpg_runtime.host``, started by the supervisor."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import socket
import sys
from pathlib import Path

from azpg_runtime.supervision.beating import give_signs_of_life
from azpg_runtime.supervision.service import CANNOT_SERVE, become, end_with


def main() -> None:
    """Serves one instance on the listening socket that the supervisor handed down."""
    parser = argparse.ArgumentParser(prog="azpg_runtime.host")
    parser.add_argument("--fd", type=int, required=True, help="the listening socket")
    parser.add_argument("--supervisor", type=int, required=True, help="the process to end with")
    parser.add_argument("--beat", type=int, help="the pipe for signs of life; an older supervisor has none")
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--models-folder", type=Path, required=True)
    parser.add_argument("--uid", type=int, action="append", required=True, help="who may connect")
    parser.add_argument("--become", type=int, nargs=2, metavar=("UID", "GID"), help="the user to become")
    parser.add_argument("--own-store", type=Path, help="for the models that are registered by path")
    parser.add_argument("--memory-limit", type=int, help="bytes for loaded models (three quarters of all)")
    options = parser.parse_args()
    end_with(options.supervisor)
    # The library's own threads are few and shared: a text that takes hours would keep one from all models.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    logging.basicConfig(level=logging.INFO, format="%(asctime)s host[%(process)d] %(levelname)s %(message)s")

    # Imported late, so that wrong arguments and a dead supervisor cost nothing.
    from azpg.errors import AzpgError  # noqa: PLC0415
    from azpg_runtime.host.server import serve  # noqa: PLC0415
    from azpg_runtime.host.service import Service  # noqa: PLC0415
    from azpg_runtime.host.store import InstanceStore  # noqa: PLC0415
    from azpg_runtime.models import ModelStore  # noqa: PLC0415
    from azpg_runtime.system.memory import limit_process, process_limit  # noqa: PLC0415

    limit_process(process_limit(options.memory_limit))

    shared = ModelStore(options.store)
    store = shared if options.own_store is None else InstanceStore(options.own_store, shared)
    if options.become is not None:
        become(*options.become)
        end_with(options.supervisor)

    async def run() -> None:
        service = Service(
            store=store,
            folder=options.folder,
            models_folder=options.models_folder,
            memory_limit=options.memory_limit,
        )
        give_signs_of_life(options.beat)
        await serve(service, socket.socket(fileno=options.fd), allowed_uids=frozenset(options.uid))

    try:
        asyncio.run(run())
    except AzpgError as error:
        print(f"host: {error}", file=sys.stderr, flush=True)
        raise SystemExit(CANNOT_SERVE) from None


if __name__ == "__main__":
    main()
