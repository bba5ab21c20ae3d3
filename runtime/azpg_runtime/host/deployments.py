"""Models that come with an extension: allow-listing azure_local_ai deploys one, as on Azure.

A deployment is a wish that outlives the host: the model of a name in the store is to be registered under a
URI. That happens in the background, as soon as the store has it, once: a URI that was ever registered is
left to the people who use it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

from azpg_runtime.errors import ModelInvalid, ModelNotFound, RuntimeTwinError
from azpg_runtime.files import not_written, read_plainly, write_atomically
from azpg_runtime.models import ModelStore, Registry
from azpg_runtime.models.registry import normalise_uri

_VERSION = 1


class Deployments:
    """The wishes kept in the JSON file `path`. Lives on the event loop's thread.

    Args:
        path: made with the first wish.
        registry: says which URIs were ever registered.
        store: where the models come from.
        register: registers a URI and the name of a model in the store, and loads it.

    Raises `ModelInvalid` if the file is there and damaged.
    """

    def __init__(
        self,
        path: Path,
        registry: Registry,
        store: ModelStore,
        register: Callable[[str, str], Awaitable[int]],
    ) -> None:
        self._path = path
        self._registry = registry
        self._store = store
        self._register = register
        self._wishes = _load(path)
        self._tasks: dict[str, asyncio.Task[int]] = {}

    def wish(self, uri: str, name: str) -> None:
        """Deploys the store's model `name` under `uri`, now or when the store has it. Raises `NotWritten`."""
        full = normalise_uri(uri)
        if self._wishes.get(full) != name:
            wishes = self._wishes | {full: name}
            try:
                write_atomically(self._path, json.dumps({"version": _VERSION, "wishes": wishes}) + "\n")
            except OSError as error:
                raise not_written(str(self._path), error) from None
            self._wishes = wishes
        self._begin(full)

    def resume(self) -> None:
        """Goes on with what an earlier host did not finish."""
        for uri in self._wishes:
            self._begin(uri)

    async def settle(self, uri: str) -> None:
        """Returns when nothing has to be waited for before `uri` can be looked up in the registry.

        Raises `ModelNotFound` for a model that is to be deployed and that the store lacks, or what its
        registration raises.
        """
        full = normalise_uri(uri)
        name = self._wishes.get(full)
        if name is None or self._registry.bound(full):
            return
        task = self._begin(full)
        if task is None:
            raise ModelNotFound(
                f'model "{full}" is not in the model store yet',
                detail="Allow-listing azure_local_ai deploys it as soon as the store has it.",
                hint=f"Fetch it with `azpg models pull {name}`, then repeat the call.",
            )
        await asyncio.shield(task)

    def status(self) -> list[dict[str, str]]:
        """Each wish with its `state`: ready, deploying, missing, failed or unregistered, and the `reason`."""
        return [
            {"uri": uri, "state": state, "reason": reason}
            for uri, (state, reason) in ((uri, self._state(uri)) for uri in self._wishes)
        ]

    def _state(self, uri: str) -> tuple[str, str]:
        if self._registry.bound(uri):
            registered = any(one.uri == uri for one in self._registry.list())
            return ("ready", "") if registered else ("unregistered", "somebody unregistered it")
        task = self._tasks.get(uri)
        if task is not None and not task.done():
            return "deploying", ""
        if task is not None and not task.cancelled() and (error := task.exception()) is not None:
            return "failed", str(error)
        name = self._wishes[uri]
        return "missing", f"the model store lacks it: `azpg models pull {name}`"

    def _begin(self, uri: str) -> asyncio.Task[int] | None:
        """The task that registers a model; None if there is nothing to do, or nothing to do it with."""
        name = self._wishes[uri]
        if self._registry.bound(uri) or name not in self._store.names():
            return None
        task = self._tasks.get(uri)
        if task is None or task.done():
            task = asyncio.get_running_loop().create_task(self._deploy(uri, name))
            task.add_done_callback(_retrieve)
            self._tasks[uri] = task
        return task

    async def _deploy(self, uri: str, name: str) -> int:
        return await self._register(uri, name)


def _retrieve(task: asyncio.Task[int]) -> None:
    """Nobody may ever ask for the outcome; `Deployments.status` tells it."""
    if not task.cancelled():
        task.exception()


def _load(path: Path) -> dict[str, str]:
    try:
        raw = json.loads(read_plainly(path))
        if raw["version"] != _VERSION:
            raise ValueError(f"version {raw['version']!r} is not {_VERSION}")
        wishes: dict[str, str] = raw["wishes"]
        for uri, name in wishes.items():
            if normalise_uri(uri) != uri or not isinstance(name, str):
                raise ValueError(f"{uri!r} is no deployment")
    except FileNotFoundError:
        return {}
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
        RuntimeTwinError,
    ) as error:
        reason = getattr(error, "strerror", None) or str(error).rstrip(".")
        raise ModelInvalid(
            f"the file {path} is damaged: {reason}", hint="Delete it, and run `azpg up`."
        ) from None
    return wishes
