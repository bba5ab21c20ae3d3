"""The models in memory, kept within a limit."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from azpg_runtime.embedding.embedder import Embedder
from azpg_runtime.errors import ModelError, OutOfMemory, RuntimeTwinError
from azpg_runtime.host.settings import HostSettings
from azpg_runtime.models import ModelStore
from azpg_runtime.system.memory import check_available, give_back, megabytes

log = logging.getLogger(__name__)

_RAISE = "`azpg down`, then `azpg up --model-memory MB`"


@dataclass(eq=False, slots=True)
class _Entry:
    """One copy of a model, from the decision to load it until nobody uses it any more.

    Attributes:
        users: requests that need it.
        kept: those who may still run it although no request needs it.
        left: whether it can neither be found nor is used by a request, so that it ends with the last `kept`.
    """

    digest: str
    memory: int
    embedder: asyncio.Task[Embedder]
    users: int = 0
    kept: int = 0
    last_used: int = 0
    left: bool = False

    @property
    def loaded(self) -> bool:
        return self.embedder.done() and not self.failed

    @property
    def failed(self) -> bool:
        task = self.embedder
        return task.done() and (task.cancelled() or task.exception() is not None)

    @property
    def idle(self) -> bool:
        return self.loaded and not self.users

    @property
    def occupation(self) -> str:
        """Why it is not idle."""
        if not self.embedder.done():
            return "being loaded"
        return "1 request" if self.users == 1 else f"{self.users} requests"


class LoadedModels:
    """Loads models when they are first used, and unloads them on request or to make room for others.

    Together they take at most `limit` bytes, as `StoredModel.memory` counts; a model counts from the moment
    its loading begins. To load one that does not fit, the models that no request needs are unloaded, first
    the one that was used longest ago. A model that is unloaded while requests use it leaves the memory, and
    the count, with the last of them; the next request loads it anew. Its session is closed on our thread once
    nobody runs it: not a request, and not whoever has been lent it by `keep`.

    All methods belong to the event loop's thread; loading happens, one model after the other, on a thread of
    its own.

    Args:
        store: where models are found by digest.
        settings: the threads that they run with.
        limit: bytes.
        name: what people call the model with a digest.
    """

    def __init__(
        self, store: ModelStore, settings: HostSettings, *, limit: int, name: Callable[[str], str]
    ) -> None:
        self.limit = limit
        self._name = name
        self._store = store
        self._settings = settings
        self._entries: dict[str, _Entry] = {}
        self._aside: set[_Entry] = set()  # copies that count, but are not, or not yet, for new requests
        self._uses = itertools.count(1)
        self._thread = ThreadPoolExecutor(1, "load")

    @property
    def in_use(self) -> int:
        """Bytes that are taken by models that are loaded, being loaded, or unloaded and still needed."""
        return sum(entry.memory for entry in (*self._entries.values(), *self._aside) if not entry.failed)

    def memory(self, digest: str) -> int:
        """Bytes that a model takes now: 0 if it is not loaded."""
        return self._entries[digest].memory if self.is_loaded(digest) else 0

    def is_loaded(self, digest: str) -> bool:
        """Whether a request would find the model in memory."""
        entry = self._entries.get(digest)
        return entry is not None and entry.loaded

    @asynccontextmanager
    async def use(self, digest: str) -> AsyncIterator[Embedder]:
        """The model, loaded if it is not, and kept while the context lasts.

        Raises `OutOfMemory`, and what `Embedder` and `ModelStore.by_digest` raise.
        """
        entry = self._entries.get(digest)
        if entry is None or entry.failed:
            entry = self._begin(digest)
        entry.users += 1
        try:
            # Whoever gives up must not end a load that others wait for.
            yield entry.embedder.result() if entry.loaded else await asyncio.shield(entry.embedder)
        finally:
            entry.users -= 1
            entry.last_used = next(self._uses)
            self._settle(entry)

    def keep(self, embedder: Embedder) -> Callable[[], None]:
        """Lends a model that is in use to somebody who may run it a moment longer than the request lasts.

        Returns:
            What ends that: to be called once, on any thread.
        """
        entries = (*self._entries.values(), *self._aside)
        entry = next(one for one in entries if one.loaded and one.embedder.result() is embedder)
        entry.kept += 1
        loop = asyncio.get_running_loop()

        def release() -> None:
            if _is_running_here(loop):  # as for most: to wake it would cost as much as a short text's tokens
                self._released(entry)
                return
            with suppress(RuntimeError):  # closed
                loop.call_soon_threadsafe(self._released, entry)

        return release

    def _released(self, entry: _Entry) -> None:
        entry.kept -= 1
        self._end(entry)

    @asynccontextmanager
    async def changing(self, settings: HostSettings) -> AsyncIterator[None]:
        """Makes every loaded model anew, with other settings; they hold when the block has ended well.

        Until then requests find the old models, and if anything fails, also afterwards. A model for which
        there is no room beside its old self is unloaded instead, and loaded by the next request.

        Raises what `use` raises.
        """
        anew: dict[_Entry, _Entry] = {}
        try:
            tried: set[_Entry] = set()
            while missing := [one for one in self._entries.values() if not one.failed and one not in tried]:
                for old in missing:
                    tried.add(old)
                    with suppress(RuntimeTwinError):  # one that cannot be loaded is not made anew
                        await asyncio.shield(old.embedder)
                    if old.loaded and self.in_use + old.memory <= self.limit:
                        anew[old] = self._again(old, settings)
                        await asyncio.shield(anew[old].embedder)
            yield
            self._settings = settings
            for old in tried & set(self._entries.values()):
                self.unload(old.digest)
                if old in anew:
                    self._entries[old.digest] = anew[old]
                    self._aside.discard(anew[old])
        finally:
            for new in anew.values():
                new.users -= 1
                self._settle(new)

    def preload(self, digests: Iterable[str]) -> list[str]:
        """Begins to load models as far as there is room; returns those for which there was none."""
        left_out = []
        for digest in dict.fromkeys(digests):
            try:
                fits = self.in_use + self._store.by_digest(digest).memory <= self.limit
                if fits:
                    self._begin(digest)
                else:
                    left_out.append(digest)
            except ModelError as error:  # which the first request that needs it says again
                log.warning("cannot load a model in advance: %s", error)
        return left_out

    def unload(self, digest: str) -> None:
        """Forgets a model; what it takes is free at once, or with the last request that uses it."""
        entry = self._entries.pop(digest, None)
        if entry is not None:
            self._aside.add(entry)
            self._settle(entry)

    def close(self) -> None:
        """Ends the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _begin(self, digest: str) -> _Entry:
        """Starts loading a model, after others have made room. Raises `OutOfMemory`."""
        model = self._store.by_digest(digest)
        memory = model.memory
        self._make_room(digest, memory)
        settings = self._settings
        entry = self._new(digest, memory, lambda: Embedder(model, **settings.threads))
        self._entries[digest] = entry
        return entry

    def _again(self, old: _Entry, settings: HostSettings) -> _Entry:
        """A copy of a loaded model with other settings, held and not to be found yet."""
        embedder = old.embedder.result()
        new = self._new(old.digest, old.memory, lambda: embedder.with_threads(**settings.threads))
        new.users, new.last_used = 1, old.last_used
        self._aside.add(new)
        return new

    def _new(self, digest: str, memory: int, load: Callable[[], Embedder]) -> _Entry:
        loop = asyncio.get_running_loop()

        def work() -> Embedder:
            try:
                check_available(memory)
                embedder = load()
            except (OutOfMemory, MemoryError) as error:
                raise OutOfMemory(
                    f"model {self._name(digest)} needs {megabytes(memory)}, which the system does not give",
                    detail=str(error),
                    hint="Unload other models with model_unload, or end other programs.",
                ) from None
            return embedder

        entry = _Entry(digest, memory, loop.create_task(_result(loop.run_in_executor(self._thread, work))))
        entry.embedder.add_done_callback(lambda _: self._settle(entry))
        return entry

    def _settle(self, entry: _Entry) -> None:
        """Lets go of a copy that failed to load, or that nobody finds nor uses any more."""
        if entry.failed and self._entries.get(entry.digest) is entry:
            del self._entries[entry.digest]
        if entry in self._aside and entry.embedder.done() and not entry.users:
            self._aside.discard(entry)
            entry.left = True
            self._end(entry)

    def _end(self, entry: _Entry) -> None:
        """Closes the session of a copy that nobody runs any more, before whatever is loaded next."""
        if not entry.left or entry.kept or entry.failed:
            return
        session = entry.embedder.result().session

        def work() -> None:
            session.close()
            give_back()

        with suppress(RuntimeError):  # closed
            self._thread.submit(work)

    def _make_room(self, digest: str, memory: int) -> None:
        idle = sorted((one for one in self._entries.values() if one.idle), key=lambda one: one.last_used)
        if self.in_use - sum(one.memory for one in idle) + memory > self.limit:
            raise self._no_room(digest, memory)
        for one in idle:
            if self.in_use + memory <= self.limit:
                return
            self.unload(one.digest)

    def _no_room(self, digest: str, memory: int) -> OutOfMemory:
        busy = [one for one in (*self._entries.values(), *self._aside) if not one.idle]
        needs = f"model {self._name(digest)} needs {megabytes(memory)} of memory"
        limit = f"the limit for all models is {megabytes(self.limit)}"
        if memory > self.limit:
            return OutOfMemory(f"{needs}; {limit}", hint=f"Raise the limit: {_RAISE}.")
        states = ", ".join(
            f"{self._name(one.digest)} ({megabytes(one.memory)}, {one.occupation})" for one in busy
        )
        return OutOfMemory(
            f"{needs}, which those in use do not leave",
            detail=f"{limit[0].upper()}{limit[1:]}; {megabytes(self.in_use)} are taken. In use: {states}.",
            hint=f"Repeat the call when fewer models are in use, or raise the limit: {_RAISE}.",
        )


async def _result(future: asyncio.Future[Embedder]) -> Embedder:
    return await future


def _is_running_here(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:  # on this thread runs none
        return False
