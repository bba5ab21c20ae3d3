"""Where the ARM twin keeps its files.

::

    AZPG_HOME/arm/
      state.sqlite      resources, operations, ids
      settings.json     port, profile
      faults.json       faults on purpose
      server.pem        its key and certificate, 0600
      ca/               the authority of that certificate
      trusted.pem       what clients are to trust: that authority, and the one of the servers
      identity/         the directory, and the key that signs tokens
      arm.log
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from azpg_runtime.home import Home


@dataclass(frozen=True, slots=True)
class ArmFiles:
    """The files of the twin in one home."""

    home: Home

    @property
    def root(self) -> Path:
        """The folder of them all."""
        return self.home.arm

    @property
    def state(self) -> Path:
        """What the twin remembers."""
        return self.root / "state.sqlite"

    @property
    def settings(self) -> Path:
        """What it was started with."""
        return self.root / "settings.json"

    @property
    def faults(self) -> Path:
        """Faults on purpose."""
        return self.root / "faults.json"

    @property
    def identity(self) -> Path:
        """The directory of identities, and the key that signs tokens."""
        return self.root / "identity"

    @property
    def certificate(self) -> Path:
        """Its key and certificate."""
        return self.root / "server.pem"

    @property
    def ca(self) -> Path:
        """The authority of its certificate."""
        return self.root / "ca"

    @property
    def trusted(self) -> Path:
        """What clients are to trust."""
        return self.root / "trusted.pem"

    @property
    def lock(self) -> Path:
        """Held by its supervisor."""
        return self.root / "supervisor.lock"

    @property
    def log(self) -> Path:
        """What it and its supervisor say."""
        return self.root / "arm.log"
