"""What of the caller's environment would lead Pulumi, or who asks, past the twin.

Each is left out of what `azpg pulumi` starts. The names are those of Pulumi's documentation, and those of
`rivals`; what azpg sets itself is not here.
"""

from __future__ import annotations

from collections.abc import Mapping

from azpg_runtime.arm.identity.rivals import RIVALS

_OF_PULUMI = {
    "PULUMI_ACCESS_TOKEN",  # of the service, which is not used
    "PULUMI_CONFIG_PASSPHRASE",  # goes before PULUMI_CONFIG_PASSPHRASE_FILE
    "PULUMI_DEBUG_PROVIDERS",  # would be asked instead of ours
    "PULUMI_DIY_BACKEND_GZIP",
    "PULUMI_PYTHON_CMD",
    "PULUMI_SELF_MANAGED_STATE_GZIP",
    "PULUMI_SELF_MANAGED_STATE_LEGACY_LAYOUT",
}


def without_cloud(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without the ways to another backend, another secret or a real identity."""
    return {name: value for name, value in environment.items() if name not in _OF_PULUMI.union(RIVALS)}
