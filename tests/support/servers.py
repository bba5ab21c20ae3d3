"""The PostgreSQL servers that the tests run on, found by the very files that building for them uses.

``python -m tests.support.servers`` prints the Debian packages that this machine lacks for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from azpg_runtime.errors import InstanceError
from azpg_runtime.postgres.pgconfig import PgConfig

DEBIAN_15 = Path("/usr/lib/postgresql/15/bin/pg_config")
"""A PostgreSQL that azpg does not bundle, to be brought with `--pg-config`; it has no pgvector."""
PACKAGES = ("postgresql-15", "postgresql-server-dev-15")


@dataclass(frozen=True, slots=True)
class Server:
    """A PostgreSQL to make twins of.

    Attributes:
        pg_config: None for a bundled one.
    """

    major: int
    pg_config: Path | None = None
    has_vector: bool = True

    @property
    def name(self) -> str:
        """Such as pg18."""
        return f"pg{self.major}"

    @property
    def wishes(self) -> dict[str, Any]:
        """What chooses it, as arguments of `Wishes`."""
        return {"major": self.major} if self.pg_config is None else {"pg_config": str(self.pg_config)}


DEFAULT = Server(18)
BUNDLED = (DEFAULT, Server(16))


def obstacle(pg_config: Path) -> str:
    """Why the extensions cannot be built for a server; empty if they can."""
    try:
        missing = PgConfig.ask(pg_config).missing()
    except InstanceError as error:
        return error.message
    return f"missing: {', '.join(missing)}" if missing else ""


def servers(environment: Mapping[str, str], *, debian: Path = DEBIAN_15) -> tuple[list[Server], str]:
    """Every server to test, and a remark on the one that is left out, if any.

    Raises `LookupError` for one that is left out in CI, where `.ci/run` brings it.
    """
    if "SANITIZED_SHIM" in environment:  # which was built for the bundled ones
        return [*BUNDLED], ""
    why = obstacle(debian)
    if not why:
        return [*BUNDLED, Server(15, debian, has_vector=False)], ""
    remark = f"PostgreSQL 15 is not tested; {why.rstrip('.')}."
    if environment.get("CI"):
        raise LookupError(f"{remark} In CI it has to be: install {' and '.join(PACKAGES)}, as .ci/run does.")
    return [*BUNDLED], remark


if __name__ == "__main__":
    if obstacle(DEBIAN_15):
        print(*PACKAGES)
