"""Settings with parts of their own, such as storage: what the structured configuration keys hold."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from azpg.azure.resource_ids import is_resource_id

_KEY_URI = re.compile(r"https://[^/]+/keys/[^/]+(/[0-9a-f]+)?", re.IGNORECASE)
WIDEST = 2**24
"""Addresses in the widest firewall rule, a /8: nobody owns more."""
Zone = Annotated[
    Literal["", "1", "2", "3"],
    BeforeValidator(lambda value: str(value) if isinstance(value, int) else value),
]


def _arm_id(value: str) -> str:
    if not is_resource_id(value):
        raise ValueError(
            f"{value!r} is no resource id: it has the form /subscriptions/…/resourceGroups/…/providers/…"
        )
    return value


def _key_uri(value: str) -> str:
    if not _KEY_URI.fullmatch(value):
        raise ValueError(
            f"{value!r} is no key of a vault: it has the form https://VAULT.vault.azure.net/keys/NAME/VERSION"
        )
    return value


def _guid(value: str) -> str:
    try:
        return str(UUID(value))
    except ValueError:
        raise ValueError(f"{value!r} is no object id: it is a UUID, as Entra shows it") from None


def _network(value: str) -> str:
    try:
        return str(ipaddress.IPv4Network(value))
    except ValueError:
        raise ValueError(f"{value!r} is no IPv4 range: write it as 10.20.0.0/24") from None


ArmId = Annotated[str, AfterValidator(_arm_id)]
MaybeArmId = Annotated[str, AfterValidator(lambda value: value and _arm_id(value))]
KeyUri = Annotated[str, AfterValidator(_key_uri)]
Guid = Annotated[str, AfterValidator(_guid)]
Cidr = Annotated[str, AfterValidator(_network)]


class Setting(BaseModel):
    """A structured setting: camelCase in the stack's file, and nothing unknown."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        # `pulumi config set --path` stores what looks like a number as one: a version, a name.
        coerce_numbers_to_str=True,
    )


class Storage(Setting):
    """Beyond the size: what `azpg:storage` holds."""

    auto_grow: bool = True
    type: Literal["", "Premium_LRS", "PremiumV2_LRS", "UltraSSD_LRS"] = ""
    tier: Annotated[str, Field(pattern=r"^(P\d{1,2})?$")] = ""
    iops: Annotated[int, Field(ge=1)] | None = None
    throughput: Annotated[int, Field(ge=1)] | None = None


class Zones(Setting):
    """Where the server and its standby are made; later moves are Azure's and are left alone."""

    primary: Zone = ""
    standby: Zone = ""


class Maintenance(Setting):
    """The hour, in UTC, in which Azure may restart the server."""

    day: Literal["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"]
    hour: Annotated[int, Field(ge=0, le=23)]
    minute: Annotated[int, Field(ge=0, le=59)] = 0

    @property
    def day_of_week(self) -> int:
        """0 is Sunday."""
        return list(self.__pydantic_fields__["day"].annotation.__args__).index(self.day)  # type: ignore[union-attr]


class Encryption(Setting):
    """A key of one's own for the data, and the identity that may use it."""

    key_uri: KeyUri
    identity_id: ArmId
    geo_key_uri: KeyUri | None = None
    geo_identity_id: ArmId | None = None

    @model_validator(mode="after")
    def _both_or_none(self) -> Encryption:
        if (self.geo_key_uri is None) != (self.geo_identity_id is None):
            raise ValueError("geoKeyUri and geoIdentityId go together: give both, or none")
        return self


class EntraAdmin(Setting):
    """A Microsoft Entra principal that administers the server; `name` becomes its role."""

    object_id: Guid
    name: Annotated[str, Field(min_length=1, max_length=63)]
    type: Literal["User", "Group", "ServicePrincipal"] = "User"


class Deployment(Setting):
    """A model of Azure OpenAI, ready to be called under a name."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{1,63}$")]
    model: Annotated[str, Field(min_length=1)]
    version: Annotated[str, Field(min_length=1)]
    format: str = "OpenAI"
    sku: str = "Standard"
    capacity: Annotated[int, Field(ge=1)] = 30


class Network(Setting):
    """The ranges of the virtual network that the two private modes make."""

    address_space: Cidr = "10.20.0.0/16"
    server_subnet: Cidr = "10.20.0.0/24"
    endpoint_subnet: Cidr = "10.20.1.0/24"

    @model_validator(mode="after")
    def _fits(self) -> Network:
        space = ipaddress.IPv4Network(self.address_space)
        subnets = {
            "serverSubnet": ipaddress.IPv4Network(self.server_subnet),
            "endpointSubnet": ipaddress.IPv4Network(self.endpoint_subnet),
        }
        for name, subnet in subnets.items():
            if not subnet.subnet_of(space):
                raise ValueError(f"{name} {subnet} is not inside addressSpace {space}: choose a part of it")
            if subnet.prefixlen > 28:
                raise ValueError(f"{name} {subnet} is too small: Azure wants /28 or larger")
        if subnets["serverSubnet"].overlaps(subnets["endpointSubnet"]):
            raise ValueError("serverSubnet and endpointSubnet overlap: give each a range of its own")
        return self


class FirewallRule(Setting):
    """Addresses that may connect: `start` to `end`, both included."""

    start: str
    end: str

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, value: Any) -> Any:
        """Reads `203.0.113.7`, `203.0.113.7-203.0.113.9`, `203.0.113.0/24` or `azure-services`."""
        value = str(value).strip()
        if value == "azure-services":
            return {"start": "0.0.0.0", "end": "0.0.0.0"}  # noqa: S104  (how ARM writes it)
        try:
            if "/" in value:
                network = ipaddress.IPv4Network(value)
                first, last = network.network_address, network.broadcast_address
            else:
                start, _, end = (part.strip() for part in value.partition("-"))
                first, last = ipaddress.IPv4Address(start), ipaddress.IPv4Address(end or start)
        except ValueError:
            raise ValueError(
                f"{value!r} is no IPv4 address or range: write 203.0.113.7, 203.0.113.7-203.0.113.9, "
                "203.0.113.0/24 or azure-services"
            ) from None
        if first > last:
            raise ValueError(f"{value!r} ends before it begins: write the smaller address first")
        if int(last) == 0:
            raise ValueError(
                "0.0.0.0 lets in all of Azure, other customers too: if that is meant, write azure-services"
            )
        if int(last) - int(first) >= WIDEST:
            raise ValueError(
                f"{value!r} lets in too much of the internet: name the addresses that need the server (a /8 "
                "at most), or set azpg:networkMode to vnet or privateEndpoint"
            )
        return {"start": str(first), "end": str(last)}
