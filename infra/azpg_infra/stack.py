"""A whole stack: what is made, in which order, and what it tells the outside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pulumi
from pulumi_azure_native import resources

from azpg.hostport import parse
from azpg_infra import reach
from azpg_infra.access import Administrators, AdministratorsArgs, Firewall, FirewallArgs
from azpg_infra.ai import AiAccount, AiAccountArgs, ModelUser, ModelUserArgs
from azpg_infra.caller import Caller
from azpg_infra.config import StackConfig
from azpg_infra.databases import Databases, DatabasesArgs
from azpg_infra.diagnostics import Diagnostics, DiagnosticsArgs
from azpg_infra.lock import DeletionLock, DeletionLockArgs
from azpg_infra.names import Names
from azpg_infra.server import FlexibleServer, FlexibleServerArgs
from azpg_infra.server_parameters import ServerParameters, ServerParametersArgs, wanted

Outputs = dict[str, Any]
"""What a stack exports: plain values and `pulumi.Output`s."""


def build(config: StackConfig, *, names: Names, caller: Caller) -> Outputs:
    """Makes a stack and returns its outputs."""
    made = resources.ResourceGroup(
        "group", resource_group_name=names.group, location=config.location, tags=config.tags
    )
    around = reach.surroundings(config, group=made.name, server_name=names.server)
    server = FlexibleServer(
        "server",
        FlexibleServerArgs.from_config(
            config, group=made.name, server_name=names.server, tenant_id=caller.tenant_id, reach=around.reach
        ),
    )
    parameters = _contents(config, server, group=made.name, tenant_id=caller.tenant_id)
    done = [*parameters.done, *reach.server_endpoint(around, server_id=server.id, after=parameters.done)]
    ai = _models(config, server, around, name=names.ai, caller=caller)
    watched = {"server": server.id} | ({"ai": ai.id} if ai is not None else {})
    if config.diagnostics:
        logs = Diagnostics(
            "logs",
            DiagnosticsArgs(
                group=made.name,
                location=config.location,
                workspace_name=names.workspace,
                workspace_id=config.log_workspace_id,
                retention_days=config.log_retention_days,
                watched=watched,
                tags=config.tags,
            ),
        )
        done += logs.settings
    if config.lock:
        DeletionLock("lock", DeletionLockArgs(scope=server.id, after=done))
    return _server_outputs(config, server, parameters) | _ai_outputs(config, ai, group=made.name)


def _contents(
    config: StackConfig, server: FlexibleServer, *, group: pulumi.Input[str], tenant_id: str
) -> ServerParameters:
    """All that is inside a server, one write after the other; the parameters are the last of it."""
    done: Sequence[pulumi.Resource] = [server.server]
    if config.firewall_rules:
        rules = FirewallArgs(group=group, server=server.name, rules=config.firewall_rules, after=done)
        done = Firewall("firewall", rules).done
    if config.entra_admins:
        admins = AdministratorsArgs(
            group=group, server=server.name, tenant_id=tenant_id, admins=config.entra_admins, after=done
        )
        done = Administrators("admin", admins).done
    if config.databases:
        databases = DatabasesArgs(
            group=group, server=server.name, names=config.databases, protect=config.protect, after=done
        )
        done = Databases("database", databases).done
    values = ServerParametersArgs(group=group, server=server.name, values=wanted(config), after=done)
    return ServerParameters("parameter", values)


def _models(
    config: StackConfig, server: FlexibleServer, around: reach.Surroundings, *, name: str, caller: Caller
) -> AiAccount | None:
    """The AI account, which the server's identity may use."""
    if config.ai_kind == "none":
        return None
    ai = AiAccount(
        "ai",
        AiAccountArgs(
            group=around.group,
            account_name=name,
            location=config.location,
            kind=config.ai_kind,
            local_auth=config.ai_local_auth,
            public=config.ai_public_access,
            deployments=config.ai_deployments,
            tags=config.tags,
        ),
    )
    right = ModelUserArgs(
        subscription_id=caller.subscription_id, account_id=ai.id, principal_id=server.principal_id
    )
    ModelUser("server-uses-models", right)
    reach.ai_endpoint(around, account_id=ai.id, after=ai.done)
    return ai


def _server_outputs(config: StackConfig, server: FlexibleServer, parameters: ServerParameters) -> Outputs:
    """`admin_user` is who may log in as administrator: without passwords that is an Entra principal."""
    password = config.admin_password if config.password_auth else None
    user = config.admin_user if config.password_auth else config.entra_admins[0].name
    return {
        "server_id": server.id,
        "server_name": server.name,
        "host": server.address.apply(lambda address: parse(address)[0]),
        "port": server.address.apply(lambda address: parse(address)[1]),
        "admin_user": user,
        "admin_password": pulumi.Output.secret(password.get_secret_value()) if password is not None else None,
        "databases": list(config.databases),
        "extensions": sorted(config.extensions),
        "restart_required": parameters.restart_required,
    }


def _ai_outputs(config: StackConfig, ai: AiAccount | None, *, group: pulumi.Input[str]) -> Outputs:
    if ai is None:
        return {"ai_endpoint": None, "ai_deployments": []}
    outputs: Outputs = {
        "ai_endpoint": ai.endpoint,
        "ai_deployments": [deployment.name for deployment in config.ai_deployments],
    }
    return outputs | ({"ai_key": ai.key(group)} if config.ai_local_auth else {})
