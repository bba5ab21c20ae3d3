"""Where a server listens, as Azure and the twin write it."""

from __future__ import annotations


def parse(text: str, default: int = 5432) -> tuple[str, int]:
    """The host and the port of `host` or `host:port`."""
    host, _, port = text.partition(":")
    return host, int(port) if port else default
