"""Names of Azure regions: servers answer them as people read them, all else as programs do."""

from __future__ import annotations

_DISPLAYED = """
    Australia East; Australia Southeast; Brazil South; Canada Central; Canada East; Central India; Central US;
    East Asia; East US; East US 2; France Central; Germany West Central; Israel Central; Italy North;
    Japan East; Japan West; Korea Central; Mexico Central; North Central US; North Europe; Norway East;
    Poland Central; Qatar Central; South Africa North; South Central US; South India; Southeast Asia;
    Spain Central; Sweden Central; Switzerland North; UAE North; UK South; UK West; West Central US;
    West Europe; West US; West US 2; West US 3
"""
REGIONS = {
    name.replace(" ", "").lower(): name
    for name in (part.strip() for part in " ".join(_DISPLAYED.split()).split(";"))
}
"""Regions by their short name."""


def short_name(location: str) -> str:
    """Such as eastus."""
    return location.replace(" ", "").lower()


def display_name(location: str) -> str:
    """Such as East US; a region that is not known here stays as it is written."""
    return REGIONS.get(short_name(location), location)
