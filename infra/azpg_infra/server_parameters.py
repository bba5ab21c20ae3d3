"""Server parameters, the allow-list of extensions among them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
from pulumi_azure_native import dbforpostgresql as azure

from azpg.extensions import join
from azpg_infra import preload
from azpg_infra.component import Component
from azpg_infra.config import StackConfig

EXTENSIONS = "azure.extensions"
PRELOAD = "shared_preload_libraries"


def wanted(config: StackConfig) -> dict[str, str]:
    """Each parameter that is to be set, and its value.

    Lists are sorted and joined without spaces, so that the same list is never a difference. The preload list
    keeps its order, which is that of loading.
    """
    values: dict[str, str] = {}
    libraries = preload.merged(config.preload_libraries, extensions=config.extensions)
    if libraries is not None:
        values[PRELOAD] = libraries
    if config.extensions:
        values[EXTENSIONS] = join(sorted(config.extensions))
    return values | dict(sorted(config.parameters.items()))


@dataclass(frozen=True, slots=True)
class ServerParametersArgs:
    """Parameters of a server by name; `after` is what must be done before the first one."""

    group: pulumi.Input[str]
    server: pulumi.Input[str]
    values: Mapping[str, str]
    after: Sequence[pulumi.Resource]


class ServerParameters(Component):
    """Server parameters, one after the other.

    Attributes:
        done: ends with the last of them.
        restart_required: the names of those that wait for a restart, which nobody does unasked.
    """

    def __init__(
        self, name: str, args: ServerParametersArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("ServerParameters", name, opts)
        self.done = list(args.after)
        pending: dict[str, pulumi.Output[bool | None]] = {}
        for parameter, value in args.values.items():
            configuration = azure.Configuration(
                f"{name}-{parameter}",
                resource_group_name=args.group,
                server_name=args.server,
                configuration_name=parameter,
                value=value,
                source="user-override",
                opts=self.in_turn(self.done),
            )
            pending[parameter] = configuration.is_config_pending_restart
            self.done.append(configuration)
        self.restart_required: pulumi.Output[list[str]] = pulumi.Output.all(*pending.values()).apply(
            lambda flags: sorted(itertools.compress(pending, flags))
        )
        self.register_outputs({"restart_required": self.restart_required})
