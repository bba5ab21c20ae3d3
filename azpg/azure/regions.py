"""The regions of Azure: programs write eastus, people read East US, and Azure takes both in any case.

Sources: Azure's list of regions (reliability/regions-list, 2025-09-23) and those of Flexible Server
(includes/regions-table, 2025-11-18; it has China's and the US government's, too), with two that opened or
were announced since, India South Central and Saudi Arabia East. A region that opens later is refused until
it stands here.
"""

from __future__ import annotations

from difflib import get_close_matches

from azpg.errors import UsageError

_DISPLAYED = """
    Australia Central; Australia Central 2; Australia East; Australia Southeast; Austria East;
    Belgium Central; Brazil South; Brazil Southeast; Canada Central; Canada East; Central India; Central US;
    Chile Central; Denmark East; East Asia; East US; East US 2; France Central; France South; Germany North;
    Germany West Central; India South Central; Indonesia Central; Israel Central; Italy North; Japan East;
    Japan West; Jio India Central; Jio India West; Korea Central; Korea South; Malaysia West; Mexico Central;
    New Zealand North; North Central US; North Europe; Norway East; Norway West; Poland Central;
    Qatar Central; Saudi Arabia East; South Africa North; South Africa West; South Central US; South India;
    Southeast Asia; Spain Central; Sweden Central; Sweden South; Switzerland North; Switzerland West;
    UAE Central; UAE North; UK South; UK West; West Central US; West Europe; West India; West US; West US 2;
    West US 3;
    China East; China East 2; China East 3; China North; China North 2; China North 3;
    US DoD Central; US DoD East; US Gov Arizona; US Gov Texas; US Gov Virginia
"""


def short_name(location: str) -> str:
    """Such as eastus."""
    return location.replace(" ", "").lower()


REGIONS = {short_name(name): name for name in " ".join(_DISPLAYED.split()).split("; ")}
"""What people read, by the short name."""


def display_name(location: str) -> str:
    """Such as East US; a region that is not known here stays as it is written."""
    return REGIONS.get(short_name(location), location)


def is_known(location: str) -> bool:
    """Whether there is such a region, however it is written."""
    return short_name(location) in REGIONS


def nearest(location: str) -> str | None:
    """The short name that somebody may have meant; None if none is like it."""
    written = "".join(filter(str.isalnum, short_name(location)))
    turned = [name for name in REGIONS if sorted(name) == sorted(written)]  # useast, europe-west
    return next(iter(turned or get_close_matches(written, REGIONS, n=1)), None)


def check_region(location: str) -> str:
    """The short name of a region. Raises `UsageError` for what is none."""
    if is_known(location):
        return short_name(location)
    near = nearest(location)
    meant = f"did you mean {near}?" if near else "use a name such as eastus or West Europe"
    raise UsageError(f"{location!r} is no Azure region: {meant}")
