"""What a server has now, read from its catalogues."""

from __future__ import annotations

from azpg_provision.live.reading import model, read, read_only, read_table
from azpg_provision.live.text import text_trouble

__all__ = ["model", "read", "read_only", "read_table", "text_trouble"]
