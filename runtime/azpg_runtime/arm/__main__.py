"""The ARM twin as a process: ``python -m azpg_runtime.arm``, started by its supervisor."""

from __future__ import annotations

import argparse
import asyncio
import logging
import socket
import sys
from pathlib import Path

from azpg_runtime.supervision.beating import give_signs_of_life
from azpg_runtime.supervision.service import CANNOT_SERVE, end_with


def main() -> None:
    """Serves one home on the listening socket that the supervisor handed down."""
    parser = argparse.ArgumentParser(prog="azpg_runtime.arm")
    parser.add_argument("--fd", type=int, required=True, help="the listening socket")
    parser.add_argument("--supervisor", type=int, required=True, help="the process to end with")
    parser.add_argument("--beat", type=int, help="the pipe for signs of life; an older supervisor has none")
    parser.add_argument("--home", type=Path, required=True, help="AZPG_HOME")
    options = parser.parse_args()
    end_with(options.supervisor)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s arm[%(process)d] %(levelname)s %(message)s")

    # Imported late, so that wrong arguments and a dead supervisor cost nothing.
    from azpg.errors import AzpgError  # noqa: PLC0415
    from azpg_runtime.arm.process import serve  # noqa: PLC0415
    from azpg_runtime.home import Home  # noqa: PLC0415

    async def run() -> None:
        give_signs_of_life(options.beat)
        await serve(Home(options.home), socket.socket(fileno=options.fd))

    try:
        asyncio.run(run())
    except AzpgError as error:
        print(f"arm: {error}", file=sys.stderr, flush=True)
        raise SystemExit(CANNOT_SERVE) from None


if __name__ == "__main__":
    main()
