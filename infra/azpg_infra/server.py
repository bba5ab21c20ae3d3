"""The Flexible Server itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_azure_native import dbforpostgresql as azure

from azpg.profiles import Sku
from azpg_infra.component import LONG, Component
from azpg_infra.config import StackConfig
from azpg_infra.settings import Encryption, Maintenance, Storage, Zones


@dataclass(frozen=True, slots=True)
class Reach:
    """How a server is reached; a server without a subnet is public or has no address but its endpoints'.

    `ready` is what must be there before the server.
    """

    public: bool = True
    subnet_id: pulumi.Input[str] | None = None
    zone_id: pulumi.Input[str] | None = None
    ready: tuple[pulumi.Resource, ...] = ()


@dataclass(frozen=True, slots=True)
class FlexibleServerArgs:
    """What a server is to be; the fields are those of `StackConfig`.

    Attributes:
        admin_password: secret; None turns password authentication off.
        tenant_id: where Entra principals live; None turns Entra authentication off.
    """

    group: pulumi.Input[str]
    server_name: str
    location: str
    version: str
    sku: Sku
    storage_gb: int
    storage: Storage
    backup_retention_days: int
    geo_redundant_backup: bool
    high_availability: str
    zones: Zones
    maintenance: Maintenance | None
    encryption: Encryption | None
    admin_user: str
    admin_password: pulumi.Output[str] | None
    tenant_id: str | None
    reach: Reach
    protect: bool
    tags: dict[str, str]

    @classmethod
    def from_config(
        cls,
        config: StackConfig,
        *,
        group: pulumi.Input[str],
        server_name: str,
        tenant_id: str,
        reach: Reach,
    ) -> FlexibleServerArgs:
        """The arguments that a configuration asks for."""
        password = config.admin_password
        return cls(
            group=group,
            server_name=server_name,
            location=config.location,
            version=config.version,
            sku=Sku.parse(config.sku),
            storage_gb=config.storage_gb,
            storage=config.storage,
            backup_retention_days=config.backup_retention_days,
            geo_redundant_backup=config.geo_redundant_backup,
            high_availability=config.high_availability,
            zones=config.zones,
            maintenance=config.maintenance,
            encryption=config.encryption,
            admin_user=config.admin_user,
            admin_password=(
                pulumi.Output.secret(password.get_secret_value())
                if config.password_auth and password is not None
                else None
            ),
            tenant_id=tenant_id if config.entra_auth else None,
            reach=reach,
            protect=config.protect,
            tags=config.tags,
        )


class FlexibleServer(Component):
    """A server with its own identity.

    Attributes:
        id: its resource id.
        name: known in advance, so that a preview, and policies at preview, see whose contents are whose.
        address: `host` or `host:port`, as ARM has it.
        principal_id: of the system-assigned identity.
    """

    def __init__(
        self, name: str, args: FlexibleServerArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("FlexibleServer", name, opts)
        protected = pulumi.ResourceOptions(
            protect=args.protect,
            depends_on=list(args.reach.ready),
            custom_timeouts=LONG,
            # A failover swaps them; putting them back would be an outage.
            ignore_changes=["availabilityZone", "highAvailability.standbyAvailabilityZone"],
        )
        self.server = azure.Server(
            name,
            resource_group_name=args.group,
            server_name=args.server_name,
            location=args.location,
            version=args.version,
            sku=azure.SkuArgs(name=args.sku.name, tier=args.sku.tier),
            administrator_login=args.admin_user if args.admin_password is not None else None,
            administrator_login_password=args.admin_password,
            auth_config=_auth(args),
            network=_network(args.reach),
            storage=_storage(args),
            backup=azure.BackupArgs(
                backup_retention_days=args.backup_retention_days,
                geo_redundant_backup=_enabled(args.geo_redundant_backup),
            ),
            high_availability=azure.HighAvailabilityArgs(
                mode=args.high_availability, standby_availability_zone=args.zones.standby
            ),
            availability_zone=args.zones.primary,
            identity=_identity(args.encryption),
            data_encryption=_encryption(args.encryption),
            maintenance_window=_maintenance(args.maintenance),
            tags=args.tags,
            opts=self.child(protected),
        )
        self.id: pulumi.Output[str] = self.server.id
        self.name = args.server_name
        self.address: pulumi.Output[str] = self.server.fully_qualified_domain_name
        self.principal_id: pulumi.Output[str] = self.server.identity.principal_id
        self.register_outputs({"id": self.id})


def _enabled(value: bool) -> str:
    return "Enabled" if value else "Disabled"


def _auth(args: FlexibleServerArgs) -> Any:
    return azure.AuthConfigArgs(
        password_auth=_enabled(args.admin_password is not None),
        active_directory_auth=_enabled(args.tenant_id is not None),
        tenant_id=args.tenant_id or "",
    )


def _network(reach: Reach) -> Any:
    """Never empty: Azure makes a server with an empty network object unreachable."""
    if reach.subnet_id is None:
        return azure.NetworkArgs(public_network_access=_enabled(reach.public))
    return azure.NetworkArgs(
        delegated_subnet_resource_id=reach.subnet_id, private_dns_zone_arm_resource_id=reach.zone_id
    )


def _storage(args: FlexibleServerArgs) -> Any:
    storage = args.storage
    return azure.StorageArgs(
        storage_size_gb=args.storage_gb,
        auto_grow=_enabled(storage.auto_grow),
        type=storage.type or None,
        tier=storage.tier or None,
        iops=storage.iops,
        throughput=storage.throughput,
    )


def _identity(encryption: Encryption | None) -> Any:
    """Its own identity, for azure_ai, and those that may use its keys."""
    if encryption is None:
        return azure.UserAssignedIdentityArgs(type="SystemAssigned")
    ids = [each for each in (encryption.identity_id, encryption.geo_identity_id) if each is not None]
    return azure.UserAssignedIdentityArgs(
        type="SystemAssigned,UserAssigned",
        user_assigned_identities={each: azure.UserIdentityArgs() for each in ids},
    )


def _encryption(encryption: Encryption | None) -> Any:
    """None leaves the keys to Azure."""
    if encryption is None:
        return None
    return azure.DataEncryptionArgs(
        type="AzureKeyVault",
        primary_key_uri=encryption.key_uri,
        primary_user_assigned_identity_id=encryption.identity_id,
        geo_backup_key_uri=encryption.geo_key_uri,
        geo_backup_user_assigned_identity_id=encryption.geo_identity_id,
    )


def _maintenance(maintenance: Maintenance | None) -> Any:
    """None leaves the hour to Azure."""
    if maintenance is None:
        return None
    return azure.MaintenanceWindowArgs(
        custom_window="Enabled",
        day_of_week=maintenance.day_of_week,
        start_hour=maintenance.hour,
        start_minute=maintenance.minute,
    )
