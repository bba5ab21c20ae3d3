"""What the ARM twin was started with, kept for its next start."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from azpg.profiles import offer
from azpg_runtime.errors import ArmError
from azpg_runtime.files import write_atomically
from azpg_runtime.postgres.description import DEFAULT_LOCATION, DEFAULT_PROFILE, DEFAULT_SKU

STATUS_PATH = "/azpg/status"
"""Where the twin says what it is, below its own address."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The twin's settings.

    Attributes:
        port: where it listens, on 127.0.0.1; 0 before there is one.
        proxy_port: where its CONNECT proxy does.
        profile: what the servers it makes offer; see `azpg.profiles`.
        location: the region of what names none.
    """

    port: int = 0
    proxy_port: int = 0
    profile: str = DEFAULT_PROFILE
    location: str = DEFAULT_LOCATION

    def check(self) -> None:
        """Raises `UsageError` for a profile that there is not."""
        offer(self.profile, location=self.location, sku=DEFAULT_SKU)

    def save(self, path: Path) -> None:
        """Writes the settings."""
        write_atomically(path, json.dumps(asdict(self), indent=2) + "\n", mode=0o600)

    @classmethod
    def load(cls, path: Path) -> Settings:
        """What `save` wrote, or the defaults. Raises `ArmError` for anything else."""
        try:
            kept: dict[str, Any] = json.loads(path.read_text())
            if not all(isinstance(kept[name], int) for name in ("port", "proxy_port")):
                raise TypeError("a port is no number")
            found = cls(**kept)
            found.check()
        except FileNotFoundError:
            return cls()
        except (ValueError, TypeError, KeyError) as error:
            raise ArmError(
                f"{path} is damaged: {error}.", hint="Delete it; the next start makes another."
            ) from None
        return found
