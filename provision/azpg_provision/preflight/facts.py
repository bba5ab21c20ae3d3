"""A server's own properties, wherever they are kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from azpg.azure.regions import short_name

if TYPE_CHECKING:
    from azpg_provision.target.azure import AzureTarget
    from azpg_provision.target.local import LocalTarget


@dataclass(frozen=True, slots=True)
class Facts:
    """What a server is.

    Attributes:
        state: Azure's word, such as Ready; a local server's is running, degraded or stopped.
        location: its region in short, such as eastus.
        sku: its size, such as Standard_E4ds_v5.
        version: PostgreSQL's major version.
        storage_gb: its disk in GiB; None where nobody says.
        principal_id: the object id of its own identity, if it has one.
    """

    state: str
    location: str
    sku: str
    version: str
    storage_gb: int | None = None
    principal_id: str | None = None

    @property
    def is_up(self) -> bool:
        """Whether it can be worked with."""
        return self.state in {"Ready", "Updating", "running"}


def of_azure(target: AzureTarget) -> Facts:
    """As Resource Manager says. Raises `TargetUnreachable`."""
    server = target.server
    identity, storage, sku = server.identity, server.storage, server.sku
    return Facts(
        state=str(getattr(server.state, "value", server.state)),
        location=short_name(str(server.location)),
        sku=str(sku.name) if sku is not None else "",
        version=str(getattr(server.version, "value", server.version)),
        storage_gb=storage.storage_size_gb if storage is not None else None,
        principal_id=identity.principal_id if identity is not None else None,
    )


def of_twin(target: LocalTarget) -> Facts:
    """As the local server says. Raises `AzpgError`."""
    status = target.twin.status()
    return Facts(
        state=status.state,
        location=short_name(status.location),
        sku=status.sku,
        version=status.postgres_version.partition(".")[0],
    )
