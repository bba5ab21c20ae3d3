"""Where Azure is, and who asks: Azure itself, or the ARM twin in its place."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from azure.core.credentials import TokenCredential
from azure.identity import DefaultAzureCredential

from azpg_provision.target.identity import TwinIdentity

ENDPOINT = "AZPG_ARM_ENDPOINT"
_TWIN_BACKOFF = 0.05
"""Seconds before a second try where nobody is far away."""


@dataclass(frozen=True, slots=True)
class Cloud:
    """How Azure Resource Manager is reached.

    Attributes:
        credential: gets access tokens, for Resource Manager and for PostgreSQL.
        endpoint: of the ARM twin; None for Azure's own.
        ca: a file of certificates to trust, for both; None for those of the environment.
    """

    credential: TokenCredential = field(repr=False)
    endpoint: str | None = None
    ca: str | None = None

    @classmethod
    def from_environment(cls) -> Cloud:
        """As the environment says, which `azpg arm env` prints for the twin."""
        return cls(DefaultAzureCredential(), os.environ.get(ENDPOINT) or None)

    @classmethod
    def of_twin(cls, variables: Mapping[str, str]) -> Cloud:
        """The twin of what `azpg arm env` prints, whatever this process's own environment leads to."""
        ca = variables["REQUESTS_CA_BUNDLE"]
        identity = TwinIdentity(variables["IDENTITY_ENDPOINT"], variables["IDENTITY_HEADER"], ca)
        return cls(identity, variables[ENDPOINT], ca)

    @property
    def is_twin(self) -> bool:
        """Whether the ARM twin answers in Azure's place."""
        return self.endpoint is not None

    def options(self) -> dict[str, Any]:
        """What the SDK's clients are made with."""
        options: dict[str, Any] = {}
        if self.endpoint is not None:
            options |= {"base_url": self.endpoint, "retry_backoff_factor": _TWIN_BACKOFF}
        if self.ca is not None:
            options |= {"connection_verify": self.ca, "proxies": {}}
        return options
