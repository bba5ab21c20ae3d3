r"""``\df azure_local_ai.*`` as psql prints it, against the documented table."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from azpg_runtime.postgres.instance import Instance

pytestmark = pytest.mark.every_major

GOLDEN = Path(__file__).parent / "azure_local_ai.df.txt"


def test_the_twelve_functions_are_those_of_the_documentation(twin: Instance, database: str) -> None:
    printed = subprocess.run(
        [
            *(twin.program("psql"), "--no-psqlrc", "--no-align", "--tuples-only", "--field-separator= | "),
            *("--dbname", twin.dsn(database), "--command", r"\df azure_local_ai.*"),
        ],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    # psql does not order overloads.
    assert sorted(printed.splitlines()) == sorted(GOLDEN.read_text().splitlines())
    assert len(printed.splitlines()) == 12
