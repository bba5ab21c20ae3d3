"""What a server that exists already says it offers."""

from __future__ import annotations

import pulumi
from pulumi_azure_native import dbforpostgresql as azure

from azpg.extensions import normalise
from azpg_infra.names import Names
from azpg_infra.server_parameters import EXTENSIONS


def read(names: Names) -> frozenset[str] | None:
    """The allowed values of `azure.extensions`; None if there is no such server yet, or it cannot be read.

    Asked at preview, too. Azure says what a new server will offer nowhere, so that the profile decides there.
    """
    try:
        found = azure.get_configuration(
            resource_group_name=names.group, server_name=names.server, configuration_name=EXTENSIONS
        )
    except Exception as error:
        pulumi.log.debug(f"what {names.server} offers could not be read, the profile decides: {error}")
        return None
    return frozenset(normalise(found.allowed_values or "")) or None
