"""What a stack is to be: read from its configuration once, and checked before any resource is made."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr
from pydantic.alias_generators import to_camel

from azpg.azure.limits import BACKUP_DAYS, PREMIUM_V2_GB
from azpg.azure.names import SERVER_NAME
from azpg.azure.regions import check_region
from azpg.errors import UsageError
from azpg.extensions import normalise
from azpg.profiles import Sku
from azpg_infra.settings import (
    Deployment,
    Encryption,
    EntraAdmin,
    FirewallRule,
    Maintenance,
    MaybeArmId,
    Network,
    Storage,
    Zones,
)

NAME = rf"^({SERVER_NAME})?$"
GROUP = r"^([A-Za-z0-9_().-]{0,89}[A-Za-z0-9_()-])?$"
ROLE = r"^[A-Za-z_][A-Za-z0-9_]{0,62}$"
DATABASE = r"^[A-Za-z_][A-Za-z0-9_-]{0,62}$"
EMBEDDINGS = Deployment(
    name="text-embedding-3-small", model="text-embedding-3-small", version="1", sku="Standard", capacity=30
)


def _sku(value: str) -> str:
    try:
        return Sku.parse(value).name
    except UsageError as error:
        raise ValueError(str(error)) from None


def _region(value: str) -> str:
    try:
        return check_region(value)
    except UsageError as error:
        raise ValueError(str(error)) from None


def _names(value: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(normalise(",".join(value)))


def _text(value: object) -> object:
    """Numbers and truth values as ARM writes them: `pulumi config set --path` makes them of what looks so."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value) if isinstance(value, int | float) else value


Text = Annotated[str, BeforeValidator(_text)]
Names = Annotated[tuple[str, ...], AfterValidator(_names)]


class StackConfig(BaseModel):
    """Every setting of a stack, under the names that `azpg:` keys have in camelCase.

    The rules that concern several settings at once are in `azpg_infra.rules`; `azpg_infra.reading.read`
    applies both, and is how an instance is made.
    """

    model_config = ConfigDict(
        alias_generator=to_camel, extra="forbid", frozen=True, hide_input_in_errors=True
    )

    # what it offers, and where
    profile: Literal["azure-2026", "preview-2024"] = "azure-2026"
    location: Annotated[str, AfterValidator(_region)] = "eastus"
    extensions: Names = ("vector", "azure_ai")
    preload_libraries: Names = ()
    parameters: dict[str, Text] = {}
    # the server
    resource_group: Annotated[str, Field(pattern=GROUP)] = ""
    server_name: Annotated[str, Field(pattern=NAME)] = ""
    version: Literal["11", "12", "13", "14", "15", "16", "17", "18"] = "18"
    sku: Annotated[str, AfterValidator(_sku)] = "Standard_E4ds_v5"
    storage_gb: Annotated[int, Field(ge=PREMIUM_V2_GB[0], le=PREMIUM_V2_GB[-1])] = 128
    storage: Storage = Storage()
    backup_retention_days: Annotated[int, Field(ge=BACKUP_DAYS[0], le=BACKUP_DAYS[-1])] = 7
    geo_redundant_backup: bool = False
    high_availability: Literal["Disabled", "SameZone", "ZoneRedundant"] = "Disabled"
    zones: Zones = Zones()
    maintenance: Maintenance | None = None
    encryption: Encryption | None = None
    databases: tuple[Annotated[str, Field(pattern=DATABASE)], ...] = ("app",)
    protect: bool = True
    lock: bool = False
    tags: dict[str, Text] = {}
    # who may connect
    password_auth: bool = True
    entra_auth: bool = True
    admin_user: Annotated[str, Field(pattern=ROLE)] = "pgadmin"
    admin_password: SecretStr | None = None
    entra_admins: tuple[EntraAdmin, ...] = ()
    # from where
    network_mode: Literal["public", "vnet", "privateEndpoint"] = "public"
    firewall_rules: dict[str, FirewallRule] = {}
    network: Network = Network()
    # the models of azure_ai
    ai_kind: Literal["OpenAI", "AIServices", "none"] = "OpenAI"
    ai_name: Annotated[str, Field(pattern=NAME)] = ""
    ai_local_auth: bool = False
    ai_public_access: bool = True
    ai_deployments: tuple[Deployment, ...] = (EMBEDDINGS,)
    # what is watched
    diagnostics: bool = False
    log_workspace_id: MaybeArmId = ""
    log_retention_days: Annotated[int, Field(ge=30, le=730)] = 30
