"""Compute and storage sizes of flexible servers, as Azure's capabilities list them.

Sources: the capabilities example of the REST specification, and concepts-compute.md of 2026-01.
"""

from __future__ import annotations

from dataclasses import dataclass

FAMILIES: dict[str, tuple[str, tuple[int, ...]]] = {
    "Standard_B{}ms": ("Burstable", (1, 2, 4, 8, 12, 16, 20)),
    "Standard_B{}s": ("Burstable", (2,)),
    "Standard_D{}s_v3": ("GeneralPurpose", (2, 4, 8, 16, 32, 48, 64)),
    "Standard_D{}ds_v4": ("GeneralPurpose", (2, 4, 8, 16, 32, 48, 64)),
    "Standard_D{}ads_v5": ("GeneralPurpose", (2, 4, 8, 16, 32, 48, 64, 96)),
    "Standard_D{}ds_v5": ("GeneralPurpose", (2, 4, 8, 16, 32, 48, 64, 96)),
    "Standard_E{}s_v3": ("MemoryOptimized", (2, 4, 8, 16, 32, 48, 64)),
    "Standard_E{}ds_v4": ("MemoryOptimized", (2, 4, 8, 16, 20, 32, 48, 64)),
    "Standard_E{}ads_v5": ("MemoryOptimized", (2, 4, 8, 16, 20, 32, 48, 64, 96)),
    "Standard_E{}ds_v5": ("MemoryOptimized", (2, 4, 8, 16, 20, 32, 48, 64, 96)),
    "Standard_E{}ads_v6": ("MemoryOptimized", (2, 4, 8, 16, 20, 32, 48, 64, 96)),
    "Standard_E{}ds_v6": ("MemoryOptimized", (2, 4, 8, 16, 20, 32, 48, 64, 96, 128, 192)),
}
TIERS = ("Burstable", "GeneralPurpose", "MemoryOptimized")
STORAGE: dict[int, tuple[str, int]] = {
    32: ("P4", 120),
    64: ("P6", 240),
    128: ("P10", 500),
    256: ("P15", 1100),
    512: ("P20", 2300),
    1024: ("P30", 5000),
    2048: ("P40", 7500),
    4095: ("P50", 7500),
    4096: ("P50", 7500),
    8192: ("P60", 16000),
    16384: ("P70", 18000),
    32767: ("P80", 20000),
}
"""Storage in GiB: the performance tier that it has by default, and that tier's operations per second."""
_SMALLER_MEMORY = {"Standard_E64s_v3": 6912, "Standard_E64ds_v4": 6912, "Standard_E96ads_v5": 7168}


@dataclass(frozen=True, slots=True)
class Size:
    """One compute size; `memory` is MiB per vCore."""

    name: str
    tier: str
    cores: int
    memory: int


def _sizes() -> list[Size]:
    per_core = {"Burstable": 2048, "GeneralPurpose": 4096, "MemoryOptimized": 8192}
    return [
        Size(name, tier, cores, _SMALLER_MEMORY.get(name, per_core[tier]))
        for pattern, (tier, counts) in FAMILIES.items()
        for cores in counts
        for name in [pattern.format(cores)]
    ]


SIZES = {size.name.lower(): size for size in _sizes()}
"""Every compute size by its name in lower case."""
