"""The models of a host that may not write the store of all instances."""

from __future__ import annotations

from pathlib import Path

from azpg_runtime.errors import ModelNotFound
from azpg_runtime.models import ModelStore, StoredModel


class InstanceStore(ModelStore):
    """Models that are registered by path go into a store of the instance's own; names are the shared one's.

    What other instances read can so be changed by nobody but root.

    Args:
        root: the instance's own store.
        shared: the store of all instances.
    """

    def __init__(self, root: Path, shared: ModelStore) -> None:
        super().__init__(root)
        self._shared = shared

    def names(self) -> list[str]:
        """Every name, sorted."""
        return self._shared.names()

    def get(self, name: str) -> StoredModel:
        """The model of that name; see `ModelStore.get`."""
        return self._shared.get(name)

    def by_digest(self, digest: str) -> StoredModel:
        """The model with that content, in either store; see `ModelStore.by_digest`."""
        try:
            return self._shared.by_digest(digest)
        except ModelNotFound:
            return super().by_digest(digest)
