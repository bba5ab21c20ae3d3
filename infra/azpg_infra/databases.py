"""The databases of a server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
from pulumi_azure_native import dbforpostgresql as azure

from azpg_infra.component import Component


@dataclass(frozen=True, slots=True)
class DatabasesArgs:
    """The databases of a server by name; `after` is what must be done before the first one."""

    group: pulumi.Input[str]
    server: pulumi.Input[str]
    names: Sequence[str]
    protect: bool
    after: Sequence[pulumi.Resource]


class Databases(Component):
    """UTF-8 databases, one after the other; `done` ends with the last of them."""

    def __init__(self, name: str, args: DatabasesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("Databases", name, opts)
        self.done = list(args.after)
        for database in args.names:
            self.done.append(
                azure.Database(
                    f"{name}-{database}",
                    resource_group_name=args.group,
                    server_name=args.server,
                    database_name=database,
                    charset="UTF8",
                    collation="en_US.utf8",
                    opts=self.in_turn(self.done, pulumi.ResourceOptions(protect=args.protect)),
                )
            )
        self.register_outputs({"names": list(args.names)})
