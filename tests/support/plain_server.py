"""A PostgreSQL as initdb makes it: neither Azure's nor a twin, and so without their roles."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from azpg_runtime.postgres.account import server_account
from azpg_runtime.postgres.installation import Installation
from azpg_runtime.postgres.instance import Instance


@dataclass(frozen=True)
class PlainServer:
    """One that runs; it is reached by its socket, in a folder that others cannot enter, as any of its roles."""

    folder: Path

    def dsn(self, role: str, database: str) -> str:
        return f"host={self.folder} user={role} dbname={database}"

    def connect(self, role: str = "postgres", database: str = "postgres") -> psycopg.Connection[Any]:
        return psycopg.connect(self.dsn(role, database), autocommit=True, prepare_threshold=None)


@contextlib.contextmanager
def plain_server(twin: Instance) -> Iterator[PlainServer]:
    """A new one, with the programs of a twin's, and the user that it runs as; it is gone afterwards."""
    programs = Installation.open(twin.home.server.resolve()).bin
    account = server_account(twin.description.os_user)
    folder = Path(tempfile.mkdtemp(prefix="azpg-plain-"))
    account.own(folder)
    settings = f"-c listen_addresses= -c fsync=off -k {folder}"

    def run(program: str, *arguments: str) -> None:
        subprocess.run(
            [str(programs / program), *arguments, "-D", str(folder / "data")],
            cwd="/",
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"},
            check=True,
            stdout=subprocess.DEVNULL,
            **account.run_options(),
        )

    try:
        run("initdb", "-U", "postgres", "--auth=trust", "--no-sync", "--encoding=UTF8", "--no-instructions")
        run("pg_ctl", "start", "-s", "-w", "-o", settings, "-l", str(folder / "log"))
        try:
            yield PlainServer(folder)
        finally:
            run("pg_ctl", "stop", "-s", "-w", "-m", "immediate")
    finally:
        shutil.rmtree(folder)
