"""A process that vectorizes, or drains queues, until it is done: for tests that kill it.

python -m tests.integration.vectorizing run|drain HOME INSTANCE DATABASE WORKERS ROWS
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from azpg_provision import ledger
from azpg_provision.vectorize import Options, drain, run
from azpg_runtime.home import Home
from azpg_runtime.postgres.instance import Instance
from tests.integration.vectorized import connector


def start(
    what: str, twin: Instance, database: str, workers: int = 2, rows: int = 256
) -> subprocess.Popen[str]:
    """Starts such a process."""
    arguments = [what, str(twin.home.home.root), twin.name, database, str(workers), str(rows)]
    return subprocess.Popen([sys.executable, "-m", __name__, *arguments], text=True)


def main(what: str, home: str, instance: str, database: str, workers: str, rows: str) -> None:
    connect = connector(Instance(instance, home=Home(Path(home))), database)
    options = Options(workers=int(workers), batch_rows=int(rows))
    with connect() as connection:
        columns = ledger.columns(connection)
    for column in columns:
        if what == "run":
            run(connect, column, options)
        else:
            drain(connect, column, options, once=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
