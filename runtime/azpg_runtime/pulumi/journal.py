"""What is being created, so that a lost answer does not become a second resource.

Between the request that creates a resource and the moment Pulumi has written it into its state, the
connection or a process may die: then there is a resource that Pulumi does not know. The journal knows that it
is ours, so that the next `up` takes it over instead of refusing it as someone else's.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from azpg_runtime.files import write_atomically


class Journal:
    """One file for each resource that is being created, in a folder.

    Args:
        folder: of one stack; None for no journal.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)

    def begin(self, resource_id: str, urn: str) -> None:
        """Says, durably, that `urn` is about to create the resource `id`."""
        if (path := self._path(resource_id)) is not None:
            write_atomically(path, f"{resource_id}\n{urn}\n")

    def began(self, resource_id: str, urn: str) -> bool:
        """Whether `urn` began to create `id`, and was not seen to end."""
        path = self._path(resource_id)
        return path is not None and path.exists() and path.read_text().split("\n")[1] == urn

    def end(self, resource_id: str) -> None:
        """Says that the resource is in Pulumi's state, or is gone."""
        if (path := self._path(resource_id)) is not None:
            path.unlink(missing_ok=True)

    def _path(self, resource_id: str) -> Path | None:
        if self._folder is None:
            return None
        return self._folder / hashlib.sha256(resource_id.lower().encode()).hexdigest()[:32]
