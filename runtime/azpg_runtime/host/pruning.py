"""Deleting the models of a home that no server needs."""

from __future__ import annotations

from contextlib import suppress

from azpg.errors import UsageError
from azpg_runtime.errors import ModelError, ModelUnreadable
from azpg_runtime.files import not_written
from azpg_runtime.home import Home, InstanceHome
from azpg_runtime.models import ModelStore, Registry
from azpg_runtime.system.privileges import as_owner_of


def prune(home: Home) -> dict[str, int]:
    """Deletes what has no name and what no server ever registered, also from the servers' own stores.

    Servers may run meanwhile: what is younger than an hour stays, for somebody may be about to register it.

    Returns:
        The digests of what is gone, with the bytes that it took.

    Raises `ModelUnreadable` if it cannot be told what a server needs, and nothing is deleted; `ModelError`
    for a damaged name in the store; `NotWritten` where a store cannot be changed, after all others.
    """
    needed = {instance: _needed(instance) for instance in _instances(home)}
    stores = [(ModelStore(home.models), set().union(*needed.values()))]
    stores += [(ModelStore(instance.own_store), own) for instance, own in needed.items()]
    gone: dict[str, int] = {}
    failure: Exception | None = None
    for store, keep in stores:
        try:
            found = _prune(store, keep)
        except OSError as error:
            failure = failure or not_written(f"in the model store {store.root}", error)
            continue
        for digest, size in found.items():
            gone[digest] = gone.get(digest, 0) + size
    if failure is not None:
        raise failure
    return gone


def _instances(home: Home) -> list[InstanceHome]:
    """Every instance that has files of a model host, also one of which `up` was killed in the middle."""
    folder = home.root / "instances"
    if not folder.is_dir():
        return []
    found = []
    for host in sorted(folder.glob("*/host")):
        with suppress(UsageError):  # something else, or what is left of one that was deleted
            found.append(home.instance(host.parent.name))
    return found


def _needed(instance: InstanceHome) -> set[str]:
    try:
        return Registry(instance.registry).digests()
    except ModelError as error:
        raise ModelUnreadable(
            f"what the server {instance.name!r} needs cannot be told",
            detail=f"{error.message}{f': {error.detail}' if error.detail else ''}".rstrip(".") + ".",
            hint=f"Nothing has been deleted. Restore that file, or `azpg down --delete {instance.name}`.",
        ) from None


def _prune(store: ModelStore, keep: set[str]) -> dict[str, int]:
    if not store.root.exists():
        return {}
    # A server's own belongs to its model host's user, who could have put a link in the place of anything.
    with as_owner_of(store.root):
        return store.prune(keep)
