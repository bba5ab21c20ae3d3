"""The resource id of a flexible server."""

from azpg.azure.resource_ids import ServerId

__all__ = ["ServerId"]
