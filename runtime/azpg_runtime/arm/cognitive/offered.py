"""The models that accounts can deploy: a small part of Azure's list, of what goes with PostgreSQL."""

from __future__ import annotations

from dataclasses import dataclass

from azpg_runtime.arm.state import Json

SKUS = ("Standard", "GlobalStandard", "DataZoneStandard", "ProvisionedManaged", "GlobalProvisionedManaged")


@dataclass(frozen=True, slots=True)
class Model:
    """One version of a model; `capability` is what it is for."""

    name: str
    version: str
    capability: str
    default: bool = True
    format: str = "OpenAI"

    def as_json(self) -> Json:
        """As a list of models has it."""
        return {
            "format": self.format,
            "name": self.name,
            "version": self.version,
            "isDefaultVersion": self.default,
            "maxCapacity": 1000,
            "capabilities": {self.capability: "true"},
            "lifecycleStatus": "GenerallyAvailable",
            "deprecation": {},
            "skus": [
                {
                    "name": sku,
                    "usageName": f"OpenAI.{sku}.{self.name}",
                    "capacity": {"minimum": 1, "maximum": 1000, "step": 1, "default": 10},
                }
                for sku in SKUS
            ],
        }


MODELS = (
    Model("text-embedding-3-small", "1", "embeddings"),
    Model("text-embedding-3-large", "1", "embeddings"),
    Model("text-embedding-ada-002", "2", "embeddings"),
    Model("text-embedding-ada-002", "1", "embeddings", default=False),
    Model("gpt-4o", "2024-11-20", "chatCompletion"),
    Model("gpt-4o", "2024-08-06", "chatCompletion", default=False),
    Model("gpt-4o-mini", "2024-07-18", "chatCompletion"),
    Model("gpt-4.1", "2025-04-14", "chatCompletion"),
    Model("gpt-4.1-mini", "2025-04-14", "chatCompletion"),
    Model("gpt-4.1-nano", "2025-04-14", "chatCompletion"),
)


def find(format_: str | None, name: str | None, version: str | None) -> Model | None:
    """A model; without a version, its default one."""
    for one in MODELS:
        if (one.format, one.name) == (format_, name) and (
            one.version == version or (not version and one.default)
        ):
            return one
    return None
