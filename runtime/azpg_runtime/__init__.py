"""The offline twin of Azure Database for PostgreSQL with in-database AI.

::

    from azpg_runtime import Twin

    with Twin("default") as twin, twin.connect() as connection:
        ...  # a server that did not run before is stopped at the end; its data stay

`Twin` is `azpg_runtime.postgres.instance.Instance`, imported when it is first used.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from azpg_runtime.postgres.instance import Instance as Twin

# From 1.29 on, onnxruntime reports its use to Microsoft unless this is set before it is loaded.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

__all__ = ["Twin"]


def __getattr__(name: str) -> Any:
    if name == "Twin":
        from azpg_runtime.postgres.instance import Instance  # noqa: PLC0415 - psycopg is not loaded for --help

        return Instance
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
