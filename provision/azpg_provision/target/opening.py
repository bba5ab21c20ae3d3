"""The target that a spec, or the command line in its place, names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from psycopg.conninfo import conninfo_to_dict

from azpg.errors import UsageError
from azpg.extras import need
from azpg_provision.errors import SpecInvalid
from azpg_provision.spec.secret import Secret, reference
from azpg_provision.spec.values import of_a_spec, without_password
from azpg_provision.target.target import Target
from azpg_provision.target.where import Where

if TYPE_CHECKING:  # it needs what the extra [azure] brings
    from azpg_provision.target.azure import AzureTarget
    from azpg_provision.target.dsn import DsnTarget

_AZURE = ("azure.identity", "azure.mgmt.core", "azure.mgmt.postgresqlflexibleservers")
_ON_AZURE = ("server", "stack")
DEFAULT = "default"
"""The local twin that is meant where nothing is said."""


def open_target(where: Where) -> Target:
    """The target; nothing is asked of it yet but, for a stack, its outputs.

    Raises `UsageError`, `SpecInvalid`, `TargetUnreachable`, and `NotAvailable` without the extra [azure].
    """
    if where.user is not None and where.place not in _ON_AZURE:
        raise UsageError(
            "--user names a role on a server on Azure; a connection string names its own, and a local server "
            "has its admin: leave it out."
        )
    if where.cwd is not None and where.place != "stack":
        raise UsageError("--cwd is the folder of a Pulumi stack: name that with --stack, or leave it out.")
    match where.place:
        case "dsn":
            return _by_dsn(where)
        case "server":
            need("a target on Azure", "azure", *_AZURE)
            return _by_id(where)
        case "stack":
            need("a target on Azure", "azure", *_AZURE)
            return _of_stack(where)
    from azpg_provision.target.local import LocalTarget  # noqa: PLC0415
    from azpg_runtime import Twin  # noqa: PLC0415

    return LocalTarget(Twin(where.local or DEFAULT))


def _by_dsn(where: Where) -> DsnTarget:
    from azpg_provision.target.dsn import DsnTarget  # noqa: PLC0415

    assert where.dsn is not None
    try:
        found = reference(without_password(where.dsn))
    except ValueError as error:
        raise UsageError(f"--dsn {error}.") from None
    foreign = where.folder is not None  # the spec names it, not the command line
    if found is None:
        return DsnTarget(Secret(of_a_spec(where.dsn) if foreign else where.dsn))
    text = found.resolve(where.folder or Path())
    if foreign and found.scheme == "file":
        text = _of_a_spec(text, str(found))
    return DsnTarget(text, source=str(found))


def _of_a_spec(dsn: Secret, source: str) -> Secret:
    """What a file that a spec names holds: it may be as foreign as the spec. Raises `SpecInvalid`."""
    try:
        conninfo_to_dict(dsn.reveal())
    except psycopg.Error:
        return dsn  # `DsnTarget` says so
    try:
        return Secret(of_a_spec(dsn.reveal(), secrets=True))
    except ValueError as error:
        raise SpecInvalid([f"target.dsn: what {source} holds {error}."]) from None


def _by_id(where: Where) -> AzureTarget:
    from azpg_provision.target.azure import Login, by_id  # noqa: PLC0415

    assert where.server is not None
    return by_id(where.server, login=Login(where.user))


def _of_stack(where: Where) -> AzureTarget:
    from azpg_provision.target import stack  # noqa: PLC0415
    from azpg_provision.target.azure import AiAccount, AzureTarget, Login  # noqa: PLC0415
    from azpg_provision.target.cloud import Cloud  # noqa: PLC0415
    from azpg_provision.target.resource import ServerId  # noqa: PLC0415

    assert where.stack is not None
    name = stack.StackName.of(where.stack, where.cwd, foreign=where.folder is not None)
    outputs = stack.read(name)
    cloud = Cloud.of_twin(stack.twin_environment()) if name.offline else Cloud.from_environment()
    login = Login(outputs.admin_user, outputs.admin_password) if where.user is None else Login(where.user)
    ai = AiAccount(outputs.ai_endpoint, outputs.ai_deployments) if outputs.ai_endpoint else None
    return AzureTarget(
        cloud,
        ServerId.parse(outputs.server_id),
        login=login,
        name=f"stack {name.name} ({ServerId.parse(outputs.server_id).name})",
        ai=ai,
    )
