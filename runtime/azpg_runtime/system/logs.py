"""Logs that grow by themselves and are bounded by us."""

from __future__ import annotations

from pathlib import Path

LIMIT = 16 * 1024 * 1024
"""Bytes beyond which a log is moved aside."""


def rotate(log: Path) -> None:
    """Moves a large log aside, so that two of them bound what an instance may fill."""
    if log.exists() and log.stat().st_size > LIMIT:
        log.rename(log.with_name(f"{log.name}.1"))
