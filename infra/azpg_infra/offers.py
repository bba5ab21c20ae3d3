"""What a server that exists already says it offers."""

from __future__ import annotations

import pulumi
from pulumi_azure_native import dbforpostgresql as azure

from azpg.extensions import normalise
from azpg_infra.server_parameters import EXTENSIONS


def read(*, group: str, server: str) -> frozenset[str] | None:
    """The allowed values of `azure.extensions`; None if there is no such server yet, or it cannot be read.

    Asked at preview, too. Azure says what a new server will offer nowhere, so that the profile decides there.
    """
    try:
        found = azure.get_configuration(
            resource_group_name=group, server_name=server, configuration_name=EXTENSIONS
        )
    except Exception as error:
        pulumi.log.debug(f"what {server} offers could not be read, the profile decides: {error}")
        return None
    return frozenset(normalise(found.allowed_values or "")) or None
