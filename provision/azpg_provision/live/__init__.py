"""What a server has now, read from its catalogues."""

from __future__ import annotations

from azpg_provision.live.reading import model, read, read_database, read_only

__all__ = ["model", "read", "read_database", "read_only"]
