"""`shared_preload_libraries`: the value that Azure would have, and what of it a local server can load."""

from __future__ import annotations

from dataclasses import dataclass

from azpg.extensions import join, normalise
from azpg.profiles import DEFAULT_PRELOAD, PRELOADABLE
from azpg.suggestions import did_you_mean
from azpg_runtime.errors import ParameterRefused
from azpg_runtime.postgres.installation import Installation

PARAMETER = "shared_preload_libraries"
DEFAULT = join(DEFAULT_PRELOAD)
OWN = "azpg_server"
"""Loaded into every local server: the settings and rules of a Flexible Server."""


@dataclass(frozen=True, slots=True)
class Preload:
    """What becomes of a value.

    Attributes:
        loaded: libraries that the server starts with, ours last.
        missing: the others, and why.
    """

    loaded: list[str]
    missing: dict[str, str]


def check(value: str) -> str:
    """`value` as the parameter holds it. Raises `ParameterRefused` for libraries that Azure does not have."""
    names = normalise(value)
    refused = [name for name in names if name not in PRELOADABLE]
    if refused:
        raise ParameterRefused(
            f"{', '.join(refused)} cannot be preloaded on a Flexible Server.",
            detail=" ".join(filter(None, (did_you_mean(name, PRELOADABLE) for name in refused))),
            hint=f"The allowed values are {', '.join(sorted(PRELOADABLE))}.",
        )
    return join(names)


def divide(value: str, installation: Installation) -> Preload:
    """Which libraries of `value` an installation has, and which it lacks."""
    names = normalise(value)
    there = [name for name in names if installation.has_library(name)]
    reason = f"not loaded: {installation.lacks_it}"
    return Preload([*there, OWN], {name: reason for name in names if name not in there})
